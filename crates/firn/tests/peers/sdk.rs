//! What each SDK can do, and how it words things.

use tonic::Code;

/// One SDK, as the scenarios see it.
#[derive(Debug)]
pub(crate) struct Sdk {
    /// The folder of its peer.
    pub(crate) peer: &'static str,
    /// What Firn calls its family.
    pub(crate) family: &'static str,
    /// Environment of the function.
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// The text of a failure that the function chose.
    pub(crate) failure: fn(&str) -> String,
    /// The status of an action whose handler throws.
    pub(crate) action_crash: Code,
    /// What becomes of values.
    pub(crate) values: Values,
    /// Whether side effects leave the SDK.
    pub(crate) effects: Effects,
    /// What an entity that takes its time means for the others.
    pub(crate) slow: Slow,
    /// What replicated maps may hold.
    pub(crate) maps: Maps,
}

/// What becomes of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    /// They are kept; a deleted one may be set again at once.
    Kept,
    /// They are kept; a deleted one takes no changes any more.
    KeptOrDeletedForGood,
    /// The SDK forgets them as soon as their entity leaves memory.
    Forgotten,
}

/// Whether side effects leave the SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effects {
    /// They do.
    Sent,
    /// It accepts them and forgets them.
    Swallowed,
}

/// What an entity that takes its time means for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slow {
    /// Nothing.
    Alone,
    /// They wait with it.
    HoldsUpAll,
    /// The SDK's handlers cannot wait.
    Never,
}

/// What replicated maps may hold, beside counters and votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Maps {
    /// Sets, registers and maps.
    OfAnything,
    /// Flags. The SDK also puts sets, registers and maps into a map, but fails when the map is given
    /// back to it.
    OfFlags,
}

fn plain(text: &str) -> String {
    text.to_owned()
}

/// The Python SDKs show the list in which they gather errors.
fn as_python_list(text: &str) -> String {
    format!("['{text}']")
}

/// A JVM that starts soon rather than one that becomes fast.
const QUICK_JVM: &[(&str, &str)] = &[(
    "JAVA_TOOL_OPTIONS",
    "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto",
)];

pub(crate) static KALIX_NODE: Sdk = Sdk {
    peer: "kalix-node",
    family: "kalix",
    // Tells in its log when the stream of a replicated entity ends.
    environment: &[("DEBUG", "kalix-replicated-entity")],
    failure: plain,
    action_crash: Code::Unknown,
    values: Values::KeptOrDeletedForGood,
    effects: Effects::Sent,
    slow: Slow::Alone,
    maps: Maps::OfAnything,
};

pub(crate) static KALIX_JAVA: Sdk = Sdk {
    peer: "kalix-java",
    environment: QUICK_JVM,
    ..KALIX_NODE
};

pub(crate) static AKKASERVERLESS_NODE: Sdk = Sdk {
    peer: "akkaserverless-node",
    family: "akka-serverless",
    environment: &[("DEBUG", "akkaserverless-replicated-entity")],
    values: Values::Kept,
    ..KALIX_NODE
};

pub(crate) static AKKASERVERLESS_PYTHON: Sdk = Sdk {
    peer: "akkaserverless-python",
    failure: as_python_list,
    values: Values::Forgotten,
    slow: Slow::HoldsUpAll,
    ..AKKASERVERLESS_NODE
};

pub(crate) static CLOUDSTATE_NODE: Sdk = Sdk {
    peer: "cloudstate-node",
    family: "cloudstate",
    environment: &[("DEBUG", "cloudstate-crdt")],
    action_crash: Code::Internal,
    values: Values::Kept,
    slow: Slow::Never,
    maps: Maps::OfFlags,
    ..KALIX_NODE
};

pub(crate) static CLOUDSTATE_JAVA: Sdk = Sdk {
    peer: "cloudstate-java",
    environment: QUICK_JVM,
    effects: Effects::Swallowed,
    slow: Slow::HoldsUpAll,
    ..CLOUDSTATE_NODE
};

pub(crate) static CLOUDSTATE_PYTHON: Sdk = Sdk {
    peer: "cloudstate-python",
    failure: as_python_list,
    slow: Slow::Alone,
    ..CLOUDSTATE_NODE
};
