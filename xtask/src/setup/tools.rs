//! Language toolchains: which programs, which versions, and what to do when one is missing.

use std::path::Path;
use std::process::{Command, Stdio};

/// A prerequisite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    Rust,
    Linker,
    Node,
    Npm,
    Python,
    Venv,
    Jdk,
    Maven,
    Postgres,
    Valgrind,
}

/// How a tool is found out about.
struct Probe {
    name: &'static str,
    command: &'static [&'static str],
    /// The lowest version that does; `None` if running at all is enough.
    least: Option<Version>,
    /// Whether only this major version does.
    exact_major: bool,
    /// The Debian package to install when the tool is missing, if installing it is harmless.
    package: Option<&'static str>,
    remedy: &'static str,
}

/// Major and minor.
type Version = (u32, u32);

fn probe(tool: Tool) -> Probe {
    let plain = |name, command, remedy| Probe {
        name,
        command,
        least: None,
        exact_major: false,
        package: None,
        remedy,
    };
    match tool {
        Tool::Rust => plain(
            "Rust",
            &["rustc", "--version"],
            "install rustup from https://rustup.rs; it reads rust-toolchain.toml",
        ),
        Tool::Linker => Probe {
            package: Some("gcc"),
            ..plain("a C linker", &["cc", "--version"], "install gcc")
        },
        Tool::Node => Probe {
            least: Some((20, 0)),
            ..plain(
                "Node",
                &["node", "--version"],
                "install Node 20 or newer from https://nodejs.org",
            )
        },
        Tool::Npm => plain(
            "npm",
            &["npm", "--version"],
            "install the npm that comes with Node",
        ),
        Tool::Python => Probe {
            least: Some((3, 11)),
            ..plain(
                "Python",
                &["python3", "--version"],
                "install Python 3.11 or newer",
            )
        },
        Tool::Venv => Probe {
            package: Some("python3-venv"),
            ..plain(
                "Python's venv",
                &["python3", "-c", "import venv, ensurepip"],
                "install python3-venv",
            )
        },
        Tool::Jdk => Probe {
            least: Some((17, 0)),
            exact_major: true,
            ..plain(
                "a JDK",
                &["javac", "-version"],
                "install a JDK 17 (Debian: openjdk-17-jdk-headless)",
            )
        },
        Tool::Maven => plain(
            "Maven",
            &["mvn", "--version"],
            "install Maven 3 (Debian: maven)",
        ),
        // Debian keeps its programs off the path. The server of the package's own is never used.
        Tool::Postgres => Probe {
            package: Some("postgresql"),
            ..plain(
                "PostgreSQL",
                &[
                    "sh",
                    "-c",
                    "ls /usr/lib/postgresql/*/bin/initdb || command -v initdb",
                ],
                "install PostgreSQL 13 or newer (Debian: postgresql)",
            )
        },
        Tool::Valgrind => Probe {
            package: Some("valgrind"),
            ..plain(
                "Valgrind",
                &["callgrind_control", "--version"],
                "install valgrind",
            )
        },
    }
}

impl Tool {
    /// The tools behind a program that a peer names, if it is a known one.
    pub(crate) fn of_program(program: &str) -> Option<&'static [Self]> {
        Some(match program {
            "node" => &[Self::Node],
            "npm" | "npx" => &[Self::Node, Self::Npm],
            "python3" => &[Self::Python, Self::Venv],
            "java" | "javac" => &[Self::Jdk],
            "mvn" => &[Self::Jdk, Self::Maven],
            _ => return None,
        })
    }
}

/// Looks for a tool; installs its Debian package if there is a harmless one.
///
/// # Errors
/// A sentence that says what is missing and what to do.
pub(crate) fn check(root: &Path, tool: Tool) -> Result<(), String> {
    let probe = probe(tool);
    let first = look(root, tool, &probe);
    match (first, probe.package) {
        (Err(fault), Some(package)) => {
            install(package).map_err(|why| format!("{fault} ({why})"))?;
            look(root, tool, &probe)
        }
        (first, _) => first,
    }
}

fn look(root: &Path, tool: Tool, probe: &Probe) -> Result<(), String> {
    let Probe { name, remedy, .. } = probe;
    let [program, arguments @ ..] = probe.command else {
        unreachable!("every probe names a program");
    };
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .stdin(Stdio::null())
        .output();
    let text = match output {
        Ok(output) if output.status.success() => {
            let mut text = output.stdout;
            text.extend(output.stderr);
            String::from_utf8_lossy(&text).into_owned()
        }
        _ => return Err(format!("{name} is missing: {remedy}")),
    };
    if tool == Tool::Rust {
        return pinned(root, &text).map_err(|fault| format!("{fault}: {remedy}"));
    }
    let Some(least) = probe.least else {
        return Ok(());
    };
    let found = version(&text).ok_or_else(|| {
        format!(
            "{name} does not say its version: {remedy} ({})",
            text.trim()
        )
    })?;
    if found < least || (probe.exact_major && found.0 != least.0) {
        return Err(format!("{name} is {}.{}: {remedy}", found.0, found.1));
    }
    Ok(())
}

/// Checks the compiler against the pin in `rust-toolchain.toml`.
fn pinned(root: &Path, found: &str) -> Result<(), String> {
    let pin = std::fs::read_to_string(root.join("rust-toolchain.toml"))
        .ok()
        .and_then(|text| text.parse::<toml::Table>().ok())
        .and_then(|table| Some(table.get("toolchain")?.get("channel")?.as_str()?.to_owned()))
        .ok_or("rust-toolchain.toml names no channel")?;
    if found.split_whitespace().nth(1) == Some(&pin) {
        Ok(())
    } else {
        Err(format!("Rust is not the pinned {pin} but {}", found.trim()))
    }
}

/// The first `number.number` in a text.
fn version(text: &str) -> Option<Version> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.')
        .find_map(|word| {
            let mut parts = word.split('.');
            Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
        })
}

/// Installs a Debian package, when this user may.
fn install(package: &str) -> Result<(), String> {
    let by_hand = format!("Debian: apt-get install {package}");
    if !rustix::process::geteuid().is_root() {
        return Err(by_hand);
    }
    println!("  installing the Debian package {package}");
    let run = |arguments: &[&str]| {
        Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let install = [
        "install",
        "--yes",
        "--quiet",
        "--no-install-recommends",
        package,
    ];
    if run(&install) || (run(&["update", "--quiet"]) && run(&install)) {
        Ok(())
    } else {
        Err(by_hand)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_tools_print() {
        let check = |text, expected| assert_eq!(version(text), expected, "{text}");
        check("v20.20.2\n", Some((20, 20)));
        check("Python 3.11.7", Some((3, 11)));
        check("javac 17.0.15", Some((17, 0)));
        check("no digits", None);
        check("javac 21", None);
    }
}
