//! The handshake: what the function is told about the proxy and about itself.

use prost::Message as _;
use prost_types::FileDescriptorSet;

use super::{Check, Result, check, restarts};
use crate::families::dialect::{Family, Kind};
use crate::families::wire::ProxyInfo;
use crate::fault::Fault;
use crate::proxy::families::contract::{Contract, Declared, Sort};
use crate::proxy::families::host::Heard;
use crate::proxy::families::world::World;

pub(super) const CHECKS: &[Check] = &[
    restarts(check(
        "discovery/proxy_says_what_it_is_and_asks_nothing_else",
        &["F100", "F105"],
        |world| Box::pin(says(world)),
    )),
    restarts(check(
        "discovery/function_may_come_later",
        &["F101"],
        |world| Box::pin(later(world)),
    )),
    check(
        "discovery/function_may_go_and_come_again",
        &["F101"],
        |world| Box::pin(again(world)),
    ),
    restarts(check(
        "discovery/files_come_in_any_order_and_twice",
        &["F103"],
        |world| Box::pin(disorder(world)),
    )),
    restarts(check(
        "discovery/nothing_declared_is_reported_and_not_served",
        &["F102"],
        |world| Box::pin(faulty(world, "nothing is declared", |it| it)),
    )),
    restarts(check(
        "discovery/unknown_service_is_reported_and_not_served",
        &["F102"],
        |world| {
            let change = |it: Contract| it.with("Missing", Sort::Action);
            Box::pin(faulty(world, "a service that is in no file", change))
        },
    )),
    restarts(check(
        "discovery/unknown_kind_is_reported_and_not_served",
        &["F102"],
        |world| {
            let unknown = |it: &mut Declared| it.component_type = "no.Such".to_owned();
            let change = move |it: Contract| it.with("Act", Sort::Action).last(unknown);
            Box::pin(faulty(world, "a component of no kind", change))
        },
    )),
    restarts(check(
        "discovery/entity_without_a_key_is_reported_and_not_served",
        &["F102"],
        |world| {
            let change = |it: Contract| it.with("Keyless", Sort::Entity(Kind::Value));
            Box::pin(faulty(
                world,
                "an entity whose requests have no key",
                change,
            ))
        },
    )),
    restarts(check(
        "discovery/streamed_entity_is_reported_and_not_served",
        &["F102"],
        |world| {
            let change = |it: Contract| it.with("Act", Sort::Entity(Kind::Events));
            Box::pin(faulty(world, "an entity with streamed requests", change))
        },
    )),
    restarts(check(
        "discovery/illegal_http_rule_is_reported_and_not_served",
        &["F102"],
        |world| {
            let change = |it: Contract| it.with("Illegal", Sort::Action);
            Box::pin(faulty(world, "a rule with an unknown field", change))
        },
    )),
    restarts(check(
        "discovery/other_version_is_reported_and_not_served",
        &["F102"],
        |world| {
            let change = |mut it: Contract| {
                it = it.with("Act", Sort::Action);
                it.version = (9, 0);
                it
            };
            Box::pin(faulty(world, "a version that is not there", change))
        },
    )),
];

/// A proxy that was started anew, while the function is not there.
async fn alone(world: &mut World) -> Result {
    world.cut().await;
    world.kill()?;
    world.start()
}

fn misfit(expected: &str, info: &ProxyInfo) -> Fault {
    Fault::new("F100", expected, format!("{info:?}"))
}

async fn says(world: &mut World) -> Result {
    alone(world).await?;
    world.come().await?;
    world.wait_for("the proxy to ask what is served");
    let mut told = None;
    let info = loop {
        match world.host.heard().await {
            Heard::Discover(info) => break info,
            Heard::Probe => {}
            other => return Err(Fault::new("F105", "discovery", format!("{other:?}"))),
        }
    };
    // What else comes until everything is served, and a little is done.
    world.ready().await?;
    world.pass().await?;
    while let Some(heard) = world.host.heard_already() {
        match heard {
            Heard::Discover(info) => told = Some(info),
            Heard::Probe | Heard::Other(_) => {}
            Heard::Report(_) | Heard::Unknown(_) => {
                let expected = "no other calls than those of the family";
                return Err(Fault::new("F105", expected, format!("{heard:?}")));
            }
        }
    }
    if told.is_some_and(|told| told != info) {
        return Err(misfit("the same each time", &info));
    }
    let family = world.dialect.family();
    let version = (info.protocol_major_version, info.protocol_minor_version);
    let fits = match family {
        Family::Cloudstate => version == (0, 2),
        Family::AkkaServerless => version.0 == 0 && version.1 >= 7,
        Family::Kalix => version.0 == 1 && version.1 >= 1,
    };
    if !fits || info.proxy_name.is_empty() || info.proxy_version.is_empty() {
        return Err(misfit("its name and the family's version", &info));
    }
    let mut offered = info.supported_entity_types.clone();
    offered.sort();
    let kinds = [Kind::Action, Kind::Value, Kind::Events, Kind::Data];
    let mut wanted = kinds
        .map(|kind| world.dialect.component_type(kind))
        .to_vec();
    wanted.sort();
    // The oldest functions compare the whole list.
    let fits = match family {
        Family::Cloudstate => offered == wanted,
        _ => wanted.iter().all(|one| offered.contains(one)),
    };
    if !fits {
        return Err(misfit("the types of components that it serves", &info));
    }
    if family == Family::Kalix {
        let port = world.clients.rsplit(':').next().unwrap_or_default();
        let has_address = !info.internal_proxy_hostname.is_empty()
            && !info.proxy_hostname.is_empty()
            && info.proxy_port.to_string() == port;
        let identification = info.identification_info.clone().unwrap_or_default();
        let is_known = !identification.self_identification_header.is_empty()
            && identification.self_identification_token.len() >= 16;
        if !has_address || !is_known {
            return Err(misfit("where it can be called back, and as whom", &info));
        }
    }
    Ok(())
}

async fn later(world: &mut World) -> Result {
    alone(world).await?;
    // Nothing is served while there is no function.
    let path = "/firn.tck.proxy.Act/Unary";
    let refused = world.early(path).await?;
    if refused {
        world.ready().await?;
        return world.pass().await;
    }
    Err(Fault::new("F101", "no answer before discovery", "a reply"))
}

async fn again(world: &mut World) -> Result {
    let key = world.key("Value");
    let stream = world.idle(&key).await?;
    drop(stream);
    world.lose_function().await?;
    world.again(&key, key.nothing()).await?;
    Ok(())
}

async fn disorder(world: &mut World) -> Result {
    alone(world).await?;
    let mut contract = Contract::whole(world.dialect);
    contract.descriptors = disordered(&contract.descriptors);
    world.host.declare(contract.encode());
    world.listen().await?;
    world.ready().await?;
    let key = world.key("ValueKeyed");
    let message = keyed(&key.id).encode_to_vec();
    let call = world.begin("ValueKeyed", "Process", Some(message), &[]);
    let call = call.await?;
    let mut stream = world.any_stream().await?;
    stream.next().await?;
    stream.command("F103").await?;
    use crate::proxy::families::contract::said;
    use crate::proxy::families::message::Reply;
    stream.reply(Reply::to(1).with(said("in order"))).await;
    call.replies("F103", "in order").await?;
    world.cut().await;
    world.kill()?;
    world.start()
}

#[derive(Clone, PartialEq, prost::Message)]
struct Keyed {
    #[prost(int64, tag = "7")]
    number: i64,
    #[prost(string, tag = "2")]
    name: String,
}

fn keyed(name: &str) -> Keyed {
    Keyed {
        number: 1,
        name: name.to_owned(),
    }
}

/// Dependents before what they depend on, each file twice, and none of `google/protobuf`.
fn disordered(descriptors: &[u8]) -> Vec<u8> {
    // Options that are extensions are kept only in the encoded form.
    let mut files = split(descriptors);
    files.retain(|file| {
        let file = prost_types::FileDescriptorProto::decode(&**file).unwrap_or_default();
        !file.name().starts_with("google/protobuf/")
    });
    files.reverse();
    let twice = files.clone();
    files.extend(twice);
    let set = Files { files };
    set.encode_to_vec()
}

/// A set of files whose content stays as it is.
#[derive(Clone, PartialEq, prost::Message)]
struct Files {
    #[prost(bytes = "vec", repeated, tag = "1")]
    files: Vec<Vec<u8>>,
}

fn split(descriptors: &[u8]) -> Vec<Vec<u8>> {
    debug_assert!(FileDescriptorSet::decode(descriptors).is_ok());
    Files::decode(descriptors).unwrap_or_default().files
}

/// A contract with a fault is reported, and not served.
async fn faulty(
    world: &mut World,
    fault: &str,
    change: impl FnOnce(Contract) -> Contract,
) -> Result {
    alone(world).await?;
    let contract = change(Contract::empty(world.dialect));
    world.host.declare(contract.encode());
    world.listen().await?;
    world.wait_for(&format!("a report of what is wrong: {fault}"));
    let report = loop {
        match world.host.heard().await {
            Heard::Report(report) => break report,
            Heard::Discover(_) | Heard::Probe | Heard::Other(_) => {}
            Heard::Unknown(path) => return Err(Fault::new("F105", "a report", path)),
        }
    };
    if report.message.is_empty() {
        let expected = "a text that says what is wrong";
        return Err(Fault::new("F102", expected, format!("{report:?}")));
    }
    if !world.early("/firn.tck.proxy.Act/Unary").await? {
        return Err(Fault::new("F102", "that nothing is served", "a reply"));
    }
    world.cut().await;
    world.kill()?;
    world.start()
}
