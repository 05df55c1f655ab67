//! Components: what is declared, checked and given its methods.

use std::sync::Arc;

use firn_model::code::Code;
use firn_model::contract::{Component, Finding, FunctionInfo, Kind, Method};
use firn_model::id::StorageName;
use firn_model::key::Key;
use firn_model::payload::message_url;
use prost_reflect::{DescriptorPool, MethodDescriptor, ServiceDescriptor};

use super::declaration::Component as Declared;
use super::options::Options;
use super::place::{about, at_method, at_service, finding};
use super::{is_python, key, policies};
use crate::dialect::{Dialect, Family};

/// Reads the components of one function and gathers what it finds.
pub(super) struct Reader<'a> {
    dialect: &'static Dialect,
    info: &'a FunctionInfo,
    options: Options,
    pub(super) components: Vec<Arc<Component>>,
    pub(super) methods: Vec<Arc<Method>>,
    pub(super) warnings: Vec<Finding>,
    pub(super) faults: Vec<Finding>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(dialect: &'static Dialect, info: &'a FunctionInfo, options: Options) -> Self {
        Self {
            dialect,
            info,
            options,
            components: Vec::new(),
            methods: Vec::new(),
            warnings: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Reads one component.
    pub(super) fn read(&mut self, declared: &Declared, pool: &DescriptorPool) {
        let service = pool.get_service_by_name(&declared.service);
        let kind = self.dialect.kind(&declared.component_type);
        if service.is_none() {
            let text = format!("service {} is not in the descriptors", declared.service);
            self.fault(declared, Code::ServiceUndeclared, text);
        }
        match (kind, service) {
            (Some(kind), Some(service)) => self.serve(kind, declared, &service),
            (None, service) => self.do_not_serve(declared, service.as_ref()),
            (Some(_), None) => {}
        }
    }

    fn serve(&mut self, kind: Kind, declared: &Declared, service: &ServiceDescriptor) {
        // Some SDKs give an action a name for data that it does not have.
        let storage = if kind.is_entity() {
            &declared.storage
        } else {
            &declared.service
        };
        let component = Arc::new(Component {
            service: declared.service.as_str().into(),
            kind,
            storage: StorageName::new(storage.as_str()),
            policies: policies::of(self.dialect, self.info, kind, declared),
            place: place_of(self.components.len()),
        });
        for (place, descriptor) in service.methods().enumerate() {
            match self.method(&component, descriptor, place) {
                Ok(method) => self.methods.push(Arc::new(method)),
                Err(fault) => self.faults.push(fault),
            }
        }
        self.warn(kind, service);
        self.components.push(component);
    }

    fn method(
        &self,
        component: &Arc<Component>,
        descriptor: MethodDescriptor,
        place: usize,
    ) -> Result<Method, Finding> {
        Ok(Method {
            component: Arc::clone(component),
            name: descriptor.name().into(),
            input_url: message_url(descriptor.input().full_name()),
            output_url: message_url(descriptor.output().full_name()),
            key: self.key(component.kind, &descriptor)?,
            unenforced: self.options.unenforced(&descriptor),
            place: place_of(place),
            descriptor,
        })
    }

    fn key(&self, kind: Kind, method: &MethodDescriptor) -> Result<Key, Finding> {
        if !kind.is_entity() {
            return Ok(Key::None);
        }
        let may_stream_replies = kind == Kind::Replicated && self.dialect.streamed_commands;
        if method.is_client_streaming() || (method.is_server_streaming() && !may_stream_replies) {
            let text = format!("method {} of a {kind} is streaming", method.full_name());
            return Err(at_method(method, Code::StreamingEntity, text));
        }
        key::find(method, &self.options)
    }

    /// Says what of a served component does not work.
    fn warn(&mut self, kind: Kind, service: &ServiceDescriptor) {
        let name = service.full_name();
        if self.options.has_eventing(service) {
            let text = format!(
                "eventing of {name} is not served yet; its methods can be called all the same"
            );
            let warning = at_service(service, Code::EventingNotServed, text);
            self.warnings.push(warning);
        }
        let loses_state = self.dialect.family == Family::AkkaServerless && is_python(self.info);
        if kind == Kind::Value && loses_state {
            let text = format!(
                "the Python SDK ignores the stored state of {name} when an entity comes back into \
                 memory"
            );
            let warning = at_service(service, Code::SdkDefect, text);
            self.warnings.push(warning);
        }
    }

    fn do_not_serve(&mut self, declared: &Declared, service: Option<&ServiceDescriptor>) {
        let component_type = declared.component_type.as_str();
        if !self.dialect.is_unserved(component_type) {
            let text = format!(
                "component type {component_type:?} of {} is not known; known are {}",
                declared.service,
                self.dialect.known().collect::<Vec<_>>().join(", ")
            );
            return self.fault(declared, Code::ComponentTypeUnknown, text);
        }
        let text = format!(
            "{} is a component of type {component_type}, which is not served yet; the rest of the \
             function runs",
            declared.service
        );
        if let Some(service) = service {
            let warning = at_service(service, Code::NotServedYet, text);
            self.warnings.push(warning);
        }
    }

    fn fault(&mut self, declared: &Declared, code: Code, text: String) {
        self.faults
            .push(about(&declared.service, finding(code, text)));
    }
}

/// A place in a list of the contract; no message is large enough for more.
pub(super) fn place_of(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
