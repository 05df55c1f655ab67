//! A project: a folder with a `firn.toml` that says how its function is started.
//!
//! `firn dev` without a command runs what the file says. Its settings are in the same file, by their
//! names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use firn_model::code::Code;
use xxhash_rust::xxh3::xxh3_64;

use crate::exit::Failure;
use crate::settings::Fault;

/// The file of a project, in its folder.
pub(crate) const FILE: &str = "firn.toml";

/// The keys that are no settings.
pub(crate) const KEYS: [&str; 3] = ["command", "set-up", "set-up-files"];

/// Where it is written down which set-up was done, so that it is done once.
const STAMP: &str = ".firn/set-up";

/// How the function of a project is started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Project {
    /// Starts the function.
    pub(crate) command: Vec<String>,
    /// Run before it, if not empty: once, and again when one of the files has changed.
    set_up: Vec<String>,
    set_up_files: Vec<PathBuf>,
}

impl Project {
    /// Reads what a file says of its project; a file that is not there says nothing.
    ///
    /// # Errors
    /// A fault for each value that is no list of texts. What else is wrong with the file is said by
    /// the settings, which read it too.
    pub(crate) fn read(path: &Path) -> Result<Self, Vec<Fault>> {
        let text = fs::read_to_string(path).unwrap_or_default();
        let table: toml::Table = text.parse().unwrap_or_default();
        let mut faults = Vec::new();
        let [command, set_up, files] = KEYS.map(|key| match texts(table.get(key)) {
            Some(list) => list,
            None => {
                let text = format!("{key} in {} is not a list of texts", path.display());
                faults.push(Fault {
                    code: Code::BadSetting,
                    text,
                });
                Vec::new()
            }
        });
        match faults.is_empty() {
            true => Ok(Self {
                command,
                set_up,
                set_up_files: files.into_iter().map(PathBuf::from).collect(),
            }),
            false => Err(faults),
        }
    }

    /// Runs the set-up in the current folder, unless it was done for these files.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be run or fails.
    pub(crate) fn set_up(&self) -> Result<(), Failure> {
        let Some((program, arguments)) = self.set_up.split_first() else {
            return Ok(());
        };
        let wanted = self.stamp();
        if fs::read_to_string(STAMP).is_ok_and(|done| done == wanted) {
            return Ok(());
        }
        let line = self.set_up.join(" ");
        eprintln!("setting up: {line}");
        let failed = |cause: String| {
            let remedy = "run it by hand and look at what it says; firn.toml names it";
            Failure::new(Code::SetUpFailed, format!("{line}: {cause}"), remedy)
        };
        match Command::new(program).args(arguments).status() {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(failed(status.to_string())),
            Err(error) => return Err(failed(error.to_string())),
        }
        write_stamp(&wanted).map_err(|error| failed(format!("{STAMP}: {error}")))
    }

    /// What the set-up depends on, in short.
    fn stamp(&self) -> String {
        let mut all = self.set_up.join("\0").into_bytes();
        for file in &self.set_up_files {
            all.push(0);
            all.extend(fs::read(file).unwrap_or_default());
        }
        format!("{:016x}\n", xxh3_64(&all))
    }
}

fn write_stamp(text: &str) -> io::Result<()> {
    if let Some(folder) = Path::new(STAMP).parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(STAMP, text)
}

/// A list of texts; nothing is an empty one.
fn texts(value: Option<&toml::Value>) -> Option<Vec<String>> {
    let Some(value) = value else {
        return Some(Vec::new());
    };
    let list = value.as_array()?.iter();
    list.map(|word| Some(word.as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Project, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        fs::write(&path, text).unwrap();
        let faults = |faults: Vec<Fault>| faults.into_iter().map(|fault| fault.text).collect();
        Project::read(&path).map_err(faults)
    }

    #[test]
    fn file_says_how_the_function_is_started() {
        let text = "command = [\"node\", \"main.js\"]\nset-up = [\"npm\", \"ci\"]\n\
                    set-up-files = [\"package-lock.json\"]\nlisten = \"127.0.0.1:1\"\n";
        let project = read(text).unwrap();
        assert_eq!(project.command, ["node", "main.js"]);
        assert_eq!(project.set_up, ["npm", "ci"]);
        assert_eq!(read("listen = \"127.0.0.1:1\""), Ok(Project::default()));
    }

    #[test]
    fn what_is_no_list_of_texts_is_refused() {
        let faults = read("command = \"node main.js\"\nset-up = [1]").unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("command in "), "{faults:?}");
    }

    #[test]
    fn set_up_is_done_again_when_a_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lock");
        let project = Project {
            set_up: vec!["true".to_owned()],
            set_up_files: vec![file.clone()],
            ..Project::default()
        };
        let before = project.stamp();
        assert_eq!(before, project.stamp());
        fs::write(&file, "1").unwrap();
        assert_ne!(before, project.stamp());
    }
}
