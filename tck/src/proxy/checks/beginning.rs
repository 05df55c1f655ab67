//! Hello, Welcome, and what is refused.

use prost::Message as _;
use prost_types::FileDescriptorSet;

use super::{Check, Needs, Result, Rig, check};
use crate::fault::Fault;
use crate::proto::v1::firn_frame::Frame as Received;
use crate::proto::v1::function_frame::Frame;
use crate::proto::v1::{Component, Contract, DataType, Decision, Finding, Model};
use crate::proxy::function::{Event, Function};
use crate::proxy::rig::{contract, hello};
use crate::service::Service;

pub(super) const CHECKS: &[Check] = &[
    check(
        "beginning/welcome_says_what_is_granted",
        &["R4", "R5"],
        |rig| Box::pin(welcome(rig)),
    ),
    check("beginning/later_minor_version_is_taken", &["R5"], |rig| {
        Box::pin(minor(rig))
    }),
    check("beginning/first_frame_is_hello", &["R2", "R83"], |rig| {
        Box::pin(first_frame(rig))
    }),
    check(
        "beginning/second_hello_ends_the_connection",
        &["R2", "R83"],
        |rig| Box::pin(second_hello(rig)),
    ),
    check(
        "beginning/damaged_batch_ends_the_connection",
        &["R83"],
        |rig| Box::pin(damaged(rig)),
    ),
    check(
        "beginning/unknown_fields_and_frames_are_ignored",
        &["R6"],
        |rig| Box::pin(unknown(rig)),
    ),
    check(
        "beginning/wrong_contracts_are_refused_with_their_codes",
        &["R4", "R10", "R11", "R12", "R13", "R14", "R15", "R16"],
        |rig| Box::pin(wrong_contracts(rig)),
    ),
    check(
        "beginning/another_contract_with_the_same_services_is_refused",
        &["R17"],
        |rig| Box::pin(taken(rig)),
    ),
    Check {
        needs: Needs::Token,
        ..check("beginning/wrong_token_is_refused", &["R3"], |rig| {
            Box::pin(token(rig))
        })
    },
];

async fn welcome(rig: &mut Rig) -> Result {
    let mut function = rig.open("one").await?;
    function.join(hello(contract())).await?;
    let welcome = &function.welcome;
    let grants = welcome.minor == 0
        && welcome.calls > 0
        && welcome.call_messages > 0
        && welcome.chunk_bytes > 0
        && welcome.frame_bytes >= u64::from(welcome.chunk_bytes)
        && welcome.client_address.contains(':');
    if !grants {
        let expected = "minor 0, limits above 0, the clients' address";
        return Err(Fault::new("R4", expected, format!("{welcome:?}")));
    }
    rig.dismiss(function).await
}

async fn minor(rig: &mut Rig) -> Result {
    let mut function = rig.open("later").await?;
    let mut later = hello(contract());
    later.minor = 7;
    function.join(later).await?;
    if function.welcome.minor > 7 {
        let came = function.welcome.minor.to_string();
        return Err(Fault::new("R5", "the lower minor version", came));
    }
    rig.dismiss(function).await
}

/// The connection ends with INVALID_ARGUMENT, FIRN-3040.
async fn ends_damaged(mut function: Function) -> Result {
    let end = function.end().await?;
    if (end.status, end.code.as_str()) == (3, "FIRN-3040") {
        return Ok(());
    }
    Err(Fault::new(
        "R83",
        "INVALID_ARGUMENT, FIRN-3040",
        format!("{end:?}"),
    ))
}

async fn first_frame(rig: &mut Rig) -> Result {
    let mut function = rig.open("early").await?;
    function.send(Frame::Decision(Decision::default())).await;
    ends_damaged(function).await?;
    let mut silent = rig.open("silent").await?;
    silent.half_close();
    ends_damaged(silent).await
}

async fn second_hello(rig: &mut Rig) -> Result {
    let mut function = rig.open("twice").await?;
    function.join(hello(contract())).await?;
    function.send(Frame::Hello(hello(contract()))).await;
    ends_damaged(function).await
}

async fn damaged(rig: &mut Rig) -> Result {
    let mut function = rig.open("damaged").await?;
    function.join(hello(contract())).await?;
    function.send_bytes(vec![0x0a, 0x05, 0xff]).await;
    ends_damaged(function).await
}

async fn unknown(rig: &mut Rig) -> Result {
    let mut function = rig.play().await?;
    // A batch with an unknown field, of a frame of an unknown kind, and of one of none.
    let odd = vec![0xfa, 0x7c, 1, 7, 0x0a, 3, 0xfa, 0x7c, 0, 0x0a, 0];
    function.send_bytes(odd).await;
    rig.is_served(&mut function).await?;
    rig.dismiss(function).await
}

fn component(service: Service, change: impl FnOnce(&mut Component)) -> Component {
    let mut all = contract().components;
    let place = all.iter().position(|one| one.service == service.name());
    let mut component = all.swap_remove(place.expect("it is in the contract"));
    change(&mut component);
    component
}

fn of(components: Vec<Component>) -> Contract {
    Contract {
        components,
        ..contract()
    }
}

async fn findings(rig: &mut Rig, contract: Contract) -> Result<Vec<Finding>> {
    let mut function = rig.open("refused").await?;
    function.send(Frame::Hello(hello(contract))).await;
    let findings = match function.event().await? {
        Event::Frame(Received::Refusal(refusal)) => refusal.findings,
        other => return Err(Fault::new("R4", "Refusal", format!("{other:?}"))),
    };
    let end = function.end().await?;
    if end.status != 9 {
        return Err(Fault::new("R4", "FAILED_PRECONDITION", format!("{end:?}")));
    }
    if findings
        .iter()
        .any(|one| one.text.is_empty() || one.remedy.is_empty())
    {
        return Err(Fault::new(
            "R4",
            "texts and remedies",
            format!("{findings:?}"),
        ));
    }
    Ok(findings)
}

async fn wrong_contracts(rig: &mut Rig) -> Result {
    rig.leave().await?;
    let mut set = FileDescriptorSet::decode(&*contract().descriptors).expect("it was generated");
    set.file[0].dependency.push("nowhere.proto".into());
    let unlinked = Contract {
        descriptors: set.encode_to_vec().into(),
        ..contract()
    };
    let value = |change: fn(&mut Component)| of(vec![component(Service::Value, change)]);
    let events = |change: fn(&mut Component)| of(vec![component(Service::Events, change)]);
    let action = |change: fn(&mut Component)| of(vec![component(Service::Action, change)]);
    let counter =
        |change: fn(&mut Component)| of(vec![component(Service::Data(DataType::Counter), change)]);
    let cases: Vec<(&str, &'static str, Contract)> = vec![
        ("FIRN-2003", "R10", unlinked),
        (
            "FIRN-2004",
            "R11",
            value(|it| it.service = "no.Service".into()),
        ),
        ("FIRN-2005", "R11", value(|it| it.model = 99)),
        (
            "FIRN-2021",
            "R11",
            value(|it| it.methods[0].name = "Missing".into()),
        ),
        (
            "FIRN-2013",
            "R11",
            of(vec![
                component(Service::Value, |_| {}),
                component(Service::Value, |it| it.storage = "other".into()),
            ]),
        ),
        (
            "FIRN-2010",
            "R12",
            of(vec![
                component(Service::Value, |_| {}),
                component(Service::Two, |it| it.storage = "tck-value".into()),
            ]),
        ),
        (
            "FIRN-2006",
            "R13",
            value(|it| it.id = vec!["missing".into()]),
        ),
        ("FIRN-2020", "R13", value(|it| it.id = vec!["steps".into()])),
        (
            "FIRN-2007",
            "R14",
            action(|it| {
                *it = Component {
                    service: it.service.clone(),
                    methods: it.methods.clone(),
                    ..component(Service::Value, |_| {})
                };
            }),
        ),
        ("FIRN-2022", "R15", value(|it| it.snapshot_every = 3)),
        ("FIRN-2022", "R15", value(|it| it.state.clear())),
        ("FIRN-2022", "R15", events(|it| it.events.clear())),
        (
            "FIRN-2022",
            "R15",
            action(|it| it.storage = "action".into()),
        ),
        ("FIRN-2022", "R15", counter(|it| it.data = 0)),
        ("FIRN-2022", "R15", counter(|it| it.set_model(Model::Value))),
        ("FIRN-2023", "R16", value(|it| it.state = "no.State".into())),
        (
            "FIRN-2023",
            "R16",
            events(|it| it.events[0] = "no.Event".into()),
        ),
    ];
    for (code, requirement, contract) in cases {
        let findings = findings(rig, contract).await?;
        if !findings.iter().any(|one| one.code == code) {
            return Err(Fault::new(requirement, code, format!("{findings:?}")));
        }
    }
    Ok(())
}

async fn taken(rig: &mut Rig) -> Result {
    let function = rig.play().await?;
    let cases = [
        of(vec![component(Service::Value, |_| {})]),
        of(vec![component(Service::Two, |it| {
            it.storage = "tck-value".into()
        })]),
    ];
    for contract in cases {
        let findings = findings(rig, contract).await?;
        if !findings.iter().any(|one| one.code == "FIRN-2024") {
            return Err(Fault::new("R17", "FIRN-2024", format!("{findings:?}")));
        }
    }
    rig.dismiss(function).await
}

async fn token(rig: &mut Rig) -> Result {
    for wrong in [None, Some("wrong")] {
        let right = rig.token.take();
        rig.token = wrong.map(str::to_owned);
        let opened = rig.open("stranger").await;
        rig.token = right;
        let end = opened?.end().await?;
        if (end.status, end.code.as_str()) != (16, "FIRN-2025") {
            let expected = "UNAUTHENTICATED, FIRN-2025";
            return Err(Fault::new("R3", expected, format!("{end:?}")));
        }
    }
    Ok(())
}
