//! What a function declares: its protobuf descriptors, its components and their methods.
//!
//! A contract is built once per discovery (`firn-wire` reads it from the family's message) and
//! never changes afterwards; a changed function makes a new contract.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytestring::ByteString;
use prost_reflect::{DescriptorPool, MethodDescriptor};

use crate::code::Code;
use crate::id::StorageName;
use crate::key::Key;
use crate::policy::Policies;

/// The state model of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Stateless code.
    Action,
    /// A state that is replaced as a whole.
    Value,
    /// Events, and snapshots of what they add up to.
    EventSourced,
    /// Replicated data: every node that is asked has a replica.
    Replicated,
    /// A state that is replaced as a whole, with tags.
    Actor,
}

impl Kind {
    /// Whether instances of the component have an id and a state.
    pub fn is_entity(self) -> bool {
        self != Self::Action
    }

    /// Whether the commands of an entity are served one after another, so that one may wait for ever
    /// for itself.
    pub fn serves_in_turn(self) -> bool {
        matches!(self, Self::Value | Self::EventSourced | Self::Actor)
    }

    /// Whether a command's answer is remembered under its caller's idempotency key. Replicas agree
    /// on values, not on answers.
    pub fn keeps_records(self) -> bool {
        matches!(self, Self::Value | Self::EventSourced | Self::Actor)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Action => "action",
            Self::Value => "value entity",
            Self::EventSourced => "event sourced entity",
            Self::Replicated => "replicated entity",
            Self::Actor => "actor",
        })
    }
}

/// One component of a service.
#[derive(Debug)]
pub struct Component {
    /// The full name of the gRPC service it implements.
    pub service: Arc<str>,
    /// Its state model.
    pub kind: Kind,
    /// Under which name its data is kept; an action's is its service name and unused.
    pub storage: StorageName,
    /// How it behaves where families differ.
    pub policies: Policies,
    /// Its place in what its function declares, from 0.
    pub place: u32,
}

/// An access rule that the function declared on a method and that Firn does not enforce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unenforced {
    /// An access control list.
    Acl,
    /// Validation or signing of JSON web tokens.
    Jwt,
}

/// One method of a component, as callers reach it.
#[derive(Debug)]
pub struct Method {
    /// The component that serves it.
    pub component: Arc<Component>,
    /// The method's name without its service, for example `AddItem`.
    pub name: Arc<str>,
    /// The method in the function's own descriptors.
    pub descriptor: MethodDescriptor,
    /// The type URL of its requests.
    pub input_url: ByteString,
    /// The type URL of its replies.
    pub output_url: ByteString,
    /// Where a request names its entity; [`Key::None`] for actions.
    pub key: Key,
    /// A declared access rule that Firn does not enforce yet.
    pub unenforced: Option<Unenforced>,
    /// Its place in what its component declares, from 0.
    pub place: u32,
}

impl Method {
    /// The gRPC path, `/package.Service/Method`.
    pub fn path(&self) -> String {
        format!("/{}/{}", self.component.service, self.name)
    }

    /// Whether requests are a stream.
    pub fn streams_in(&self) -> bool {
        self.descriptor.is_client_streaming()
    }

    /// Whether replies are a stream.
    pub fn streams_out(&self) -> bool {
        self.descriptor.is_server_streaming()
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Something does not work.
    Error,
    /// The function runs all the same.
    Warning,
}

/// Something said about a function: about its contract as a whole, one component, or what it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The stable code.
    pub code: Code,
    /// What is wrong, with the names involved; lower case, no full stop.
    pub text: String,
    /// The service it is about, if one.
    pub service: Option<String>,
    /// Where in the function's proto files, if known.
    pub location: Option<Location>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text)?;
        match &self.location {
            Some(at) => write!(f, " ({}:{})", at.file, at.line + 1),
            None => Ok(()),
        }
    }
}

/// A place in a proto file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file's name as the descriptors give it.
    pub file: String,
    /// Zero-based line.
    pub line: u32,
    /// Zero-based column.
    pub column: u32,
}

/// Who the function says it is; all of it may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FunctionInfo {
    /// The name of the service.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The language runtime, for example `node v20.1`.
    pub runtime: String,
    /// The SDK's name and version, separated by a space.
    pub sdk: String,
}

/// Everything a function declares and Firn serves.
#[derive(Debug)]
pub struct Contract {
    /// Short name of the protocol family, for people only: nothing may branch on it.
    pub family: &'static str,
    /// Who the function is.
    pub info: FunctionInfo,
    /// The function's descriptors, completed and linked.
    pub pool: DescriptorPool,
    /// The components that are served, in declared order.
    pub components: Vec<Arc<Component>>,
    /// What was declared and is not served, and other warnings.
    pub warnings: Vec<Finding>,
    methods: HashMap<String, Arc<Method>>,
}

impl Contract {
    /// Assembles a contract from its parts; `methods` in any order.
    pub fn new(
        family: &'static str,
        info: FunctionInfo,
        pool: DescriptorPool,
        components: Vec<Arc<Component>>,
        methods: Vec<Arc<Method>>,
        warnings: Vec<Finding>,
    ) -> Self {
        let methods = methods
            .into_iter()
            .map(|method| (method.path(), method))
            .collect();
        Self {
            family,
            info,
            pool,
            components,
            warnings,
            methods,
        }
    }

    /// The method at a gRPC path, `/package.Service/Method`.
    pub fn method(&self, path: &str) -> Option<&Arc<Method>> {
        self.methods.get(path)
    }

    /// Every method, in no particular order.
    pub fn methods(&self) -> impl Iterator<Item = &Arc<Method>> {
        self.methods.values()
    }

    /// The method path nearest to one that does not exist, for a helpful refusal.
    pub fn nearest(&self, path: &str) -> Option<&str> {
        self.methods
            .keys()
            .map(|known| (edit_distance(known, path), known.as_str()))
            .min()
            .filter(|(distance, _)| *distance <= path.len().div_ceil(2))
            .map(|(_, known)| known)
    }
}

/// The Levenshtein distance of two texts in bytes, case ignored: a rename of one letter is one.
fn edit_distance(left: &str, right: &str) -> usize {
    let (left, right) = (left.to_ascii_lowercase(), right.to_ascii_lowercase());
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_changed_letters() {
        let check = |left, right, expected| assert_eq!(edit_distance(left, right), expected);
        check("", "", 0);
        check("AddItem", "additem", 0);
        check("AddItem", "AddItems", 1);
        check("kitten", "sitting", 3);
        check("", "abc", 3);
    }
}
