//! A file system that is soon full.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

/// A file system of a few megabytes, gone with this value.
pub(crate) struct Small(tempfile::TempDir);

impl Small {
    pub(crate) fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=160m", "tmpfs"])
            .arg(folder.path())
            .output();
        mounted
            .is_ok_and(|mounted| mounted.status.success())
            .then_some(Self(folder))
    }

    pub(crate) fn folder(&self) -> tempfile::TempDir {
        tempfile::tempdir_in(self.0.path()).expect("a folder")
    }

    /// Takes all the room there is.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.0.path().join("filler");
        let mut file = std::fs::File::create(&path).expect("a file");
        while file.write_all(&[0; 16 * 1024]).is_ok() {}
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.0.path())
            .status();
    }
}
