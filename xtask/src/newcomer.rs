//! The way of a newcomer, timed: `firn new`, an edit, `firn dev`, `firn call`.
//!
//! Everything is as on a machine that has the language and nothing of Firn's: a temporary folder,
//! free ports, and package caches that are private and empty. What a person does once for all
//! projects is done before and not counted: building `firn`, and the TypeScript SDK, which is taken
//! from this repository.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::build;
use crate::process::{Process, StopAsked, free_port};

/// How long installing and compiling may take: slow machines and networks get time.
const SET_UP_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How long a function that is set up may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long Firn may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A language, and how a person would try its project out.
struct Language {
    /// As `firn new` has it.
    flag: &'static str,
    /// The SDK's folder.
    sdk: &'static str,
    /// What must run before the SDK can be taken from there, if anything.
    built_by: Option<&'static str>,
    /// Where the language keeps what it downloads, as an environment variable.
    cache: &'static str,
    /// The edit: the file, what is found there, and what takes its place. Increases count double.
    edit: [&'static str; 3],
}

const LANGUAGES: &[Language] = &[
    Language {
        flag: "rust",
        sdk: "sdk/rust",
        built_by: None,
        cache: "CARGO_HOME",
        edit: ["src/main.rs", "+= request.by", "+= 2 * request.by"],
    },
    Language {
        flag: "ts",
        sdk: "sdk/typescript",
        built_by: Some("sdk/typescript/setup"),
        cache: "npm_config_cache",
        edit: ["src/counter.ts", "+ by", "+ 2n * by"],
    },
    Language {
        flag: "python",
        sdk: "sdk/python",
        built_by: None,
        cache: "PIP_CACHE_DIR",
        edit: ["main.py", "+ request.by", "+ 2 * request.by"],
    },
];

/// How long each part of the way took.
struct Times {
    /// `firn new`, and the edit.
    new: Duration,
    /// What `firn dev` does once: installs, and for Rust compiles.
    set_up: Duration,
    /// From there until the function is served.
    start: Duration,
    /// `firn call`.
    call: Duration,
}

/// Goes the way with these languages, or with all. `Ok(true)` if every reply came.
pub(crate) fn run(root: &Path, flags: &[&str]) -> Result<bool> {
    let known: Vec<&str> = LANGUAGES.iter().map(|language| language.flag).collect();
    if let Some(unknown) = flags.iter().find(|flag| !known.contains(flag)) {
        bail!("no language {unknown}; there are {}", known.join(", "));
    }
    let stop = StopAsked::watch()?;
    let firn = build::programs(root, build::Profile::Release, &["firn"])?.join("firn");
    println!("load before: {}", load());
    println!("seconds      new    set-up     start      call     total");
    for language in LANGUAGES {
        if flags.is_empty() || flags.contains(&language.flag) {
            let times = go(root, &firn, language, &stop)
                .with_context(|| format!("with {}", language.flag))?;
            println!("{}", line(language.flag, &times));
        }
    }
    println!("load after: {}", load());
    println!("The set-up is installing; for rust it is compiling, with everything that is used.");
    Ok(true)
}

fn go(root: &Path, firn: &Path, language: &Language, stop: &StopAsked) -> Result<Times> {
    if let Some(set_up) = language.built_by {
        succeed(Command::new(root.join(set_up)).current_dir(root))?;
    }
    let folder = Folder::new(language.flag)?;
    let cold = Cold::new(&folder.0, language)?;
    let sdk = root.join(language.sdk);
    let began = Instant::now();
    succeed(
        Command::new(firn)
            .args(["new", "counter", "--lang", language.flag, "--sdk"])
            .arg(sdk)
            .current_dir(&folder.0)
            .stdout(Stdio::null()),
    )?;
    let project = folder.0.join("counter");
    edit(&project, language)?;
    let new = began.elapsed();

    let (clients, admin, functions) = (free_port()?, free_port()?, free_port()?);
    let mut command = Command::new(firn);
    command
        .args(["dev", "--listen", &format!("127.0.0.1:{clients}")])
        .args(["--admin", &format!("127.0.0.1:{admin}")])
        .args(["--function-listen", &format!("127.0.0.1:{functions}")])
        .current_dir(&project);
    cold.apply(&mut command);
    let log = folder.0.join("log");
    let mut dev = Process::start("firn dev", &mut command, &log)?;
    let mut until = |what: &str, word: &str, limit| -> Result<()> {
        let said = || fs::read_to_string(&log).is_ok_and(|log| log.contains(word));
        dev.wait(what, limit, |_| said() || stop.now())?;
        ensure!(!stop.now(), "stopped by hand");
        Ok(())
    };
    until("to set up", "started the function", SET_UP_LIMIT)?;
    let set_up = began.elapsed() - new;
    until("to serve", "serving demo.Counter", START_LIMIT)?;
    let start = began.elapsed() - new - set_up;
    let reply = Command::new(firn)
        .args(["call", "--server", &format!("127.0.0.1:{clients}")])
        .args(["demo.Counter/Increase", r#"{"counterId": "a", "by": 2}"#])
        .output()?;
    let call = began.elapsed() - new - set_up - start;
    let text = String::from_utf8_lossy(&reply.stdout);
    ensure!(
        reply.status.success() && text.contains("\"4\""),
        "the reply is {text:?} and not 4, twice what it was increased by\n{}",
        String::from_utf8_lossy(&reply.stderr)
    );
    dev.stop(STOP_LIMIT)?;
    Ok(Times {
        new,
        set_up,
        start,
        call,
    })
}

/// The environment of somebody who never installed anything.
struct Cold {
    cache: (&'static str, PathBuf),
}

impl Cold {
    fn new(folder: &Path, language: &Language) -> Result<Self> {
        let cache = folder.join("cache");
        fs::create_dir(&cache)?;
        // What a person has set for cargo is not in the cache's way.
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
        let config = home.map(|home| home.join("config.toml"));
        if let Some(config) = config.filter(|config| config.exists()) {
            fs::copy(config, cache.join("config.toml"))?;
        }
        Ok(Self {
            cache: (language.cache, cache),
        })
    }

    fn apply(&self, command: &mut Command) {
        let (name, folder) = &self.cache;
        command.env(name, folder).env_remove("CARGO_TARGET_DIR");
    }
}

/// A folder of this run, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self> {
        let mut own = OsString::from("firn-newcomer-");
        own.push(format!("{}-{name}", std::process::id()));
        let folder = std::env::temp_dir().join(own);
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Changes one line, as a person would.
fn edit(project: &Path, language: &Language) -> Result<()> {
    let [file, from, to] = language.edit;
    let file = project.join(file);
    let text = fs::read_to_string(&file)?;
    ensure!(text.contains(from), "{} has no {from:?}", file.display());
    fs::write(&file, text.replacen(from, to, 1))?;
    Ok(())
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

fn line(flag: &str, times: &Times) -> String {
    let Times {
        new,
        set_up,
        start,
        call,
    } = times;
    let parts = [
        *new,
        *set_up,
        *start,
        *call,
        *new + *set_up + *start + *call,
    ];
    let parts = parts.map(|part| format!("{:10.2}", part.as_secs_f64()));
    format!("{flag:6}{}", parts.concat())
}

/// How busy the machine is: a time says little without it.
fn load() -> String {
    let all = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let last = all.split(' ').next().unwrap_or("unknown").to_owned();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{last} on {processors} processors")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A template that changes must not leave the edit behind.
    #[test]
    fn edits_fit_the_templates() {
        for language in LANGUAGES {
            let [file, from, _] = language.edit;
            let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            let file = template.join(language.sdk).join("template").join(file);
            let text = fs::read_to_string(&file).unwrap();
            assert_eq!(text.matches(from).count(), 1, "{}", file.display());
        }
    }

    #[test]
    fn parts_and_their_sum_are_a_line() {
        let times = Times {
            new: Duration::from_millis(10),
            set_up: Duration::from_secs(9),
            start: Duration::from_millis(500),
            call: Duration::from_millis(20),
        };
        let expected = "python      0.01      9.00      0.50      0.02      9.53";
        assert_eq!(line("python", &times), expected);
    }
}
