//! What suites need before they run: language toolchains and peers.
//!
//! Toolchains are prerequisites: they are looked for and asked their version, never installed.
//! Small Debian packages are installed when that is possible without asking anybody. Peers and
//! SDKs set themselves up in their own folders.

mod peers;
mod tools;

use std::path::Path;

use anyhow::{Result, bail};

pub(crate) use tools::Tool;

/// What a suite needs besides Rust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Every peer installed, and so every toolchain that a peer names.
    Peers,
    /// Our SDKs in other languages built, and so their toolchains.
    Sdks,
    /// A PostgreSQL that tests can start on folders of their own.
    Postgres,
    /// What counts instructions.
    Valgrind,
}

/// Checks and prepares everything that the needs ask for.
///
/// # Errors
/// All missing toolchains at once, or the peer whose set-up failed.
pub(crate) fn prepare(root: &Path, needs: &[Need]) -> Result<()> {
    let mut peers = Vec::new();
    let mut tools = vec![Tool::Rust, Tool::Linker];
    for need in needs {
        match need {
            Need::Peers => peers.extend(peers::read_all(&root.join("peers"), "peer.toml")?),
            Need::Sdks => peers.extend(peers::read_all(&root.join("sdk"), "sdk.toml")?),
            Need::Postgres => tools.push(Tool::Postgres),
            Need::Valgrind => tools.push(Tool::Valgrind),
        }
    }
    tools.extend(peers.iter().flat_map(|peer| peer.tools.iter().copied()));
    tools.sort();
    tools.dedup();
    let missing: Vec<String> = tools
        .into_iter()
        .filter_map(|tool| tools::check(root, tool).err())
        .collect();
    if !missing.is_empty() {
        bail!("prerequisites are missing\n  {}", missing.join("\n  "));
    }
    peers::set_up(&peers)
}
