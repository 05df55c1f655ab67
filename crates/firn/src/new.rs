//! `firn new`: writes a small project that `firn dev` runs at once.
//!
//! The projects are those of the SDKs, `sdk/<language>/template`, and are part of this binary.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use firn_model::code::Code;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::exit::Failure;
use crate::project;

/// A language's project.
struct Template {
    /// As `--lang` has it.
    language: &'static str,
    /// How the function is started and set up, as `firn.toml` has it.
    description: &'static str,
    /// Paths and texts.
    files: &'static [(&'static str, &'static str)],
    /// What stands for `{{sdk}}`.
    sdk: Sdk,
}

/// A language's dependency on its SDK.
struct Sdk {
    /// On the language's registry.
    registry: &'static str,
    /// On the folder with this path, which may hold any character.
    folder: fn(&str) -> String,
    /// A file that the folder of an SDK has.
    manifest: &'static str,
    /// A file that it has once its `setup` was run, if it needs that.
    built: Option<&'static str>,
}

macro_rules! file {
    ($language:literal, $path:literal) => {
        (
            $path,
            include_str!(concat!("../../../sdk/", $language, "/template/", $path)),
        )
    };
}

/// Every language that has an SDK.
const TEMPLATES: &[Template] = &[
    Template {
        language: "rust",
        description: include_str!("../../../sdk/rust/template.toml"),
        files: &[
            file!("rust", ".gitignore"),
            file!("rust", "Cargo.toml"),
            file!("rust", "README.md"),
            file!("rust", "build.rs"),
            file!("rust", "proto/counter.proto"),
            file!("rust", "src/main.rs"),
        ],
        sdk: Sdk {
            registry: "[dependencies.firn-sdk]\nversion = \"0.1.0\"\n\n\
                       [build-dependencies.firn-sdk-build]\nversion = \"0.1.0\"",
            folder: |path| {
                format!(
                    "[dependencies.firn-sdk]\npath = {}\n\n\
                     [build-dependencies.firn-sdk-build]\npath = {}",
                    toml_text(path),
                    toml_text(&format!("{path}/build"))
                )
            },
            manifest: "Cargo.toml",
            built: None,
        },
    },
    Template {
        language: "ts",
        description: include_str!("../../../sdk/typescript/template.toml"),
        files: &[
            file!("typescript", ".gitignore"),
            file!("typescript", "README.md"),
            file!("typescript", "package.json"),
            file!("typescript", "src/counter.ts"),
            file!("typescript", "src/main.ts"),
            file!("typescript", "test/counter.test.ts"),
            file!("typescript", "tsconfig.json"),
        ],
        sdk: Sdk {
            registry: "\"0.1.0\"",
            folder: |path| json_text(&format!("file:{path}")),
            manifest: "package.json",
            built: Some("dist/src/index.js"),
        },
    },
    Template {
        language: "python",
        description: include_str!("../../../sdk/python/template.toml"),
        files: &[
            file!("python", ".gitignore"),
            file!("python", "README.md"),
            file!("python", "main.py"),
            file!("python", "requirements.txt"),
            file!("python", "test_counter.py"),
        ],
        sdk: Sdk {
            registry: "firn-sdk==0.1.0",
            folder: |path| format!("firn-sdk @ file://{}", utf8_percent_encode(path, PATH)),
            manifest: "pyproject.toml",
            built: None,
        },
    },
];

/// What is not written as it is in the path of a URL.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A text in quotes, with what JSON cannot hold escaped.
fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The same for TOML, whose escapes are those of JSON; it has one character more to escape.
fn toml_text(text: &str) -> String {
    json_text(text).replace('\u{7f}', "\\u007f")
}

/// The command line.
pub(crate) fn command() -> Command {
    let languages = TEMPLATES.iter().map(|template| template.language);
    Command::new("new")
        .about("Writes a small project that firn dev runs at once")
        .arg(
            Arg::new("name")
                .value_name("NAME")
                .required(true)
                .value_parser(name)
                .help("The project's name, and its folder's"),
        )
        .arg(
            Arg::new("lang")
                .long("lang")
                .value_name("LANGUAGE")
                .required(true)
                .value_parser(clap::builder::PossibleValuesParser::new(languages))
                .help("The language of the function"),
        )
        .arg(Arg::new("sdk").long("sdk").value_name("FOLDER").help(
            "Takes the SDK from this folder of Firn's repository; needed as long as the \
                     language's registry does not have it",
        ))
        .after_help(
            "Example:\n  firn new counter --lang python --sdk ../firn/sdk/python\n  cd counter\n  \
             firn dev",
        )
}

/// A name that is one in every language.
fn name(text: &str) -> Result<String, String> {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
    match begins && text.chars().all(is_inner) {
        true => Ok(text.to_owned()),
        false => Err("a name has small letters, digits, - and _, and begins with a letter".into()),
    }
}

/// Writes the project.
pub(crate) fn run(flags: &ArgMatches) -> ExitCode {
    let text = |name: &str| flags.get_one::<String>(name).map(String::as_str);
    let (name, language) = (
        text("name").unwrap_or_default(),
        text("lang").unwrap_or_default(),
    );
    let template = TEMPLATES
        .iter()
        .find(|template| template.language == language)
        .expect("clap takes known languages only");
    match write(template, name, text("sdk")) {
        Ok(()) => {
            println!("wrote {name}: run it with\n  cd {name}\n  firn dev");
            ExitCode::SUCCESS
        }
        Err(failure) => failure.print(),
    }
}

fn write(template: &Template, name: &str, sdk: Option<&str>) -> Result<(), Failure> {
    let sdk = match sdk {
        None => template.sdk.registry.to_owned(),
        Some(folder) => (template.sdk.folder)(&sdk_folder(template, folder)?),
    };
    let folder = Path::new(name);
    let failed = |path: &Path, error: &io::Error| {
        Failure::new(
            Code::ProjectUnwritable,
            format!("cannot write {}: {error}", path.display()),
            "choose another name, or a folder in which files can be written",
        )
    };
    fs::create_dir(folder).map_err(|error| failed(folder, &error))?;
    for (path, text) in template.texts(name, &sdk) {
        let path = folder.join(path);
        let written = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, text));
        written.map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

/// The whole path of the SDK in this folder.
fn sdk_folder(template: &Template, folder: &str) -> Result<String, Failure> {
    let (language, manifest) = (template.language, template.sdk.manifest);
    let refused = |cause: String| {
        let cause = format!("{folder} is not the SDK for {language}: {cause}");
        let remedy =
            "--sdk names the SDK's folder in a copy of Firn's repository, such as sdk/python";
        Failure::new(Code::ProjectUnwritable, cause, remedy)
    };
    let path = fs::canonicalize(folder).map_err(|error| refused(error.to_string()))?;
    if !path.join(manifest).is_file() {
        return Err(refused(format!("it has no {manifest}")));
    }
    if let Some(built) = template
        .sdk
        .built
        .filter(|built| !path.join(built).exists())
    {
        let cause = format!("{folder} is not built yet: it has no {built}");
        let remedy = format!(
            "run {} once, then firn new again",
            path.join("setup").display()
        );
        return Err(Failure::new(Code::ProjectUnwritable, cause, remedy));
    }
    let path = path.into_os_string().into_string();
    path.map_err(|_| refused("its path is not UTF-8".to_owned()))
}

impl Template {
    /// The paths and texts of a project with this name, and this dependency on the SDK.
    fn texts(&self, name: &str, sdk: &str) -> impl Iterator<Item = (&'static str, String)> {
        let description = (project::FILE, self.description);
        let files = self.files.iter().copied().chain([description]);
        files
            .map(move |(path, text)| (path, text.replace("{{name}}", name).replace("{{sdk}}", sdk)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all_files(folder: &Path, below: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                all_files(&path, below, found);
            } else {
                let path = path.strip_prefix(below).unwrap();
                found.insert(path.display().to_string());
            }
        }
    }

    /// The binary has every file of the templates, as they are in the repository.
    #[test]
    fn templates_are_whole() {
        for template in TEMPLATES {
            let folder = match template.language {
                "ts" => "typescript",
                other => other,
            };
            let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk");
            let below = sdk.join(folder).join("template");
            let mut expected = BTreeSet::new();
            all_files(&below, &below, &mut expected);
            let has: BTreeSet<String> = template
                .files
                .iter()
                .map(|(path, _)| (*path).to_owned())
                .collect();
            assert_eq!(has, expected, "{}", template.language);
        }
    }

    /// A dependency as the file of a project has it, on an SDK whose path is not a tame one.
    fn dependency(language: &str, file: &str) -> String {
        let odd = TEMPLATES.iter().find(|of| of.language == language).unwrap();
        let sdk = (odd.sdk.folder)("/a \"b\"\\c\u{7f}%41#ü");
        let mut texts = odd.texts("odd", &sdk);
        texts.find(|(path, _)| *path == file).unwrap().1
    }

    #[test]
    fn paths_of_sdks_are_written_as_each_language_wants() {
        let path = "/a \"b\"\\c\u{7f}%41#ü";
        let cargo: toml::Table = dependency("rust", "Cargo.toml").parse().unwrap();
        assert_eq!(
            cargo["dependencies"]["firn-sdk"]["path"].as_str(),
            Some(path)
        );
        let build = &cargo["build-dependencies"]["firn-sdk-build"]["path"];
        assert_eq!(build.as_str(), Some(format!("{path}/build").as_str()));
        let package: serde_json::Value =
            serde_json::from_str(&dependency("ts", "package.json")).unwrap();
        assert_eq!(package["dependencies"]["firn-sdk"], format!("file:{path}"));
        let requirements = dependency("python", "requirements.txt");
        assert!(
            requirements.starts_with("firn-sdk @ file:///a%20%22b%22%5Cc%7F%2541%23%C3%BC\n"),
            "{requirements}"
        );
    }

    #[test]
    fn names_are_good_in_every_language() {
        assert_eq!(name("my-counter_2"), Ok("my-counter_2".to_owned()));
        for bad in ["", "2x", "My", "a b", "../x", "a/b", "-a"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
