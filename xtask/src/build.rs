//! Builds programs that are optimised.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// How programs are built; the profiles are in the workspace's `Cargo.toml`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Profile {
    /// As they are released.
    Release,
    /// For counting instructions.
    Counted,
    /// For telling where they are spent.
    Staged,
}

/// So that symbols tell one use of a generic function from another.
const STAGED_FLAGS: &str = "-C symbol-mangling-version=v0";

/// Builds the programs of these packages; gives the folder that they are in.
pub(crate) fn programs(root: &Path, profile: Profile, packages: &[&str]) -> Result<PathBuf> {
    let mut flags = env::var("RUSTFLAGS").unwrap_or_default();
    let profile = match profile {
        Profile::Release => "release",
        Profile::Counted => "counted",
        Profile::Staged => {
            flags = format!("{flags} {STAGED_FLAGS}").trim().to_owned();
            "staged"
        }
    };
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--quiet", "--bins", "--profile", profile])
        .current_dir(root);
    if !flags.is_empty() {
        command.env("RUSTFLAGS", flags);
    }
    for package in packages {
        command.args(["-p", package]);
    }
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "cargo build ended with {status}");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Ok(root.join(target).join(profile))
}
