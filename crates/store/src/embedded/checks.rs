//! The file `keys`: with which keys a data folder is sealed.
//!
//! ```text
//! firn-keys 1
//! key 2026-02 <what it has sealed, in base64>
//! key 2026-01 <…>
//! plain
//! ```
//! A line for each key that something in the folder may be sealed with; none is a secret. `plain`
//! stands there while `rotate-keys` is about to seal a folder that was not.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::error::OpenError;
use crate::seal::Check;

/// The name of the file.
const NAME: &str = "keys";

/// The first line; its number is the version of the file.
const HEADING: &str = "firn-keys 1";

/// The line that says that some of the folder may not be sealed.
const PLAIN: &str = "plain";

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Checks {
    /// One for each key that may be in use.
    pub(crate) keys: Vec<Check>,
    /// Whether some of the folder may not be sealed.
    pub(crate) has_plain: bool,
}

impl Checks {
    /// Reads the file; `None` if there is none.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, OpenError> {
        let file = folder.join(NAME);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(OpenError::Unusable {
                    folder: file,
                    source,
                });
            }
        };
        match Self::parse(&text) {
            Some(checks) => Ok(Some(checks)),
            None => Err(damaged(file)),
        }
    }

    /// Writes the file, whole or not at all, durably.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        let mut text = format!("{HEADING}\n");
        for check in &self.keys {
            let sealed = STANDARD.encode(&check.sealed);
            text.push_str(&format!("key {} {sealed}\n", check.id));
        }
        if self.has_plain {
            text.push_str(&format!("{PLAIN}\n"));
        }
        let unfinished = folder.join(format!("{NAME}.new"));
        fs::write(&unfinished, text)?;
        File::open(&unfinished)?.sync_all()?;
        fs::rename(&unfinished, folder.join(NAME))?;
        File::open(folder)?.sync_all()
    }

    /// Removes the file, if there is one.
    pub(crate) fn remove(folder: &Path) -> io::Result<()> {
        match fs::remove_file(folder.join(NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next() != Some(HEADING) {
            return None;
        }
        let mut checks = Self::default();
        for line in lines {
            if line == PLAIN {
                checks.has_plain = true;
                continue;
            }
            let (id, sealed) = line.strip_prefix("key ")?.split_once(' ')?;
            checks.keys.push(Check {
                id: id.to_owned(),
                sealed: STANDARD.decode(sealed).ok()?.into(),
            });
        }
        (!checks.keys.is_empty()).then_some(checks)
    }
}

fn damaged(file: PathBuf) -> OpenError {
    OpenError::Damaged {
        file,
        offset: 0,
        fault: "it does not say which keys the folder is sealed with".into(),
    }
}
