//! Dialects: everything in which the families differ on the wire, as one table.
//!
//! A [`Dialect`] is plain constant data. A link asks the functions it dials in the order of
//! [`PROBES`]; reading the answer ([`crate::contract::read`]) tells the exact dialect.

use std::fmt;

use firn_model::contract::Kind;

/// The names, paths and numbers of one generation of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// The family it belongs to.
    pub family: Family,
    /// The generation within the family, for people.
    pub generation: &'static str,
    /// The protocol version that is announced to the function.
    pub announced: Version,
    /// The calls of the discovery service.
    pub discovery: Discovery,
    /// What the function is told about the proxy.
    pub introduction: Introduction,
    /// Stateless components.
    pub action: Action,
    /// Event sourced entities.
    pub event_sourced: Entity,
    /// Value entities; the oldest dialect has none.
    pub value: Option<Entity>,
    /// Replicated entities.
    pub replicated: Entity,
    /// The layout of replicated data.
    pub deltas: Deltas,
    /// Whether a method of a replicated entity may give a stream of replies.
    pub streamed_commands: bool,
    /// Component types with an id and data that are known and not served yet.
    pub unserved_entities: &'static [&'static str],
    /// Component types without data of their own that are known and not served yet.
    pub unserved_others: &'static [&'static str],
    /// The component types that are offered to the function, in this order.
    pub offered: &'static [&'static str],
    /// What may be offered besides, by a setting: names of older dialects.
    pub offered_if_asked: &'static [&'static str],
    /// The type URL prefix of a primitive value; `string`, `int64`… follows.
    pub primitive_prefix: &'static str,
    /// The type URL prefix of a JSON text; a type hint follows.
    pub json_prefix: &'static str,
    /// Whether the function understands a request for a snapshot.
    pub snapshot_requests: bool,
}

/// A family of protocols with a common history and common options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Family {
    Cloudstate,
    AkkaServerless,
    Kalix,
}

impl Family {
    /// The short name, for people and for the setting `family`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cloudstate => "cloudstate",
            Self::AkkaServerless => "akka-serverless",
            Self::Kalix => "kalix",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Version {
    pub major: i32,
    pub minor: i32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The gRPC paths of the discovery service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discovery {
    /// What does the function declare?
    pub discover: &'static str,
    /// Something is wrong with it.
    pub report_error: &'static str,
    /// Is it alive?
    pub health_check: Option<&'static str>,
    /// The proxy ends; always the last call.
    pub proxy_terminated: Option<&'static str>,
}

/// How much a proxy says about itself besides its name, its version and what it offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Introduction {
    /// Nothing more.
    Name,
    /// Whether it runs in development.
    DevMode,
    /// That, and where the function can call it back.
    Address,
}

/// The service for stateless components: four calls, chosen by the streaming of the user's method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// The component type that a function declares.
    pub component_type: &'static str,
    /// One request, one reply.
    pub unary: &'static str,
    /// Requests are a stream.
    pub streamed_in: &'static str,
    /// Replies are a stream.
    pub streamed_out: &'static str,
    /// Both are.
    pub streamed: &'static str,
}

impl Action {
    /// The gRPC path for a method of this streaming.
    pub fn path(&self, streaming: Streaming) -> &'static str {
        match (streaming.requests, streaming.replies) {
            (false, false) => self.unary,
            (true, false) => self.streamed_in,
            (false, true) => self.streamed_out,
            (true, true) => self.streamed,
        }
    }
}

/// What of a method is a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Streaming {
    pub requests: bool,
    pub replies: bool,
}

/// The service for one kind of entities: one stream per active entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entity {
    /// The component type that a function declares.
    pub component_type: &'static str,
    /// The gRPC path of the stream.
    pub handle: &'static str,
}

/// How replicated data is laid out on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deltas {
    /// Cloudstate 0.1: full values and deltas are different messages.
    States,
    /// Cloudstate 0.2 and the first generation of Akka Serverless.
    Old,
    /// The second generation of Akka Serverless, and Kalix.
    New,
}

impl Dialect {
    /// The kind of components of this type, if Firn serves them.
    pub fn kind(&self, component_type: &str) -> Option<Kind> {
        if component_type == self.action.component_type {
            Some(Kind::Action)
        } else if component_type == self.event_sourced.component_type {
            Some(Kind::EventSourced)
        } else if self
            .value
            .is_some_and(|value| value.component_type == component_type)
        {
            Some(Kind::Value)
        } else if component_type == self.replicated.component_type {
            Some(Kind::Replicated)
        } else {
            None
        }
    }

    /// Whether components of this type are known but not served.
    pub fn is_unserved(&self, component_type: &str) -> bool {
        self.unserved_entities.contains(&component_type)
            || self.unserved_others.contains(&component_type)
    }

    /// Every known component type.
    pub fn known(&self) -> impl Iterator<Item = &'static str> {
        let served = [
            self.action.component_type,
            self.event_sourced.component_type,
            self.replicated.component_type,
        ];
        let value = self.value.map(|value| value.component_type);
        let unserved = self
            .unserved_entities
            .iter()
            .chain(self.unserved_others)
            .copied();
        served.into_iter().chain(value).chain(unserved)
    }
}

/// Whom to ask, in this order: the first discovery service that is implemented is the family's.
pub static PROBES: [&Dialect; 3] = [&KALIX, &AKKA_SERVERLESS_B, &CLOUDSTATE];

/// Kalix 1.0 and 1.1.
pub static KALIX: Dialect = Dialect {
    family: Family::Kalix,
    generation: "1.1",
    announced: Version { major: 1, minor: 1 },
    discovery: Discovery {
        discover: "/kalix.protocol.Discovery/Discover",
        report_error: "/kalix.protocol.Discovery/ReportError",
        health_check: Some("/kalix.protocol.Discovery/HealthCheck"),
        proxy_terminated: Some("/kalix.protocol.Discovery/ProxyTerminated"),
    },
    introduction: Introduction::Address,
    action: Action {
        component_type: "kalix.component.action.Actions",
        unary: "/kalix.component.action.Actions/HandleUnary",
        streamed_in: "/kalix.component.action.Actions/HandleStreamedIn",
        streamed_out: "/kalix.component.action.Actions/HandleStreamedOut",
        streamed: "/kalix.component.action.Actions/HandleStreamed",
    },
    event_sourced: Entity {
        component_type: "kalix.component.eventsourcedentity.EventSourcedEntities",
        handle: "/kalix.component.eventsourcedentity.EventSourcedEntities/Handle",
    },
    value: Some(Entity {
        component_type: "kalix.component.valueentity.ValueEntities",
        handle: "/kalix.component.valueentity.ValueEntities/Handle",
    }),
    replicated: Entity {
        component_type: "kalix.component.replicatedentity.ReplicatedEntities",
        handle: "/kalix.component.replicatedentity.ReplicatedEntities/Handle",
    },
    deltas: Deltas::New,
    streamed_commands: false,
    unserved_entities: &["kalix.component.workflow.WorkflowEntities"],
    unserved_others: &["kalix.component.view.Views"],
    offered: &[
        "kalix.component.action.Actions",
        "kalix.component.eventsourcedentity.EventSourcedEntities",
        "kalix.component.valueentity.ValueEntities",
        "kalix.component.replicatedentity.ReplicatedEntities",
    ],
    offered_if_asked: &[],
    primitive_prefix: "type.kalix.io/",
    json_prefix: "json.kalix.io/",
    snapshot_requests: true,
};

/// Akka Serverless, second generation: protocol 0.7 to 0.10, replicated data renumbered.
pub static AKKA_SERVERLESS_B: Dialect = Dialect {
    family: Family::AkkaServerless,
    generation: "B",
    announced: Version { major: 0, minor: 7 },
    discovery: Discovery {
        discover: "/akkaserverless.protocol.Discovery/Discover",
        report_error: "/akkaserverless.protocol.Discovery/ReportError",
        health_check: Some("/akkaserverless.protocol.Discovery/HealthCheck"),
        proxy_terminated: Some("/akkaserverless.protocol.Discovery/ProxyTerminated"),
    },
    introduction: Introduction::DevMode,
    action: Action {
        component_type: "akkaserverless.component.action.Actions",
        unary: "/akkaserverless.component.action.Actions/HandleUnary",
        streamed_in: "/akkaserverless.component.action.Actions/HandleStreamedIn",
        streamed_out: "/akkaserverless.component.action.Actions/HandleStreamedOut",
        streamed: "/akkaserverless.component.action.Actions/HandleStreamed",
    },
    event_sourced: Entity {
        component_type: "akkaserverless.component.eventsourcedentity.EventSourcedEntities",
        handle: "/akkaserverless.component.eventsourcedentity.EventSourcedEntities/Handle",
    },
    value: Some(Entity {
        component_type: "akkaserverless.component.valueentity.ValueEntities",
        handle: "/akkaserverless.component.valueentity.ValueEntities/Handle",
    }),
    replicated: Entity {
        component_type: "akkaserverless.component.replicatedentity.ReplicatedEntities",
        handle: "/akkaserverless.component.replicatedentity.ReplicatedEntities/Handle",
    },
    deltas: Deltas::New,
    streamed_commands: false,
    unserved_entities: &[],
    unserved_others: &["akkaserverless.component.view.Views"],
    offered: &[
        "akkaserverless.component.action.Actions",
        "akkaserverless.component.eventsourcedentity.EventSourcedEntities",
        "akkaserverless.component.valueentity.ValueEntities",
        "akkaserverless.component.replicatedentity.ReplicatedEntities",
    ],
    offered_if_asked: &[],
    primitive_prefix: "p.akkaserverless.com/",
    json_prefix: "json.akkaserverless.com/",
    snapshot_requests: false,
};

/// Akka Serverless, first generation: protocol 0.7, replicated data numbered as in Cloudstate.
pub static AKKA_SERVERLESS_A: Dialect = Dialect {
    generation: "A",
    deltas: Deltas::Old,
    ..AKKA_SERVERLESS_B
};

/// Cloudstate 0.2.
pub static CLOUDSTATE: Dialect = Dialect {
    family: Family::Cloudstate,
    generation: "0.2",
    announced: Version { major: 0, minor: 2 },
    discovery: Discovery {
        discover: "/cloudstate.EntityDiscovery/discover",
        report_error: "/cloudstate.EntityDiscovery/reportError",
        health_check: None,
        proxy_terminated: None,
    },
    introduction: Introduction::Name,
    action: Action {
        component_type: "cloudstate.action.ActionProtocol",
        unary: "/cloudstate.action.ActionProtocol/handleUnary",
        streamed_in: "/cloudstate.action.ActionProtocol/handleStreamedIn",
        streamed_out: "/cloudstate.action.ActionProtocol/handleStreamedOut",
        streamed: "/cloudstate.action.ActionProtocol/handleStreamed",
    },
    event_sourced: Entity {
        component_type: "cloudstate.eventsourced.EventSourced",
        handle: "/cloudstate.eventsourced.EventSourced/handle",
    },
    value: Some(Entity {
        component_type: "cloudstate.valueentity.ValueEntity",
        handle: "/cloudstate.valueentity.ValueEntity/handle",
    }),
    replicated: Entity {
        component_type: "cloudstate.crdt.Crdt",
        handle: "/cloudstate.crdt.Crdt/handle",
    },
    deltas: Deltas::Old,
    streamed_commands: true,
    unserved_entities: &[],
    unserved_others: &[],
    // Exactly these four: the family's conformance test compares the whole list. Functions of the old
    // dialect do not read it.
    offered: &[
        "cloudstate.action.ActionProtocol",
        "cloudstate.eventsourced.EventSourced",
        "cloudstate.valueentity.ValueEntity",
        "cloudstate.crdt.Crdt",
    ],
    offered_if_asked: &["cloudstate.function.StatelessFunction"],
    primitive_prefix: "p.cloudstate.io/",
    json_prefix: "json.cloudstate.io/",
    snapshot_requests: false,
};

/// Cloudstate 0.1: actions under their old name, no value entities, no metadata.
pub static CLOUDSTATE_01: Dialect = Dialect {
    generation: "0.1",
    action: Action {
        component_type: "cloudstate.function.StatelessFunction",
        unary: "/cloudstate.function.StatelessFunction/handleUnary",
        streamed_in: "/cloudstate.function.StatelessFunction/handleStreamedIn",
        streamed_out: "/cloudstate.function.StatelessFunction/handleStreamedOut",
        streamed: "/cloudstate.function.StatelessFunction/handleStreamed",
    },
    value: None,
    deltas: Deltas::States,
    ..CLOUDSTATE
};

/// Every dialect.
pub static ALL: [&Dialect; 5] = [
    &KALIX,
    &AKKA_SERVERLESS_B,
    &AKKA_SERVERLESS_A,
    &CLOUDSTATE,
    &CLOUDSTATE_01,
];
