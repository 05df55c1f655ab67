//! What a function declares: the README's table, in the form of each family.

use prost::Message as _;
use prost_types::FileDescriptorSet;

use super::dialect::{Dialect, Family, Kind};
use super::stream::read;
use super::wire::{Component, EntitySettings, GenericSettings, PassivationStrategy, Spec};
use crate::fault::Fault;
use crate::proto::v1::DataType;
use crate::service::{Service, check_descriptors};

/// The descriptors of the model services of a family.
pub(crate) fn descriptors(family: Family) -> &'static [u8] {
    match family {
        Family::Cloudstate => include_bytes!("../generated/cloudstate.bin"),
        Family::AkkaServerless => include_bytes!("../generated/akkaserverless.bin"),
        Family::Kalix => include_bytes!("../generated/kalix.bin"),
    }
}

/// A component as it is declared, whatever the family's form is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) component_type: String,
    pub(crate) service: String,
    /// Empty for actions.
    pub(crate) storage: String,
    pub(crate) passivate_after_ms: Option<i64>,
    pub(crate) headers: Vec<String>,
    pub(crate) write_consistency: i32,
}

impl Declared {
    /// What the README says of a service.
    pub(crate) fn of(dialect: Dialect, service: Service) -> Option<Self> {
        let kind = dialect.kind(service)?;
        let mut declared = Self {
            component_type: dialect.component_type(kind),
            service: dialect.service(service),
            storage: service.component().storage,
            ..Self::default()
        };
        let is_brief = matches!(service, Service::Two | Service::Data(DataType::Set));
        if is_brief && dialect != Dialect::Cloudstate01 {
            declared.passivate_after_ms = Some(500);
        }
        if dialect.family() != Family::Cloudstate {
            if kind == Kind::Action {
                declared.headers = service.component().headers;
            }
            let is_majority = service == Service::Data(DataType::Counter);
            declared.write_consistency = i32::from(is_majority);
        }
        Some(declared)
    }

    /// What a component says.
    pub(crate) fn read(dialect: Dialect, component: &Component) -> Result<Self, Fault> {
        let misfit = |came: String| Fault::new("F3", "a component that can be read", came);
        let mut declared = Self {
            component_type: component.component_type.clone(),
            service: component.service_name.clone(),
            ..Self::default()
        };
        let passivation = |strategy: Option<PassivationStrategy>| {
            let timeout = strategy.and_then(|strategy| strategy.timeout);
            timeout.map(|timeout| timeout.timeout)
        };
        if dialect.family() == Family::Cloudstate {
            let storage = component.third.clone().unwrap_or_default();
            declared.storage = String::from_utf8_lossy(&storage).into_owned();
            let strategy = component.fourth.clone().map(read).transpose();
            declared.passivate_after_ms = passivation(strategy.map_err(misfit)?);
        } else if let Some(settings) = component.third.clone() {
            let settings: EntitySettings = read(settings).map_err(misfit)?;
            declared.storage = settings.entity_type;
            declared.passivate_after_ms = passivation(settings.passivation_strategy);
            declared.headers = settings.forward_headers;
            let replicated = settings.replicated_entity;
            declared.write_consistency = replicated.map_or(0, |one| one.write_consistency);
        } else if let Some(settings) = component.fourth.clone() {
            let settings: GenericSettings = read(settings).map_err(misfit)?;
            declared.headers = settings.forward_headers;
        }
        Ok(declared)
    }
}

/// The dialect of a function of this family.
pub(crate) fn dialect(family: Family, spec: &Spec) -> Result<Dialect, Fault> {
    let info = spec.service_info.clone().unwrap_or_default();
    let version = (info.protocol_major_version, info.protocol_minor_version);
    match (family, version) {
        (Family::Cloudstate, (0, 0)) => Ok(Dialect::Cloudstate01),
        (Family::Cloudstate, (0, 2)) => Ok(Dialect::Cloudstate02),
        (Family::AkkaServerless, (0, 7..=10)) if is_second_generation(spec) => {
            Ok(Dialect::AkkaServerlessB)
        }
        (Family::AkkaServerless, (0, 7..=10)) => Ok(Dialect::AkkaServerlessA),
        (Family::Kalix, (1, _)) => Ok(Dialect::Kalix),
        (family, (major, minor)) => Err(Fault::new(
            "F4",
            format!("a version of {}", family.name()),
            format!("{major}.{minor}"),
        )),
    }
}

/// Whether the options of the function know replicated entities.
fn is_second_generation(spec: &Spec) -> bool {
    let Ok(files) = FileDescriptorSet::decode(spec.proto.clone()) else {
        return false;
    };
    let messages = files
        .file
        .iter()
        .filter(|file| file.package() == "akkaserverless");
    let mut options = messages
        .flat_map(|file| &file.message_type)
        .filter(|message| message.name() == "FileOptions");
    options.any(|message| {
        message
            .field
            .iter()
            .any(|one| one.name() == "replicated_entity")
    })
}

/// Holds the descriptors of a function against those of the model services.
pub(crate) fn check_files(dialect: Dialect, spec: &Spec) -> Result<(), Fault> {
    check_descriptors(&spec.proto, descriptors(dialect.family())).map_err(|fault| Fault {
        requirement: "F2",
        ..fault
    })
}

/// Holds the components of a function against the README.
pub(crate) fn check_components(dialect: Dialect, spec: &Spec) -> Result<(), Fault> {
    for service in dialect.services() {
        let name = dialect.service(service);
        let of_service = |one: &&Component| one.service_name == name;
        let found: Vec<&Component> = spec.components.iter().filter(of_service).collect();
        let [component] = found[..] else {
            let came = format!("{} of it", found.len());
            return Err(Fault::new("F3", format!("a component {name}, once"), came));
        };
        let mut given = Declared::read(dialect, component)?;
        let expected = Declared::of(dialect, service);
        if service == Service::Action {
            // Nothing is stored there, whatever it is called.
            given.storage = String::new();
        }
        if expected.as_ref() != Some(&given) {
            return Err(Fault::new(
                "F3",
                format!("{expected:?}"),
                format!("{given:?}"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::families::answer::spec;

    const DIALECTS: [Dialect; 5] = [
        Dialect::Cloudstate01,
        Dialect::Cloudstate02,
        Dialect::AkkaServerlessA,
        Dialect::AkkaServerlessB,
        Dialect::Kalix,
    ];

    #[test]
    fn a_spec_of_the_readme_passes() {
        for own in DIALECTS {
            let given = spec(own);
            assert_eq!(check_files(own, &given), Ok(()), "{own:?}");
            assert_eq!(check_components(own, &given), Ok(()), "{own:?}");
            let read = dialect(own.family(), &given);
            if own != Dialect::AkkaServerlessA {
                // Its descriptors are made for the second generation.
                assert_eq!(read, Ok(own));
            }
        }
    }

    #[test]
    fn a_spec_with_a_mistake_fails() {
        for dialect in DIALECTS {
            let broken = |requirement, what: &dyn Fn(&mut Spec)| {
                let mut given = spec(dialect);
                what(&mut given);
                let files = check_files(dialect, &given);
                let fault = files
                    .and_then(|()| check_components(dialect, &given))
                    .expect_err("a mistake");
                assert_eq!(fault.requirement, requirement, "{fault}");
            };
            broken("F3", &|spec| spec.components.truncate(3));
            broken("F3", &|spec| {
                spec.components.push(spec.components[1].clone())
            });
            broken("F3", &|spec| spec.components[1].third = None);
            broken("F2", &|spec| spec.proto = Bytes::new());
            if dialect != Dialect::Cloudstate01 {
                broken("F3", &|spec| {
                    let mut two = Declared::of(dialect, Service::Two).expect("it has it");
                    two.passivate_after_ms = None;
                    spec.components[2] = two.component(dialect);
                });
            }
        }
    }

    #[test]
    fn versions_of_others_are_refused() {
        let mut spec = spec(Dialect::Kalix);
        assert!(dialect(Family::Cloudstate, &spec).is_err());
        assert!(dialect(Family::AkkaServerless, &spec).is_err());
        spec.service_info = None;
        assert!(dialect(Family::Kalix, &spec).is_err());
    }
}
