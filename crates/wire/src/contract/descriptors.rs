//! Descriptors: repaired and linked.
//!
//! SDKs send sets of files in any order, with files twice and without well-known ones. The first of
//! equal names wins; what is imported and missing is taken from built-in copies; the order does not
//! matter. The files are kept as bytes until they are linked, since decoding them as plain messages
//! would lose the options in them.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use firn_model::code::Code;
use firn_model::contract::{Finding, Location};
use prost::Message;
use prost_reflect::{DescriptorError, DescriptorPool, MessageDescriptor};

use super::place::finding;
use crate::dialect::{Deltas, Dialect, Family};

/// `google/protobuf/*` and `google/api/*`.
static GOOGLE: &[u8] = include_bytes!("../generated/google.bin");
static KALIX: &[u8] = include_bytes!("../generated/kalix.bin");
static AKKA_SERVERLESS: &[u8] = include_bytes!("../generated/akkaserverless.bin");
static CLOUDSTATE: &[u8] = include_bytes!("../generated/cloudstate.bin");
static CLOUDSTATE_01: &[u8] = include_bytes!("../generated/cloudstate01.bin");

/// The function's descriptors, complete.
#[derive(Debug)]
pub(crate) struct Linked {
    pub(crate) pool: DescriptorPool,
    /// The files that came from built-in copies.
    added: HashSet<String>,
}

impl Linked {
    /// A message that the function itself sent.
    pub(super) fn sent_message(&self, full_name: &str) -> Option<MessageDescriptor> {
        let message = self.pool.get_message_by_name(full_name)?;
        (!self.added.contains(message.parent_file().name())).then_some(message)
    }
}

/// Links serialized sets of file descriptors of a family, or of our own protocol.
///
/// # Errors
/// Every import that is missing or part of a circle, or the first thing that does not link.
pub(crate) fn link(sets: &[&[u8]], dialect: Option<&Dialect>) -> Result<Linked, Vec<Finding>> {
    let mut files = Files::default();
    for set in sets {
        files.read(set).map_err(|error| {
            let text = format!("the descriptors are not legal: {error}");
            vec![finding(Code::DescriptorsUnlinkable, text)]
        })?;
    }
    let added = files.complete(&built_in(dialect));
    let mut faults = files.broken_imports();
    faults.extend(files.unknown_syntax());
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut pool = DescriptorPool::new();
    pool.decode_file_descriptor_set(files.encode().as_slice())
        .map_err(|error| vec![unlinkable(&error)])?;
    Ok(Linked { pool, added })
}

fn unlinkable(error: &DescriptorError) -> Finding {
    let location = error.file().map(|file| Location {
        file: file.to_owned(),
        line: error
            .line()
            .and_then(|line| u32::try_from(line).ok())
            .unwrap_or(0),
        column: error
            .column()
            .and_then(|column| u32::try_from(column).ok())
            .unwrap_or(0),
    });
    Finding {
        location,
        ..finding(
            Code::DescriptorsUnlinkable,
            format!("the descriptors do not link: {error}"),
        )
    }
}

/// The built-in copies for functions of a dialect; our own protocol has no option files.
fn built_in(dialect: Option<&Dialect>) -> Files {
    let family = dialect.map(|dialect| match (dialect.family, dialect.deltas) {
        (Family::Kalix, _) => KALIX,
        (Family::AkkaServerless, _) => AKKA_SERVERLESS,
        (Family::Cloudstate, Deltas::States) => CLOUDSTATE_01,
        (Family::Cloudstate, _) => CLOUDSTATE,
    });
    let mut files = Files::default();
    for set in std::iter::once(GOOGLE).chain(family) {
        files.read(set).expect("built-in descriptors are legal");
    }
    files
}

/// A set of file descriptors whose files stay bytes.
#[derive(Message)]
struct Set {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    file: Vec<Bytes>,
}

/// What of a file must be known before it is linked.
#[derive(Message)]
struct Head {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, repeated, tag = "3")]
    imports: Vec<String>,
    #[prost(string, tag = "12")]
    syntax: String,
}

/// Files by name.
#[derive(Default)]
struct Files(BTreeMap<String, File>);

#[derive(Clone)]
struct File {
    bytes: Bytes,
    imports: Vec<String>,
    syntax: String,
}

impl Files {
    /// Adds the files of a serialized set whose names are new.
    fn read(&mut self, set: &[u8]) -> Result<(), prost::DecodeError> {
        for bytes in Set::decode(set)?.file {
            let head = Head::decode(bytes.clone())?;
            self.0.entry(head.name).or_insert(File {
                bytes,
                imports: head.imports,
                syntax: head.syntax,
            });
        }
        Ok(())
    }

    /// Adds what is imported and missing, with what that imports in turn; gives the added names.
    fn complete(&mut self, built_in: &Self) -> HashSet<String> {
        let mut wanted: Vec<String> = self.0.values().flat_map(|it| it.imports.clone()).collect();
        let mut added = HashSet::new();
        while let Some(name) = wanted.pop() {
            if self.0.contains_key(&name) {
                continue;
            }
            if let Some(file) = built_in.0.get(&name) {
                wanted.extend(file.imports.iter().cloned());
                added.insert(name.clone());
                self.0.insert(name, file.clone());
            }
        }
        added
    }

    /// Follows the imports of every file, and reports those that end nowhere or come back.
    fn broken_imports(&self) -> Vec<Finding> {
        let mut walk = Walk {
            files: self,
            seen: HashMap::new(),
            path: Vec::new(),
            faults: Vec::new(),
        };
        for name in self.0.keys() {
            walk.from(name);
        }
        walk.faults
    }

    /// Files that are newer than what can be linked; the library would panic at them.
    fn unknown_syntax(&self) -> Vec<Finding> {
        let unknown = |file: &File| !matches!(&*file.syntax, "" | "proto2" | "proto3");
        let files = self.0.iter().filter(|(_, file)| unknown(file));
        files
            .map(|(name, file)| {
                let text = format!(
                    "{name} has syntax {:?}; proto2 and proto3 can be linked",
                    file.syntax
                );
                finding(Code::DescriptorsUnlinkable, text)
            })
            .collect()
    }

    fn encode(&self) -> Vec<u8> {
        let file = self.0.values().map(|file| file.bytes.clone()).collect();
        Set { file }.encode_to_vec()
    }
}

/// A walk along imports, depth first and without recursion: chains may be of any length.
struct Walk<'a> {
    files: &'a Files,
    seen: HashMap<&'a str, Seen>,
    /// The files that import each other down to the present one, each with its unvisited imports.
    path: Vec<(&'a str, std::slice::Iter<'a, String>)>,
    faults: Vec<Finding>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    OnPath,
    Done,
}

impl<'a> Walk<'a> {
    fn from(&mut self, name: &'a str) {
        self.visit(name);
        while let Some((name, imports)) = self.path.last_mut() {
            match imports.next() {
                Some(import) => self.visit(import),
                None => {
                    self.seen.insert(name, Seen::Done);
                    self.path.pop();
                }
            }
        }
    }

    fn visit(&mut self, name: &'a str) {
        match (self.seen.get(name), self.files.0.get(name)) {
            (Some(Seen::Done), _) => {}
            (Some(Seen::OnPath), _) => self.fault("the imports are circular", name),
            (None, Some(file)) => {
                self.seen.insert(name, Seen::OnPath);
                self.path.push((name, file.imports.iter()));
            }
            (None, None) => {
                self.seen.insert(name, Seen::Done);
                self.fault("an imported file is missing", name);
            }
        }
    }

    fn fault(&mut self, what: &str, last: &str) {
        let mut path: Vec<&str> = self.path.iter().map(|(name, _)| *name).collect();
        path.push(last);
        let text = format!("{what}: {}", path.join(" -> "));
        self.faults.push(finding(Code::DescriptorsUnlinkable, text));
    }
}
