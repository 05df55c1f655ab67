//! `firn new`: writes a small project that `firn dev` runs at once.
//!
//! The projects are those of the SDKs, `sdk/<language>/template`, and are part of this binary.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use firn_model::code::Code;

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
    /// The dependency on the SDK: of the registry, and of a folder, which stands for `{}`.
    sdk: [&'static str; 2],
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
        sdk: [
            "[dependencies.firn-sdk]\nversion = \"0.1.0\"\n\n\
             [build-dependencies.firn-sdk-build]\nversion = \"0.1.0\"",
            "[dependencies.firn-sdk]\npath = \"{}\"\n\n\
             [build-dependencies.firn-sdk-build]\npath = \"{}/build\"",
        ],
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
        sdk: ["0.1.0", "file:{}"],
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
        sdk: ["firn-sdk==0.1.0", "firn-sdk @ file://{}"],
    },
];

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
        .arg(
            Arg::new("sdk")
                .long("sdk")
                .value_name("FOLDER")
                .help("Takes the SDK from this folder instead of the language's registry"),
        )
        .after_help("Example:\n  firn new counter --lang python && cd counter && firn dev")
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
    let folder = Path::new(name);
    let failed = |path: &Path, error: &io::Error| {
        Failure::new(
            Code::ProjectUnwritable,
            format!("cannot write {}: {error}", path.display()),
            "choose another name, or a folder in which files can be written",
        )
    };
    let sdk = match sdk {
        None => template.sdk[0].to_owned(),
        Some(path) => {
            let path = fs::canonicalize(path).map_err(|error| failed(Path::new(path), &error))?;
            template.sdk[1].replace("{}", &path.display().to_string())
        }
    };
    fs::create_dir(folder).map_err(|error| failed(folder, &error))?;
    let description = (project::FILE, template.description);
    for (path, text) in template.files.iter().chain(Some(&description)) {
        let path: PathBuf = folder.join(path);
        let text = text.replace("{{name}}", name).replace("{{sdk}}", &sdk);
        let written = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, text));
        written.map_err(|error| failed(&path, &error))?;
    }
    Ok(())
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

    #[test]
    fn names_are_good_in_every_language() {
        assert_eq!(name("my-counter_2"), Ok("my-counter_2".to_owned()));
        for bad in ["", "2x", "My", "a b", "../x", "a/b", "-a"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
