//! The model services, and where a function's contract has them.

use std::collections::BTreeMap;

use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};

use crate::fault::Fault;
use crate::proto::v1;
use crate::proto::v1::{Component, Consistency, Contract, DataType, Durability, Model};

/// A model service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Service {
    Action,
    Value,
    Two,
    Events,
    Actor,
    Data(DataType),
}

/// All types of replicated data, with the name that services and storage have of it.
pub(crate) const DATA: [(DataType, &str, &str); 11] = [
    (
        DataType::GrowCounter,
        "GrowCounterModel",
        "tck-grow-counter",
    ),
    (DataType::Counter, "CounterModel", "tck-counter"),
    (DataType::GrowSet, "GrowSetModel", "tck-grow-set"),
    (DataType::Set, "SetModel", "tck-set"),
    (DataType::Flag, "FlagModel", "tck-flag"),
    (DataType::Register, "RegisterModel", "tck-register"),
    (DataType::Map, "MapModel", "tck-map"),
    (DataType::Vote, "VoteModel", "tck-vote"),
    (DataType::CounterMap, "CounterMapModel", "tck-counter-map"),
    (
        DataType::RegisterMap,
        "RegisterMapModel",
        "tck-register-map",
    ),
    (DataType::MultiMap, "MultiMapModel", "tck-multi-map"),
];

impl Service {
    /// All services.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        [
            Self::Action,
            Self::Value,
            Self::Two,
            Self::Events,
            Self::Actor,
        ]
        .into_iter()
        .chain(DATA.iter().map(|(data, ..)| Self::Data(*data)))
    }

    /// The name without the package.
    pub(crate) fn short(self) -> &'static str {
        match self {
            Self::Action => "ActionModel",
            Self::Value => "ValueModel",
            Self::Two => "ValueModelTwo",
            Self::Events => "EventSourcedModel",
            Self::Actor => "ActorModel",
            Self::Data(data) => Self::data(data).1,
        }
    }

    fn data(data: DataType) -> (DataType, &'static str, &'static str) {
        let found = DATA.iter().find(|(known, ..)| *known == data);
        *found.expect("every type but the unspecified one is listed")
    }

    /// The full name.
    pub(crate) fn name(self) -> String {
        format!("firn.tck.v1.{}", self.short())
    }

    pub(crate) fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Action => &["Unary", "Collect", "Spread", "Converse"],
            Self::Data(_) => &["Process", "Watch"],
            _ => &["Process"],
        }
    }

    /// The component as the README of the kit declares it, without methods.
    pub(crate) fn component(self) -> Component {
        let mut component = Component {
            service: self.name(),
            ..Component::default()
        };
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let state = "firn.tck.v1.State".to_owned();
        if self != Self::Action {
            component.id = names(&["id"]);
        }
        match self {
            Self::Action => {
                component.set_model(Model::Action);
                component.headers = names(&["x-tck", "x-tck-bin"]);
            }
            Self::Value => {
                component.set_model(Model::Value);
                component.storage = "tck-value".into();
                component.state = state;
            }
            Self::Two => {
                component.set_model(Model::Value);
                component.storage = "tck-two".into();
                component.state = state;
                component.passivate_after = Some(prost_types::Duration {
                    seconds: 60,
                    nanos: 0,
                });
            }
            Self::Events => {
                component.set_model(Model::EventSourced);
                component.storage = "tck-events".into();
                component.state = state;
                component.events = names(&["firn.tck.v1.Appended"]);
                component.snapshot_every = SNAPSHOT_EVERY;
            }
            Self::Actor => {
                component.set_model(Model::Actor);
                component.storage = "tck-actor".into();
                component.state = state;
                component.set_durability(Durability::Commit);
            }
            Self::Data(data) => {
                component.set_model(Model::Replicated);
                component.storage = Self::data(data).2.into();
                component.set_data(data);
                if data == DataType::Counter {
                    component.set_consistency(Consistency::Majority);
                }
            }
        }
        component
    }
}

/// After how many events the event sourced model adds a snapshot.
pub(crate) const SNAPSHOT_EVERY: u32 = 5;

/// Where a contract has the services.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    components: BTreeMap<Service, u32>,
    methods: BTreeMap<(Service, String), u32>,
}

impl Plan {
    pub(crate) fn of(contract: &Contract) -> Self {
        let mut plan = Self::default();
        for service in Service::all() {
            let name = service.name();
            let mut places = (0..).zip(&contract.components);
            let Some((place, component)) = places.find(|(_, one)| one.service == name) else {
                continue;
            };
            plan.components.insert(service, place);
            for (place, method) in (0..).zip(&component.methods) {
                plan.methods.insert((service, method.name.clone()), place);
            }
        }
        plan
    }

    /// The places of a component and its method.
    pub(crate) fn place(&self, service: Service, method: &str) -> Result<(u32, u32), Fault> {
        let component = self.components.get(&service);
        let method_place = self.methods.get(&(service, method.to_owned()));
        match (component, method_place) {
            (Some(component), Some(method)) => Ok((*component, *method)),
            _ => Err(Fault::new(
                "R11",
                format!("{}/{method} in the contract", service.name()),
                "a contract without it",
            )),
        }
    }
}

/// Holds a contract against the one of the README.
pub(crate) fn check(contract: &Contract) -> Result<(), Fault> {
    for service in Service::all() {
        let name = service.name();
        let mut found = contract.components.iter().filter(|one| one.service == name);
        let Some(component) = found.next() else {
            return Err(Fault::new(
                "R11",
                format!("a component {name}"),
                "a contract without it",
            ));
        };
        if found.next().is_some() {
            return Err(Fault::new("R11", format!("{name} once"), "it twice"));
        }
        let mut methods: Vec<&str> = component.methods.iter().map(|m| m.name.as_str()).collect();
        methods.sort_unstable();
        let mut expected = service.methods().to_vec();
        expected.sort_unstable();
        if methods != expected {
            let expected = format!("{name} with the methods {expected:?}");
            return Err(Fault::new("R11", expected, format!("{methods:?}")));
        }
        let without_methods = Component {
            methods: Vec::new(),
            ..component.clone()
        };
        // Naming the id with every method is as good as naming it once.
        let mut without_methods = without_methods;
        let by_method = component.methods.iter().all(|m| m.id == ["id"]);
        if without_methods.id.is_empty() && by_method && service != Service::Action {
            without_methods.id = vec!["id".into()];
        }
        if without_methods != service.component() {
            return Err(Fault::new(
                "R15",
                format!("{:?}", service.component()),
                format!("{without_methods:?}"),
            ));
        }
    }
    Ok(())
}

/// Holds the descriptors of a function against those of a model.
pub(crate) fn check_descriptors(given: &[u8], model: &[u8]) -> Result<(), Fault> {
    let given = FileDescriptorSet::decode(given)
        .map_err(|error| Fault::new("R10", "descriptors that can be decoded", error.to_string()))?;
    let model = FileDescriptorSet::decode(model).expect("it was generated");
    links(&given)?;
    let own = |file: &&FileDescriptorProto| file.package().starts_with("firn.tck.");
    for file in model.file.iter().filter(own) {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            let found = given.file.iter().find_map(|other| {
                let services = other.service.iter();
                let mut named = services.filter(|one| one.name() == service.name());
                named.next().filter(|_| other.package() == file.package())
            });
            let missing = || Fault::new("R10", format!("service {name}"), "descriptors without it");
            let found = found.ok_or_else(missing)?;
            let methods = |of: &prost_types::ServiceDescriptorProto| -> Vec<String> {
                of.method.iter().map(shape).collect()
            };
            if methods(found) != methods(service) {
                let expected = format!("{name}: {:?}", methods(service));
                return Err(Fault::new("R10", expected, format!("{:?}", methods(found))));
            }
        }
        for message in &file.message_type {
            let found = given.file.iter().find_map(|other| {
                let messages = other.message_type.iter();
                let mut named = messages.filter(|one| one.name() == message.name());
                named.next().filter(|_| other.package() == file.package())
            });
            if found.map(fields) != Some(fields(message)) {
                return Err(Fault::new(
                    "R10",
                    format!("message {}: {:?}", message.name(), fields(message)),
                    format!("{:?}", found.map(fields)),
                ));
            }
        }
    }
    Ok(())
}

/// Whether every import is there, except those that Firn has.
fn links(given: &FileDescriptorSet) -> Result<(), Fault> {
    for file in &given.file {
        for import in &file.dependency {
            let google = ["google/protobuf/", "google/api/"];
            let families = ["cloudstate/", "akkaserverless/", "kalix/"];
            let mut own = google.iter().chain(&families);
            let known = own.any(|folder| import.starts_with(folder));
            if !known && !given.file.iter().any(|other| other.name() == import) {
                return Err(Fault::new(
                    "R10",
                    format!("{import}, which {} imports", file.name()),
                    "descriptors without it",
                ));
            }
        }
    }
    Ok(())
}

fn shape(method: &prost_types::MethodDescriptorProto) -> String {
    let stream = |streams: bool| if streams { "stream " } else { "" };
    format!(
        "{}({}{}) {}{}",
        method.name(),
        stream(method.client_streaming()),
        method.input_type(),
        stream(method.server_streaming()),
        method.output_type(),
    )
}

/// Name, number and type of each field.
fn fields(message: &DescriptorProto) -> Vec<(String, i32, i32)> {
    let fields = message.field.iter();
    fields
        .map(|field| {
            (
                field.name().into(),
                field.number(),
                field.r#type.unwrap_or(0),
            )
        })
        .collect()
}

/// Whether a method streams its requests, and its replies.
pub(crate) fn streams(method: &str) -> (bool, bool) {
    match method {
        "Collect" => (true, false),
        "Spread" | "Watch" => (false, true),
        "Converse" => (true, true),
        _ => (false, false),
    }
}

/// The full name of a target's service, and its request.
pub(crate) fn target_of(
    target: &crate::proto::model::Target,
) -> Option<(String, &crate::proto::model::Request)> {
    use crate::proto::model::target::Target;
    match target.target.as_ref()? {
        Target::Value(request) => Some((Service::Value.name(), request)),
        Target::Two(request) => Some((Service::Two.name(), request)),
    }
}

/// A target of the model as the protocol has it.
pub(crate) fn to_target(target: &crate::proto::model::Target) -> Option<v1::Target> {
    let (service, request) = target_of(target)?;
    Some(v1::Target {
        service,
        method: "Process".into(),
        message: request.encode_to_vec().into(),
        metadata: None,
    })
}

/// Whether a target of the protocol is this one of the model.
pub(crate) fn is_target(given: Option<&v1::Target>, wanted: &crate::proto::model::Target) -> bool {
    let (Some(given), Some((service, request))) = (given, target_of(wanted)) else {
        return false;
    };
    let decoded = crate::proto::model::Request::decode(given.message.clone());
    given.service == service && given.method == "Process" && decoded.as_ref() == Ok(request)
}
