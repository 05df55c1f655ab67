//! Contracts: what functions declare in their `Hello`.
//!
//! # How it works
//! [`read`] takes what one function declares, or several that are served side by side, and gives one
//! contract, or every fault at once. [`taken`] says what of a newcomer belongs to another already.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use firn_model::code::Code;
use firn_model::contract::{Component, Contract, Finding, FunctionInfo, Kind, Method};
use firn_model::id::StorageName;
use firn_model::key::{Key, KeyField};
use firn_model::payload::message_url;
use firn_model::policy::{
    ActionEffects, Delete, Durability, EmptyAnswer, FailedQueue, FailureMutation, Headers,
    HttpErrors, LostCommands, OpenCommands, Pipelining, Policies, Replay, ReplyType, StreamFailure,
    Texts, UnnamedFailure,
};
use firn_model::replicated::DataType;
use firn_model::status::GrpcCode;
use prost::Message as _;
use prost_reflect::{DescriptorPool, MethodDescriptor, ServiceDescriptor};
use prost_types::{FileDescriptorProto, FileDescriptorSet};

use super::data;
use super::message as wire;
use crate::contract::place::{about, at_method, finding};
use crate::contract::{descriptors, key};

/// The short name of the family.
pub const FAMILY: &str = "firn";

/// What one function declares.
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    /// Who it is.
    pub info: FunctionInfo,
    /// What it declares.
    pub contract: wire::Contract,
}

/// What the decisions of a component may hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shape {
    /// The type URL of its state; empty if it has none.
    pub state: ByteString,
    /// The type URLs of its events.
    pub events: BTreeSet<ByteString>,
    /// The type of its replicated data.
    pub data: Option<DataType>,
    /// The methods that a timer may call, unary ones, with the fields that name the entity.
    pub timed: HashMap<String, Vec<KeyField>>,
}

/// What stands at one place in a function's list of components.
#[derive(Debug, Clone)]
pub struct Place {
    /// The component.
    pub component: Arc<Component>,
    /// Its methods by their places.
    pub methods: Vec<Arc<Method>>,
    /// What its decisions may hold.
    pub shape: Arc<Shape>,
}

/// A contract, and what decisions may hold.
#[derive(Debug)]
pub struct Declared {
    /// What is declared and served.
    pub contract: Contract,
    /// For each function, in the order given, each of its components by its place.
    pub functions: Vec<Vec<Place>>,
}

/// Who a function says it is.
pub fn info(info: Option<wire::Info>) -> FunctionInfo {
    let info = info.unwrap_or_default();
    FunctionInfo {
        name: info.name,
        version: info.version,
        runtime: info.runtime,
        sdk: info.sdk,
    }
}

/// Reads what functions declare that are served side by side.
///
/// # Errors
/// Every fault of them (R10 to R16); one that hides all others is alone.
pub fn read(functions: &[&Declaration]) -> Result<Declared, Vec<Finding>> {
    let sets: Vec<&[u8]> = functions
        .iter()
        .map(|function| &*function.contract.descriptors)
        .collect();
    let linked = descriptors::link(&sets, None)?;
    let mut reader = Reader::new(linked.pool);
    let mut read = Vec::new();
    for function in functions {
        let components = &function.contract.components;
        if components.is_empty() {
            let text = "the function declares no component".to_owned();
            reader.faults.push(finding(Code::NothingDeclared, text));
        }
        let components = components.iter().zip(0..);
        // One that cannot be is a fault, so that nothing of this is served.
        let components = components
            .filter_map(|(component, place)| reader.component(component, place))
            .collect();
        read.push(components);
    }
    if !reader.faults.is_empty() {
        return Err(reader.faults);
    }
    let info = functions
        .first()
        .map(|function| function.info.clone())
        .unwrap_or_default();
    let contract = Contract::new(
        FAMILY,
        info,
        reader.pool,
        reader.components,
        reader.methods,
        Vec::new(),
    );
    Ok(Declared {
        contract,
        functions: read,
    })
}

/// What of a newcomer another connected function declares already, or otherwise (R17).
pub fn taken(newcomer: &Declaration, others: &[&Declaration]) -> Vec<Finding> {
    let mut faults = Vec::new();
    let files = files(newcomer);
    for other in others {
        for component in &newcomer.contract.components {
            let mut present = other.contract.components.iter();
            let service = &component.service;
            if present.clone().any(|it| it.service == *service) {
                let text = format!(
                    "service {service} is declared otherwise by a function that is connected"
                );
                faults.push(about(service, finding(Code::ContractTaken, text)));
            } else if let Some(owner) = present.find(|it| shares_storage(it, component)) {
                let text = format!(
                    "{service} would keep its data under {:?}, as {} of a function that is \
                     connected does",
                    storage(component),
                    owner.service
                );
                faults.push(about(service, finding(Code::ContractTaken, text)));
            }
        }
        for (name, file) in self::files(other) {
            if files.get(&name).is_some_and(|own| *own != file) {
                let text = format!(
                    "{name} is another file in a function that is connected; give one another name"
                );
                faults.push(finding(Code::ContractTaken, text));
            }
        }
    }
    faults
}

/// The function's own files without what does not change their meaning.
fn files(declaration: &Declaration) -> HashMap<String, FileDescriptorProto> {
    let set = FileDescriptorSet::decode(&*declaration.contract.descriptors).unwrap_or_default();
    let own = set
        .file
        .into_iter()
        .filter(|file| !file.name().starts_with("google/"));
    own.map(|mut file| {
        file.source_code_info = None;
        file.message_type.iter_mut().for_each(without_json_names);
        (file.name().to_owned(), file)
    })
    .collect()
}

/// Some generators write the names that JSON has anyway.
fn without_json_names(message: &mut prost_types::DescriptorProto) {
    message.field.iter_mut().for_each(|it| it.json_name = None);
    message.nested_type.iter_mut().for_each(without_json_names);
}

fn storage(component: &wire::Component) -> &str {
    match component.storage.is_empty() {
        true => &component.service,
        false => &component.storage,
    }
}

fn shares_storage(left: &wire::Component, right: &wire::Component) -> bool {
    let keeps = |component: &wire::Component| component.model() != wire::Model::Action;
    keeps(left) && keeps(right) && storage(left) == storage(right)
}

/// Reads components and gathers what it finds.
struct Reader {
    pool: DescriptorPool,
    components: Vec<Arc<Component>>,
    methods: Vec<Arc<Method>>,
    faults: Vec<Finding>,
    /// Who keeps its data under which name.
    storages: HashMap<String, String>,
    services: BTreeSet<String>,
}

impl Reader {
    fn new(pool: DescriptorPool) -> Self {
        Self {
            pool,
            components: Vec::new(),
            methods: Vec::new(),
            faults: Vec::new(),
            storages: HashMap::new(),
            services: BTreeSet::new(),
        }
    }

    fn fault(&mut self, service: &str, code: Code, text: String) {
        self.faults.push(about(service, finding(code, text)));
    }

    /// Reads one component; `None`, and a fault, if it cannot be one.
    fn component(&mut self, declared: &wire::Component, place: u32) -> Option<Place> {
        let service = declared.service.as_str();
        if !self.services.insert(service.to_owned()) {
            let text = format!("service {service} is declared by two components");
            self.fault(service, Code::ServiceTwice, text);
            return None;
        }
        // The pool also finds names with a dot in front, which nobody else does.
        let descriptor = self.pool.get_service_by_name(service);
        let descriptor = descriptor.filter(|found| found.full_name() == service);
        let Some(descriptor) = descriptor else {
            let text = format!("service {service} is not in the descriptors");
            self.fault(service, Code::ServiceUndeclared, text);
            return None;
        };
        let kind = self.kind(declared)?;
        self.options(declared, kind);
        self.own_storage(declared, kind);
        let shape = self.shape(declared);
        let component = Arc::new(Component {
            service: service.into(),
            kind,
            storage: StorageName::new(storage(declared)),
            policies: policies(declared),
            place,
        });
        let methods = self.read_methods(declared, &component, &descriptor);
        let shape = Shape {
            timed: timed(&methods),
            ..shape
        };
        self.components.push(component.clone());
        Some(Place {
            component,
            methods,
            shape: Arc::new(shape),
        })
    }

    fn kind(&mut self, declared: &wire::Component) -> Option<Kind> {
        Some(match wire::Model::try_from(declared.model) {
            Ok(wire::Model::Action) => Kind::Action,
            Ok(wire::Model::Value) => Kind::Value,
            Ok(wire::Model::EventSourced) => Kind::EventSourced,
            Ok(wire::Model::Replicated) => Kind::Replicated,
            Ok(wire::Model::Actor) => Kind::Actor,
            Ok(wire::Model::Unspecified) | Err(_) => {
                let text = format!(
                    "{} is of model {}, which Firn does not know",
                    declared.service, declared.model
                );
                self.fault(&declared.service, Code::ComponentTypeUnknown, text);
                return None;
            }
        })
    }

    /// Options of another model, and those that are missing (R15).
    fn options(&mut self, declared: &wire::Component, kind: Kind) {
        let is_entity = kind.is_entity();
        let belongs = [
            ("id", !declared.id.is_empty(), is_entity),
            ("storage", !declared.storage.is_empty(), is_entity),
            (
                "passivate_after",
                declared.passivate_after.is_some(),
                is_entity,
            ),
            (
                "events",
                !declared.events.is_empty(),
                kind == Kind::EventSourced,
            ),
            (
                "state",
                !declared.state.is_empty(),
                matches!(kind, Kind::Value | Kind::EventSourced | Kind::Actor),
            ),
            (
                "snapshot_every",
                declared.snapshot_every != 0,
                kind == Kind::EventSourced,
            ),
            ("data", declared.data != 0, kind == Kind::Replicated),
            (
                "consistency",
                declared.consistency != 0,
                kind == Kind::Replicated,
            ),
            ("durability", declared.durability != 0, kind == Kind::Actor),
        ];
        let service = declared.service.as_str();
        for (option, is_set, belongs) in belongs {
            if is_set && !belongs {
                let text =
                    format!("{option} is set for {service}, which is of kind {kind} and has none");
                self.fault(service, Code::OptionMisplaced, text);
            }
        }
        let needed = [
            (
                "events",
                declared.events.is_empty(),
                kind == Kind::EventSourced,
            ),
            (
                "state",
                declared.state.is_empty(),
                matches!(kind, Kind::Value | Kind::Actor) || declared.snapshot_every != 0,
            ),
            (
                "data",
                data::data_type(declared.data).is_none(),
                kind == Kind::Replicated,
            ),
        ];
        for (option, is_missing, is_needed) in needed {
            if is_missing && is_needed {
                let text = format!("{service} is a {kind} and must say its {option}");
                self.fault(service, Code::OptionMisplaced, text);
            }
        }
        if declared.passivate_after.is_some() && idle_time(declared).is_none() {
            let text = format!("passivate_after of {service} is not a positive duration");
            self.fault(service, Code::OptionMisplaced, text);
        }
    }

    fn own_storage(&mut self, declared: &wire::Component, kind: Kind) {
        if !kind.is_entity() {
            return;
        }
        let (storage, service) = (storage(declared), declared.service.as_str());
        let first = self.storages.insert(storage.to_owned(), service.to_owned());
        if let Some(first) = first {
            let text = format!(
                "components {first} and {service} would both keep their data under {storage:?}"
            );
            self.fault(service, Code::StorageNameTwice, text);
        }
    }

    /// What its decisions may hold (R16).
    fn shape(&mut self, declared: &wire::Component) -> Shape {
        let names = declared.events.iter().chain(Some(&declared.state));
        for name in names.filter(|name| !name.is_empty()) {
            let found = self.pool.get_message_by_name(name);
            if found.is_none_or(|found| found.full_name() != name) {
                let service = declared.service.as_str();
                let text =
                    format!("{service} names message {name}, which its descriptors do not hold");
                self.fault(service, Code::MessageUndeclared, text);
            }
        }
        Shape {
            state: match declared.state.is_empty() {
                true => ByteString::new(),
                false => message_url(&declared.state),
            },
            events: declared
                .events
                .iter()
                .map(|name| message_url(name))
                .collect(),
            data: data::data_type(declared.data),
            timed: HashMap::new(),
        }
    }

    /// The methods that the function handles; the others of the service are not served (R11).
    fn read_methods(
        &mut self,
        declared: &wire::Component,
        component: &Arc<Component>,
        service: &ServiceDescriptor,
    ) -> Vec<Arc<Method>> {
        let mut names = BTreeSet::new();
        let mut methods = Vec::new();
        for (method, place) in declared.methods.iter().zip(0..) {
            let descriptor = service.methods().find(|it| it.name() == method.name);
            let Some(descriptor) = descriptor.filter(|_| names.insert(method.name.as_str())) else {
                let text = format!(
                    "{} has no method {:?}, or it is listed twice",
                    declared.service, method.name
                );
                self.fault(&declared.service, Code::MethodUndeclared, text);
                continue;
            };
            let id = match method.id.is_empty() {
                true => &declared.id,
                false => &method.id,
            };
            match read_method(component, descriptor, id, place) {
                Ok(method) => methods.push(Arc::new(method)),
                Err(fault) => self.faults.push(fault),
            }
        }
        self.methods.extend(methods.iter().cloned());
        methods
    }
}

/// The methods that a timer may call.
fn timed(methods: &[Arc<Method>]) -> HashMap<String, Vec<KeyField>> {
    let unary = methods.iter().filter(|method| !method.streams_out());
    unary
        .filter_map(|method| match &method.key {
            Key::Fields(fields) => Some((method.name.to_string(), fields.clone())),
            _ => None,
        })
        .collect()
}

fn read_method(
    component: &Arc<Component>,
    descriptor: MethodDescriptor,
    id: &[String],
    place: u32,
) -> Result<Method, Finding> {
    let kind = component.kind;
    let streams = match kind {
        Kind::Action => false,
        Kind::Replicated => descriptor.is_client_streaming(),
        Kind::Value | Kind::EventSourced | Kind::Actor => {
            descriptor.is_client_streaming() || descriptor.is_server_streaming()
        }
    };
    if streams {
        let text = format!("method {} of a {kind} is streaming", descriptor.full_name());
        return Err(at_method(&descriptor, Code::StreamingEntity, text));
    }
    let key = match (kind, id) {
        (Kind::Action, []) => Key::None,
        (Kind::Action, _) => {
            let text = format!("{} is of an action, and has no id", descriptor.full_name());
            return Err(at_method(&descriptor, Code::OptionMisplaced, text));
        }
        (_, id) => key::named(&descriptor, id)?,
    };
    Ok(Method {
        component: component.clone(),
        name: descriptor.name().into(),
        input_url: message_url(descriptor.input().full_name()),
        output_url: message_url(descriptor.output().full_name()),
        key,
        unenforced: None,
        descriptor,
        place,
    })
}

/// The declared idle time, if it is one.
fn idle_time(declared: &wire::Component) -> Option<Duration> {
    let declared = declared.passivate_after?;
    Duration::try_from(declared)
        .ok()
        .filter(|time| !time.is_zero())
}

/// How components of this family behave.
fn policies(declared: &wire::Component) -> Policies {
    Policies {
        failure_mutation: FailureMutation::Drop,
        stream_failure: StreamFailure::FailsCommand,
        unnamed_failure: UnnamedFailure::EndsInstance,
        failed_queue: FailedQueue::Keep,
        delete: Delete::Plain,
        passivate_after: idle_time(declared),
        headers: match declared.headers.iter().any(|header| header == "*") {
            true => Headers::All,
            false => Headers::Listed(declared.headers.clone()),
        },
        pipelining: Pipelining::On,
        // R27, R92.
        lost_commands: LostCommands::SendAgain,
        // R28.
        action_effects: ActionEffects::AtLeastOnce,
        replay: Replay::FromSnapshot,
        // The function adds them to its decisions (R51).
        snapshot_every: None,
        empty_answer: EmptyAnswer::EmptyMessage,
        reply_type: ReplyType::Refuse,
        texts: TEXTS,
        http_errors: HttpErrors::Json,
        durability: match declared.durability() {
            wire::Durability::Commit => Durability::Commit,
            wire::Durability::WriteBehind => Durability::WriteBehind,
        },
        open_commands: OpenCommands::Many,
        write_consistency: data::consistency(declared.consistency),
    }
}

/// What callers are told of failures that are not the function's own.
const TEXTS: Texts = Texts {
    code: GrpcCode::Unavailable,
    failure: "the function failed the entity; not applied",
    reply: "the function broke the protocol; not applied",
    message: "the function broke the protocol; not applied",
    termination: "the connection to the function ended; not applied",
    queued: "the entity ended before the command was sent; not applied",
    pass_on: true,
};
