//! In what the families differ, by name and by number.

use prost_types::Any;

use crate::proto::TYPE_URL;
use crate::proto::v1::DataType;
use crate::service::Service;

/// A family of functions that are servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Family {
    Cloudstate,
    AkkaServerless,
    Kalix,
}

impl Family {
    /// The name in settings and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cloudstate => "cloudstate",
            Self::AkkaServerless => "akka-serverless",
            Self::Kalix => "kalix",
        }
    }

    /// The family of this name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Cloudstate, Self::AkkaServerless, Self::Kalix];
        all.into_iter().find(|family| family.name() == name)
    }

    pub(crate) fn dialects(self) -> &'static [Dialect] {
        match self {
            Self::Cloudstate => &[Dialect::Cloudstate01, Dialect::Cloudstate02],
            Self::AkkaServerless => &[Dialect::AkkaServerlessA, Dialect::AkkaServerlessB],
            Self::Kalix => &[Dialect::Kalix],
        }
    }

    /// How the family's names of packages begin.
    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::Cloudstate => "cloudstate",
            Self::AkkaServerless => "akkaserverless",
            Self::Kalix => "kalix",
        }
    }

    /// The version that a proxy of the family has.
    pub(crate) fn version(self) -> (i32, i32) {
        match self {
            Self::Cloudstate => (0, 2),
            Self::AkkaServerless => (0, 7),
            Self::Kalix => (1, 1),
        }
    }

    /// The gRPC path of a call of discovery, which is named as Akka Serverless and Kalix have it.
    pub(crate) fn discovery(self, call: &str) -> String {
        match self {
            Self::Cloudstate => {
                let (first, rest) = call.split_at(1);
                let first = first.to_lowercase();
                format!("/cloudstate.EntityDiscovery/{first}{rest}")
            }
            family => format!("/{}.protocol.Discovery/{call}", family.package()),
        }
    }

    /// The package of the model services.
    pub(crate) fn model(self) -> String {
        format!("firn.tck.{}.v1", self.package())
    }

    /// What the names of primitive types begin with.
    pub(crate) fn primitives(self) -> &'static str {
        match self {
            Self::Cloudstate => "p.cloudstate.io/",
            Self::AkkaServerless => "p.akkaserverless.com/",
            Self::Kalix => "type.kalix.io/",
        }
    }
}

/// What kind of component a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Action,
    Value,
    Events,
    Data,
}

/// A generation of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Cloudstate01,
    Cloudstate02,
    /// The first generation of Akka Serverless, with the replicated data of Cloudstate.
    AkkaServerlessA,
    AkkaServerlessB,
    Kalix,
}

impl Dialect {
    pub(crate) fn family(self) -> Family {
        match self {
            Self::Cloudstate01 | Self::Cloudstate02 => Family::Cloudstate,
            Self::AkkaServerlessA | Self::AkkaServerlessB => Family::AkkaServerless,
            Self::Kalix => Family::Kalix,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cloudstate01 => "Cloudstate 0.1",
            Self::Cloudstate02 => "Cloudstate 0.2",
            Self::AkkaServerlessA => "Akka Serverless, first generation",
            Self::AkkaServerlessB => "Akka Serverless, second generation",
            Self::Kalix => "Kalix",
        }
    }

    /// The kind of a service; none if the dialect has no such component.
    pub(crate) fn kind(self, service: Service) -> Option<Kind> {
        match service {
            Service::Action => Some(Kind::Action),
            // Where forwards lead must be somewhere.
            Service::Value | Service::Two if self == Self::Cloudstate01 => Some(Kind::Events),
            Service::Value | Service::Two => Some(Kind::Value),
            Service::Events => Some(Kind::Events),
            Service::Actor => None,
            Service::Data(data) => self.number(data).map(|_| Kind::Data),
        }
    }

    /// The services of the dialect.
    pub(crate) fn services(self) -> impl Iterator<Item = Service> {
        Service::all().filter(move |service| self.kind(*service).is_some())
    }

    /// The full name of a service.
    pub(crate) fn service(self, service: Service) -> String {
        format!("{}.{}", self.family().model(), service.short())
    }

    /// The service of a full name.
    pub(crate) fn service_of(self, name: &str) -> Option<Service> {
        self.services().find(|one| self.service(*one) == name)
    }

    /// The component type, which is the name of the protocol's service.
    pub(crate) fn component_type(self, kind: Kind) -> String {
        let name = match (self, kind) {
            (Self::Cloudstate01, Kind::Action) => "function.StatelessFunction",
            (Self::Cloudstate01 | Self::Cloudstate02, kind) => match kind {
                Kind::Action => "action.ActionProtocol",
                Kind::Value => "valueentity.ValueEntity",
                Kind::Events => "eventsourced.EventSourced",
                Kind::Data => "crdt.Crdt",
            },
            (_, Kind::Action) => "component.action.Actions",
            (_, Kind::Value) => "component.valueentity.ValueEntities",
            (_, Kind::Events) => "component.eventsourcedentity.EventSourcedEntities",
            (_, Kind::Data) => "component.replicatedentity.ReplicatedEntities",
        };
        format!("{}.{name}", self.family().package())
    }

    /// The gRPC path of an entity's stream.
    pub(crate) fn stream(self, kind: Kind) -> String {
        let handle = match self.family() {
            Family::Cloudstate => "handle",
            _ => "Handle",
        };
        format!("/{}/{handle}", self.component_type(kind))
    }

    /// The gRPC path of an action's call, by what of the method is streamed.
    pub(crate) fn action(self, (requests, replies): (bool, bool)) -> String {
        let call = match (requests, replies) {
            (false, false) => "andleUnary",
            (true, false) => "andleStreamedIn",
            (false, true) => "andleStreamedOut",
            (true, true) => "andleStreamed",
        };
        let first = match self.family() {
            Family::Cloudstate => 'h',
            _ => 'H',
        };
        format!("/{}/{first}{call}", self.component_type(Kind::Action))
    }

    /// Whether failures have codes.
    pub(crate) fn has_codes(self) -> bool {
        matches!(self, Self::AkkaServerlessB | Self::Kalix)
    }

    /// Whether actions and replies have metadata.
    pub(crate) fn has_metadata(self) -> bool {
        self != Self::Cloudstate01
    }

    /// Whether commands of entities have metadata.
    pub(crate) fn has_entity_metadata(self) -> bool {
        self.family() != Family::Cloudstate
    }

    /// Whether a replicated entity may answer with a stream.
    pub(crate) fn has_streamed_commands(self) -> bool {
        self.family() == Family::Cloudstate
    }

    /// The number that a type of replicated data has as a delta; none if the dialect has no such type.
    pub(crate) fn number(self, data: DataType) -> Option<u32> {
        let is_cloudstate = self.family() == Family::Cloudstate;
        match self {
            Self::AkkaServerlessB | Self::Kalix => match data {
                DataType::Counter => Some(1),
                DataType::Set => Some(2),
                DataType::Register => Some(3),
                DataType::Map => Some(4),
                DataType::CounterMap => Some(5),
                DataType::RegisterMap => Some(6),
                DataType::MultiMap => Some(7),
                DataType::Vote => Some(8),
                _ => None,
            },
            _ => match data {
                DataType::GrowCounter if is_cloudstate => Some(1),
                DataType::Counter => Some(2),
                DataType::GrowSet if is_cloudstate => Some(3),
                DataType::Set => Some(4),
                DataType::Register => Some(5),
                DataType::Flag if is_cloudstate => Some(6),
                DataType::Map => Some(7),
                DataType::Vote => Some(8),
                _ => None,
            },
        }
    }

    /// A message of the dialect's model as the same one of `firn.tck.v1`. What is none stays.
    pub(crate) fn to_own(self, any: &Any) -> Any {
        let theirs = format!("{TYPE_URL}{}.", self.family().model());
        renamed(any, &theirs, OWN)
    }

    /// A message of `firn.tck.v1` as the same one of the dialect's model.
    pub(crate) fn to_theirs(self, any: &Any) -> Any {
        let theirs = format!("{TYPE_URL}{}.", self.family().model());
        renamed(any, OWN, &theirs)
    }

    /// A primitive string, as a `Text` of `firn.tck.v1`, which has the same bytes. What is none stays.
    pub(crate) fn element_to_own(self, any: &Any) -> Any {
        let string = format!("{}string", self.family().primitives());
        if any.type_url == string {
            renamed(any, &string, &format!("{OWN}Text"))
        } else {
            any.clone()
        }
    }

    /// A `Text` of `firn.tck.v1`, as a primitive string.
    pub(crate) fn element_to_theirs(self, any: &Any) -> Any {
        let string = format!("{}string", self.family().primitives());
        renamed(any, &format!("{OWN}Text"), &string)
    }
}

const OWN: &str = "type.googleapis.com/firn.tck.v1.";

fn renamed(any: &Any, from: &str, to: &str) -> Any {
    let type_url = match any.type_url.strip_prefix(from) {
        Some(rest) => format!("{to}{rest}"),
        None => any.type_url.clone(),
    };
    Any {
        type_url,
        value: any.value.clone(),
    }
}
