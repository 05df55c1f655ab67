//! Declarations: the answers of all families in one shape.

use std::time::Duration;

use bytes::Bytes;
use firn_model::code::Code;
use firn_model::contract::{Finding, FunctionInfo};
use firn_model::replicated::Consistency;
use prost::Message as _;

use super::descriptors::Linked;
use super::place::finding;
use crate::convert::parts;
use crate::dialect::{self, Dialect, Family, Version};
use crate::superset::component::ComponentSettings;
use crate::superset::entity_settings::SpecificSettings;
use crate::superset::{
    self, EntitySettings, EntitySpec, PassivationStrategy, ServiceInfo, Spec,
    passivation_strategy::Strategy,
};

/// What a function declares, before anything of it is checked but the version.
pub(super) struct Declaration {
    pub(super) dialect: &'static Dialect,
    pub(super) info: FunctionInfo,
    /// A serialized set of file descriptors.
    pub(super) files: Bytes,
    pub(super) components: Vec<Component>,
}

/// One declared component.
pub(super) struct Component {
    pub(super) component_type: String,
    pub(super) service: String,
    /// Its own name for its data, or that of its service.
    pub(super) storage: String,
    pub(super) passivate_after: Option<Duration>,
    pub(super) forward_headers: Vec<String>,
    /// How many replicas must hold a change, whatever its replies ask for.
    pub(super) write_consistency: Consistency,
}

impl Declaration {
    /// Reads the answer to a discovery call of `asked`.
    ///
    /// # Errors
    /// A finding if the answer is no message or the version is not served.
    pub(super) fn read(asked: &'static Dialect, answer: Bytes) -> Result<Self, Finding> {
        let (files, components, service) = match asked.family {
            Family::Cloudstate => entity_spec(answer)?,
            Family::AkkaServerless | Family::Kalix => spec(answer)?,
        };
        let version = Version {
            major: service.protocol_major_version,
            minor: service.protocol_minor_version,
        };
        Ok(Self {
            dialect: dialect_by_version(asked, version, &components)?,
            info: info(service),
            files,
            components,
        })
    }

    /// The dialect, told from what the function's own option files hold: the two generations of Akka
    /// Serverless report the same version.
    pub(super) fn dialect_by_descriptors(&self, linked: &Linked) -> &'static Dialect {
        if self.dialect.family != Family::AkkaServerless {
            return self.dialect;
        }
        let second = match linked.sent_message("akkaserverless.FileOptions") {
            Some(options) => options.get_field_by_name("replicated_entity").is_some(),
            // The second generation of the JavaScript SDK was never published.
            None => !self.info.sdk.contains("javascript"),
        };
        if second {
            &dialect::AKKA_SERVERLESS_B
        } else {
            &dialect::AKKA_SERVERLESS_A
        }
    }
}

impl Component {
    /// Whether instances of it keep data under its storage name.
    pub(super) fn has_storage(&self, dialect: &Dialect) -> bool {
        match dialect.kind(&self.component_type) {
            Some(kind) => kind.is_entity(),
            None => dialect
                .unserved_entities
                .contains(&self.component_type.as_str()),
        }
    }
}

type Parts = (Bytes, Vec<Component>, ServiceInfo);

fn spec(answer: Bytes) -> Result<Parts, Finding> {
    let spec = Spec::decode(answer).map_err(undecodable)?;
    let components = spec.components.into_iter().map(component).collect();
    Ok((
        spec.proto,
        components,
        spec.service_info.unwrap_or_default(),
    ))
}

fn entity_spec(answer: Bytes) -> Result<Parts, Finding> {
    let spec = EntitySpec::decode(answer).map_err(undecodable)?;
    let components = spec.entities.into_iter().map(entity).collect();
    Ok((
        spec.proto,
        components,
        spec.service_info.unwrap_or_default(),
    ))
}

fn undecodable(error: prost::DecodeError) -> Finding {
    let text = format!("the answer to the discovery call is not legal: {error}");
    finding(Code::DiscoveryFailed, text)
}

fn component(component: superset::Component) -> Component {
    let settings = match component.component_settings {
        Some(ComponentSettings::Entity(it)) => it,
        Some(ComponentSettings::Component(it)) => EntitySettings {
            forward_headers: it.forward_headers,
            ..EntitySettings::default()
        },
        None => EntitySettings::default(),
    };
    Component {
        storage: or_service(settings.entity_type, &component.service_name),
        component_type: component.component_type,
        service: component.service_name,
        passivate_after: settings.passivation_strategy.and_then(idle_time),
        forward_headers: settings.forward_headers,
        write_consistency: write_consistency(settings.specific_settings),
    }
}

fn entity(entity: superset::Entity) -> Component {
    Component {
        storage: or_service(entity.persistence_id, &entity.service_name),
        component_type: entity.entity_type,
        service: entity.service_name,
        passivate_after: entity.passivation_strategy.and_then(idle_time),
        forward_headers: Vec::new(),
        write_consistency: Consistency::Local,
    }
}

/// What the settings say about replicas; some SDKs write them for every kind of component.
fn write_consistency(settings: Option<SpecificSettings>) -> Consistency {
    match settings {
        Some(SpecificSettings::ReplicatedEntity(it)) => parts::consistency(it.write_consistency),
        None => Consistency::Local,
    }
}

fn or_service(storage: String, service: &str) -> String {
    if storage.is_empty() {
        service.to_owned()
    } else {
        storage
    }
}

/// The declared idle time; one that is not positive counts as none.
fn idle_time(passivation: PassivationStrategy) -> Option<Duration> {
    let Strategy::Timeout(it) = passivation.strategy?;
    let millis = u64::try_from(it.timeout)
        .ok()
        .filter(|millis| *millis > 0)?;
    Some(Duration::from_millis(millis))
}

fn info(service: ServiceInfo) -> FunctionInfo {
    let sdk = [
        service.support_library_name,
        service.support_library_version,
    ];
    FunctionInfo {
        name: service.service_name,
        version: service.service_version,
        runtime: service.service_runtime,
        sdk: sdk.join(" ").trim().to_owned(),
    }
}

fn dialect_by_version(
    asked: &'static Dialect,
    version: Version,
    components: &[Component],
) -> Result<&'static Dialect, Finding> {
    match (asked.family, version.major, version.minor) {
        (Family::Kalix, 1, _) => Ok(&dialect::KALIX),
        (Family::AkkaServerless, 0, _) => Ok(asked),
        (Family::Cloudstate, 0, 2) => Ok(&dialect::CLOUDSTATE),
        (Family::Cloudstate, 0, 0 | 1) => Ok(cloudstate_before_versions(components)),
        _ => Err(not_served(asked, version)),
    }
}

/// SDKs of the old dialect report no version. Some of the new one forgot to: the names of the
/// component types, which changed, tell them apart.
fn cloudstate_before_versions(components: &[Component]) -> &'static Dialect {
    let new_names = [
        Some(dialect::CLOUDSTATE.action.component_type),
        dialect::CLOUDSTATE.value.map(|value| value.component_type),
    ];
    let is_new = |component: &Component| new_names.contains(&Some(&component.component_type));
    if components.iter().any(is_new) {
        &dialect::CLOUDSTATE
    } else {
        &dialect::CLOUDSTATE_01
    }
}

fn not_served(asked: &Dialect, version: Version) -> Finding {
    let served = match asked.family {
        Family::Kalix => "1.0 and later minor versions",
        Family::AkkaServerless => "0.7 to 0.10",
        Family::Cloudstate => "0.1 and 0.2",
    };
    let text = format!(
        "the function speaks version {version} of {}; served are {served}",
        asked.family
    );
    finding(Code::ProtocolVersion, text)
}
