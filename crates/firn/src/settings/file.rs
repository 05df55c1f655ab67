//! The file: read once, for the settings and for the project that it describes.

use std::collections::BTreeMap;
use std::path::Path;

use firn_model::code::Code;
use firn_runtime::retention::Rule;

use super::{Fault, SETTINGS, retention};
use crate::project::Project;

/// What a file says.
#[derive(Default)]
pub(super) struct File {
    /// The values of settings by name, with their origin.
    pub(super) values: BTreeMap<String, (String, String)>,
    pub(super) project: Project,
    /// What is kept of components.
    pub(super) components: BTreeMap<String, Rule>,
}

impl File {
    /// Reads a file; what is wrong with it goes to `faults`.
    pub(super) fn read(path: &Path, faults: &mut Vec<Fault>) -> Self {
        let unreadable = |text: String| Fault {
            code: Code::ConfigUnreadable,
            text: format!("{}: {text}", path.display()),
            remedy: None,
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                faults.push(unreadable(error.to_string()));
                return Self::default();
            }
        };
        match text.parse() {
            Ok(table) => Self::of(table, path, faults),
            Err(error) => {
                let error: toml::de::Error = error;
                faults.push(unreadable(error.to_string().trim_end().to_owned()));
                Self::default()
            }
        }
    }

    fn of(mut table: toml::Table, path: &Path, faults: &mut Vec<Fault>) -> Self {
        let project = Project::take(&mut table, path, faults);
        let components = retention::take(&mut table, path, faults);
        let mut values = BTreeMap::new();
        for (name, value) in table {
            match setting(&name, value, path) {
                Ok(value) => {
                    values.insert(name, value);
                }
                Err(fault) => faults.push(fault),
            }
        }
        Self {
            values,
            project,
            components,
        }
    }
}

/// A setting's value and its origin.
fn setting(name: &str, value: toml::Value, path: &Path) -> Result<(String, String), Fault> {
    let path = path.display();
    if !SETTINGS.iter().any(|setting| setting.name == name) {
        return Err(Fault {
            code: Code::UnknownSetting,
            text: format!("{path}: {name} is not a setting{}", nearest(name)),
            remedy: None,
        });
    }
    let text = match value {
        toml::Value::String(text) => text,
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Boolean(flag) => flag.to_string(),
        other => {
            let kind = other.type_str();
            return Err(Fault {
                code: Code::BadSetting,
                text: format!("{name} in {path} is of type {kind}; write it as text"),
                remedy: None,
            });
        }
    };
    Ok((text, format!("{name} in {path}")))
}

/// A hint for a name that is not a setting.
fn nearest(name: &str) -> String {
    let underscored = name.replace('_', "-");
    SETTINGS
        .iter()
        .find(|setting| setting.name == underscored || setting.name.starts_with(&underscored))
        .map_or_else(String::new, |setting| {
            format!("; did you mean {}?", setting.name)
        })
}
