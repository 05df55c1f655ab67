//! What sets itself up by its own command: peers, which are real functions on published SDKs, and our
//! SDKs in other languages.
//!
//! `peers/<name>/peer.toml` and `sdk/<name>/sdk.toml` name the programs it needs and the command that
//! sets it up. That command keeps a stamp of its own, so calling it again costs little.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};

use super::tools::Tool;

/// What its set-up needs to know of one.
pub(crate) struct Peer {
    name: String,
    folder: PathBuf,
    setup: Vec<String>,
    pub(crate) tools: Vec<Tool>,
}

/// Every one in a folder, each described in a file of this name; in order of name.
pub(crate) fn read_all(folder: &Path, file: &str) -> Result<Vec<Peer>> {
    let mut peers = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let folder = entry?.path();
        let description = folder.join(file);
        if description.exists() {
            let text = fs::read_to_string(&description)?;
            let peer = read(&folder, &text)
                .with_context(|| format!("cannot use {}", description.display()))?;
            peers.push(peer);
        }
    }
    if peers.is_empty() {
        bail!("no {file} in {}", folder.display());
    }
    peers.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(peers)
}

fn read(folder: &Path, text: &str) -> Result<Peer> {
    let table: toml::Table = text.parse()?;
    let texts = |key: &str| -> Result<Vec<String>> {
        let list = table.get(key).and_then(toml::Value::as_array);
        list.ok_or_else(|| anyhow!("{key} is not a list"))?
            .iter()
            .map(|value| Some(value.as_str()?.to_owned()))
            .collect::<Option<_>>()
            .ok_or_else(|| anyhow!("{key} holds something that is not text"))
    };
    let name = table.get("name").and_then(toml::Value::as_str);
    let mut tools = Vec::new();
    for program in texts("toolchain")? {
        let known = Tool::of_program(&program)
            .ok_or_else(|| anyhow!("toolchain names {program}, which xtask does not know"))?;
        tools.extend_from_slice(known);
    }
    Ok(Peer {
        name: name.ok_or_else(|| anyhow!("name is missing"))?.to_owned(),
        folder: folder.to_owned(),
        setup: texts("setup")?,
        tools,
    })
}

/// Runs the set-up of each, one after the other: they are limited by the network and by locks on
/// what they share.
pub(crate) fn set_up(peers: &[Peer]) -> Result<()> {
    for (index, peer) in peers.iter().enumerate() {
        let started = Instant::now();
        let [program, arguments @ ..] = peer.setup.as_slice() else {
            bail!("{} has an empty set-up command", peer.name);
        };
        let status = Command::new(peer.folder.join(program))
            .args(arguments)
            .current_dir(&peer.folder)
            .status()
            .with_context(|| format!("cannot run the set-up of {}", peer.name))?;
        if !status.success() {
            bail!("the set-up of {} ended with {status}", peer.name);
        }
        println!(
            "  {}/{} {} is set up ({:.1} s)",
            index + 1,
            peers.len(),
            peer.name,
            started.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        read(Path::new("p"), text).err().unwrap().to_string()
    }

    #[test]
    fn a_description_is_read() {
        let text = "name = \"a\"\ntoolchain = [\"npm\"]\nsetup = [\"./setup\", \"x\"]\nother = 1\n";
        let peer = read(Path::new("p"), text).unwrap();
        assert_eq!((peer.name.as_str(), peer.setup.len()), ("a", 2));
        assert_eq!(peer.tools, [Tool::Node, Tool::Npm]);
    }

    #[test]
    fn faults_name_the_key() {
        assert!(fault("name = \"a\"\nsetup = []").contains("toolchain"));
        assert!(fault("toolchain = []\nsetup = []").contains("name"));
        assert!(fault("name = \"a\"\ntoolchain = [\"tcc\"]\nsetup = []").contains("tcc"));
    }
}
