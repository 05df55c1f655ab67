//! What the kit's function declares, and the messages of its services.

use prost::Message as _;
use prost_types::Any;

use crate::families::dialect::{Dialect, Family, Kind};
use crate::families::wire;
use crate::proto::TYPE_URL;

/// The package of the services.
const PACKAGE: &str = "firn.tck.proxy";

/// How long entities stay in memory that are to leave it soon.
const IDLE_MS: i64 = 100;

fn leaves_soon(service: &str) -> bool {
    service.ends_with("Idle") || service == "Watched"
}

/// The headers that components of Akka Serverless and Kalix ask for.
pub(super) const LISTED: [&str; 2] = ["x-tck", "X-Tck-Other"];

/// A request to anything.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Request {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) text: String,
}

/// A reply of anything, and what is kept.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Text {
    #[prost(string, tag = "1")]
    pub(super) text: String,
}

/// The full name of something of the model.
pub(super) fn full(name: &str) -> String {
    format!("{PACKAGE}.{name}")
}

/// A message of the model as an `Any`.
pub(super) fn pack(name: &str, value: Vec<u8>) -> Any {
    Any {
        type_url: format!("{TYPE_URL}{PACKAGE}.{name}"),
        value,
    }
}

/// A request as the function gets it.
pub(super) fn asked(id: &str, text: &str) -> Any {
    pack("Request", request(id, text))
}

/// The bytes of a request.
pub(super) fn request(id: &str, text: &str) -> Vec<u8> {
    let (id, text) = (id.to_owned(), text.to_owned());
    Request { id, text }.encode_to_vec()
}

/// A response as the function gives it.
pub(super) fn said(text: &str) -> Any {
    let text = text.to_owned();
    pack("Response", Text { text }.encode_to_vec())
}

/// A state, an event or a snapshot.
pub(super) fn kept(text: &str) -> Any {
    let text = text.to_owned();
    pack("Kept", Text { text }.encode_to_vec())
}

/// What a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Action,
    Entity(Kind),
}

/// One declared service.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    /// The full name.
    pub(super) service: String,
    pub(super) component_type: String,
    /// The name under which data is kept; none for an action.
    pub(super) storage: Option<String>,
    pub(super) passivate_ms: Option<i64>,
    pub(super) headers: Vec<String>,
}

/// Everything that is declared.
#[derive(Clone, Debug)]
pub(super) struct Contract {
    pub(super) dialect: Dialect,
    pub(super) descriptors: Vec<u8>,
    pub(super) declared: Vec<Declared>,
    pub(super) version: (i32, i32),
}

/// The files of the services, in the words of a family.
fn descriptors(family: Family) -> &'static [u8] {
    match family {
        Family::Cloudstate => include_bytes!("../../generated/proxy.cloudstate.bin"),
        Family::AkkaServerless => include_bytes!("../../generated/proxy.akkaserverless.bin"),
        Family::Kalix => include_bytes!("../../generated/proxy.kalix.bin"),
    }
}

/// The services that every family has.
const SERVICES: [(&str, Sort); 13] = [
    ("Act", Sort::Action),
    ("ActTwo", Sort::Action),
    ("Untyped", Sort::Action),
    ("Front", Sort::Action),
    ("Value", Sort::Entity(Kind::Value)),
    ("ValueTwo", Sort::Entity(Kind::Value)),
    ("ValueIdle", Sort::Entity(Kind::Value)),
    ("ValueKeyed", Sort::Entity(Kind::Value)),
    ("Events", Sort::Entity(Kind::Events)),
    ("EventsTwo", Sort::Entity(Kind::Events)),
    ("EventsIdle", Sort::Entity(Kind::Events)),
    ("Data", Sort::Entity(Kind::Data)),
    ("DataIdle", Sort::Entity(Kind::Data)),
];

/// The services that a family has besides.
fn own(family: Family) -> &'static [(&'static str, Sort)] {
    match family {
        Family::Cloudstate => &[("Watched", Sort::Entity(Kind::Data))],
        Family::AkkaServerless => &[],
        Family::Kalix => &[("ValueGenerated", Sort::Entity(Kind::Value))],
    }
}

/// The kind of entity that a service is.
pub(super) fn kind_of(service: &str) -> Kind {
    match service {
        _ if service.starts_with("Value") => Kind::Value,
        _ if service.starts_with("Events") => Kind::Events,
        _ => Kind::Data,
    }
}

/// The services that a family serves, short.
pub(super) fn services(family: Family) -> impl Iterator<Item = &'static str> {
    let all = SERVICES.iter().chain(own(family));
    all.map(|(name, _)| *name)
}

impl Contract {
    /// Descriptors without any component.
    pub(super) fn empty(dialect: Dialect) -> Self {
        Self {
            dialect,
            descriptors: descriptors(dialect.family()).to_vec(),
            declared: Vec::new(),
            version: dialect.family().version(),
        }
    }

    /// With all services of the family.
    pub(super) fn whole(dialect: Dialect) -> Self {
        let all = SERVICES.iter().chain(own(dialect.family()));
        all.fold(Self::empty(dialect), |contract, (name, sort)| {
            contract.with(name, *sort)
        })
    }

    /// With this service.
    pub(super) fn with(mut self, name: &str, sort: Sort) -> Self {
        let component_type = match sort {
            Sort::Action => self.dialect.component_type(Kind::Action),
            Sort::Entity(kind) => self.dialect.component_type(kind),
        };
        self.declared.push(Declared {
            service: full(name),
            component_type,
            storage: (sort != Sort::Action).then(|| format!("tck-{}", name.to_lowercase())),
            passivate_ms: leaves_soon(name).then_some(IDLE_MS),
            headers: LISTED.map(str::to_owned).to_vec(),
        });
        self
    }

    /// With the last service changed.
    pub(super) fn last(mut self, change: impl FnOnce(&mut Declared)) -> Self {
        self.declared.last_mut().map(change);
        self
    }

    /// The answer of discovery.
    pub(super) fn encode(&self) -> Vec<u8> {
        let component = |one: &Declared| match self.dialect.family() {
            Family::Cloudstate => old_component(one),
            Family::AkkaServerless | Family::Kalix => component(one),
        };
        let info = wire::ServiceInfo {
            service_name: "tck".into(),
            service_version: "1".into(),
            service_runtime: "none".into(),
            support_library_name: "conformance kit".into(),
            support_library_version: "1".into(),
            protocol_major_version: self.version.0,
            protocol_minor_version: self.version.1,
            ..wire::ServiceInfo::default()
        };
        wire::Spec {
            proto: self.descriptors.clone().into(),
            components: self.declared.iter().map(component).collect(),
            service_info: Some(info),
        }
        .encode_to_vec()
    }
}

fn passivation(one: &Declared) -> Option<wire::PassivationStrategy> {
    let timeout = one.passivate_ms?;
    Some(wire::PassivationStrategy {
        timeout: Some(wire::TimeoutPassivationStrategy { timeout }),
    })
}

/// As Cloudstate has it: field 3 is the persistence id, field 4 the passivation.
fn old_component(one: &Declared) -> wire::Component {
    wire::Component {
        component_type: one.component_type.clone(),
        service_name: one.service.clone(),
        third: one.storage.clone().map(|name| name.into_bytes().into()),
        fourth: passivation(one).map(|it| it.encode_to_vec().into()),
    }
}

/// As the others have it: field 3 is of an entity, field 4 of anything else.
fn component(one: &Declared) -> wire::Component {
    let forward_headers = one.headers.clone();
    let entity = one.storage.as_ref().map(|name| wire::EntitySettings {
        entity_type: name.clone(),
        passivation_strategy: passivation(one),
        forward_headers: forward_headers.clone(),
        replicated_entity: None,
    });
    let generic = wire::GenericSettings { forward_headers };
    wire::Component {
        component_type: one.component_type.clone(),
        service_name: one.service.clone(),
        fourth: entity.is_none().then(|| generic.encode_to_vec().into()),
        third: entity.map(|it| it.encode_to_vec().into()),
    }
}
