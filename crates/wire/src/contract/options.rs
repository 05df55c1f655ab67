//! Options: what a function wrote into its proto files for its proxy.
//!
//! # How it works
//! Akka Serverless and Kalix are read by *name*, through the option files that the function itself
//! sent: later generations renamed options and added new ones, and their files say under which
//! numbers. Cloudstate is read by *number*: its options have been stable, and number 1080 on a field
//! means something else there than in its successors.

use firn_model::contract::Unenforced;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, MethodDescriptor,
    ServiceDescriptor, Value,
};

use crate::dialect::Family;

/// The end of the name of a file whose access rule holds for a whole service of Kalix.
const POLICY_FILE: &str = "kalix_policy.proto";

/// Reads options in the way of a family.
pub(super) enum Options {
    /// Cloudstate.
    Numbered,
    /// Akka Serverless and Kalix.
    Named(Named),
}

/// The extensions of a family, as far as the function's descriptors have them.
pub(super) struct Named {
    field: Option<ExtensionDescriptor>,
    method: Option<ExtensionDescriptor>,
    service: Option<ExtensionDescriptor>,
    file: Option<ExtensionDescriptor>,
    /// The access rule of the policy file.
    policy: Option<DynamicMessage>,
}

impl Options {
    /// Prepares reading from descriptors of a family.
    pub(super) fn new(pool: &DescriptorPool, family: Family) -> Self {
        match family {
            Family::Cloudstate => Self::Numbered,
            Family::AkkaServerless => Self::Named(Named::new(pool, "akkaserverless")),
            Family::Kalix => Self::Named(Named::new(pool, "kalix")),
        }
    }

    /// Whether the field names the entity, or a part of its name.
    pub(super) fn is_key(&self, field: &FieldDescriptor) -> bool {
        let options = field.options();
        let numbered = decode::<NumberedField>(&options);
        match self {
            Self::Numbered => numbered.entity_key || is_legacy_key(&options),
            Self::Named(named) => {
                let set = |name| {
                    sub_option(named.field.as_ref(), &options, name)
                        .and_then(|value| value.as_bool())
                        .unwrap_or(false)
                };
                ["id", "entity_key", "workflow_key"].into_iter().any(set) || is_legacy_key(&options)
            }
        }
    }

    /// Whether a key may be a message whose own fields are marked.
    pub(super) fn nested_keys(&self) -> bool {
        matches!(self, Self::Named(_))
    }

    /// Whether each request of the method gets a new id.
    pub(super) fn generates_key(&self, method: &MethodDescriptor) -> bool {
        let Self::Named(named) = self else {
            return false;
        };
        let options = method.options();
        let places = [
            ("entity", "key_generator"),
            ("workflow", "key_generator"),
            ("id_generator", "algorithm"),
        ];
        places.into_iter().any(|(option, field)| {
            sub_option(named.method.as_ref(), &options, option)
                .and_then(|value| {
                    value
                        .as_message()?
                        .get_field_by_name(field)?
                        .as_enum_number()
                })
                .is_some_and(|number| number != 0)
        })
    }

    /// A declared rule about who may call the method.
    pub(super) fn unenforced(&self, method: &MethodDescriptor) -> Option<Unenforced> {
        let Self::Named(named) = self else {
            return None;
        };
        let options = method.options();
        let restricted = named
            .acl(method, &options)
            .is_some_and(|acl| !is_open(&acl));
        if restricted {
            return Some(Unenforced::Acl);
        }
        let jwt = sub_option(named.method.as_ref(), &options, "jwt")?;
        let jwt = jwt.as_message()?;
        let used = ["validate", "sign"]
            .iter()
            .any(|name| !list(jwt, name).is_empty());
        used.then_some(Unenforced::Jwt)
    }

    /// Whether the service or a method of it is connected with a stream of events.
    pub(super) fn has_eventing(&self, service: &ServiceDescriptor) -> bool {
        match self {
            Self::Numbered => service.methods().any(|method| {
                let options = decode::<NumberedMethod>(&method.options());
                options.eventing.is_some() || options.old_eventing.is_some()
            }),
            Self::Named(named) => {
                let of_service = service.options();
                sub_option(named.service.as_ref(), &of_service, "eventing").is_some()
                    || service.methods().any(|method| {
                        let of_method = method.options();
                        sub_option(named.method.as_ref(), &of_method, "eventing").is_some()
                    })
            }
        }
    }
}

impl Named {
    fn new(pool: &DescriptorPool, package: &str) -> Self {
        let extension = |name| pool.get_extension_by_name(&format!("{package}.{name}"));
        let file = extension("file");
        let policy = pool
            .files()
            .filter(|it| it.name().ends_with(POLICY_FILE))
            .find_map(|it| message_option(file.as_ref(), &it.options(), "acl"));
        Self {
            field: extension("field"),
            method: extension("method"),
            service: extension("service"),
            file,
            policy,
        }
    }

    /// The access rule that holds for a method: the nearest one.
    fn acl(&self, method: &MethodDescriptor, options: &DynamicMessage) -> Option<DynamicMessage> {
        let service = method.parent_service().options();
        let file = method.parent_file().options();
        message_option(self.method.as_ref(), options, "acl")
            .or_else(|| message_option(self.service.as_ref(), &service, "acl"))
            .or_else(|| message_option(self.file.as_ref(), &file, "acl"))
            .or_else(|| self.policy.clone())
    }
}

/// Whether an access rule lets everybody in: there is nothing to enforce then.
fn is_open(acl: &DynamicMessage) -> bool {
    let allows_all = list(acl, "allow").iter().any(|matcher| {
        let number = matcher
            .as_message()
            .and_then(|it| it.get_field_by_name("principal")?.as_enum_number());
        number == Some(PRINCIPAL_ALL)
    });
    allows_all && list(acl, "deny").is_empty()
}

/// `kalix.PrincipalMatcher.Principal.ALL`.
const PRINCIPAL_ALL: i32 = 1;

/// A field of the message that is set as a family's option; `None` if either is not set.
fn sub_option(
    extension: Option<&ExtensionDescriptor>,
    options: &DynamicMessage,
    name: &str,
) -> Option<Value> {
    let value = options.get_extension(extension?).into_owned();
    let message = value.as_message()?;
    if !message.has_field_by_name(name) {
        return None;
    }
    message
        .get_field_by_name(name)
        .map(|value| value.into_owned())
}

fn message_option(
    extension: Option<&ExtensionDescriptor>,
    options: &DynamicMessage,
    name: &str,
) -> Option<DynamicMessage> {
    sub_option(extension, options, name)?.as_message().cloned()
}

fn list(message: &DynamicMessage, name: &str) -> Vec<Value> {
    let value = message.get_field_by_name(name);
    let items = value.as_deref().and_then(Value::as_list);
    items.map(<[Value]>::to_vec).unwrap_or_default()
}

/// Cloudstate's option of a field.
#[derive(Message)]
struct NumberedField {
    #[prost(bool, tag = "1080")]
    entity_key: bool,
}

/// The option of a field that Cloudstate 0.1 introduced and Akka Serverless still honours.
#[derive(Message)]
struct LegacyField {
    #[prost(bool, tag = "50002")]
    entity_key: bool,
}

/// Cloudstate's options of a method; only whether they are there matters.
#[derive(Message)]
struct NumberedMethod {
    #[prost(bytes = "vec", optional, tag = "1081")]
    eventing: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "50003")]
    old_eventing: Option<Vec<u8>>,
}

fn is_legacy_key(options: &DynamicMessage) -> bool {
    decode::<LegacyField>(options).entity_key
}

/// Reads options by number; one of another type than Cloudstate's is somebody else's.
fn decode<M: Message + Default>(options: &DynamicMessage) -> M {
    M::decode(options.encode_to_vec().as_slice()).unwrap_or_default()
}
