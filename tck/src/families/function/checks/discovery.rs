//! What a function says of itself.

use bytes::{BufMut as _, BytesMut};
use prost::Message as _;

use super::{Check, Needs, Result, check, ensure};
use crate::families::contract;
use crate::families::function::rig::Rig;
use crate::families::wire::{Spec, UserFunctionError};
use crate::fault::Fault;
use crate::show;

pub(super) const CHECKS: &[Check] = &[
    check(
        "discovery/version_is_one_of_the_family",
        &["F1", "F4"],
        Needs::Nothing,
        |rig| Box::pin(version(rig)),
    ),
    check(
        "discovery/descriptors_hold_the_services",
        &["F2"],
        Needs::Nothing,
        |rig| Box::pin(descriptors(rig)),
    ),
    check(
        "discovery/components_are_declared",
        &["F3"],
        Needs::Nothing,
        |rig| Box::pin(components(rig)),
    ),
    check(
        "discovery/answer_is_the_same_again",
        &["F1"],
        Needs::Nothing,
        |rig| Box::pin(again(rig)),
    ),
    check(
        "discovery/unknown_fields_are_ignored",
        &["F1"],
        Needs::Nothing,
        |rig| Box::pin(unknown(rig)),
    ),
    check(
        "discovery/reports_of_errors_do_no_harm",
        &["F5"],
        Needs::Nothing,
        |rig| Box::pin(reports(rig)),
    ),
    check(
        "discovery/health_is_answered",
        &["F5"],
        Needs::Health,
        |rig| Box::pin(health(rig)),
    ),
];

async fn version(rig: &mut Rig) -> Result {
    rig.ready().await.map(|_| ())
}

async fn descriptors(rig: &mut Rig) -> Result {
    let dialect = rig.ready().await?;
    contract::check_files(dialect, &rig.spec().await?)
}

async fn components(rig: &mut Rig) -> Result {
    let dialect = rig.ready().await?;
    contract::check_components(dialect, &rig.spec().await?)
}

fn same(first: &Spec, second: &Spec) -> Result {
    let differs = match () {
        () if first.components != second.components => "other components",
        () if first.proto != second.proto => "other descriptors",
        () if first.service_info != second.service_info => "another service",
        () => return Ok(()),
    };
    Err(Fault::new("F1", "the same as at first", differs))
}

async fn again(rig: &mut Rig) -> Result {
    let first = rig.spec().await?;
    same(&first, &rig.discover().await?)?;
    rig.disconnect();
    same(&first, &rig.discover().await?)
}

async fn unknown(rig: &mut Rig) -> Result {
    let first = rig.spec().await?;
    let mut info = BytesMut::from(&*rig.introduction().encode_to_vec());
    prost::encoding::string::encode(9_999, &"new".to_owned(), &mut info);
    info.put_slice(&[]);
    let answer = rig.call("Discover", info.freeze()).await;
    let status = answer.end.status;
    ensure(status == 0, "F1", "an answer", format!("status {status}"))?;
    let spec = answer.messages.first().cloned().unwrap_or_default();
    let spec = Spec::decode(spec).map_err(|error| Fault::new("F1", "a spec", error.to_string()))?;
    same(&first, &spec)
}

async fn reports(rig: &mut Rig) -> Result {
    let first = rig.spec().await?;
    for message in [
        "",
        "a text of the kit: nothing is wrong",
        "ä😀\nin two lines",
    ] {
        let error = UserFunctionError {
            message: message.into(),
            code: "KLX-00499".into(),
            detail: "a detail".into(),
            ..UserFunctionError::default()
        };
        // Whatever it is answered with.
        rig.call("ReportError", error.encode_to_vec().into()).await;
        same(&first, &rig.discover().await?)?;
    }
    Ok(())
}

async fn health(rig: &mut Rig) -> Result {
    for _ in 0..3 {
        let answer = rig.call("HealthCheck", bytes::Bytes::new()).await;
        let came = show::short(&format!("{:?}", answer.end));
        ensure(answer.end.status == 0, "F5", "an answer", came)?;
    }
    Ok(())
}
