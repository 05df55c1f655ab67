//! A function that was killed and started again.

use super::{Check, Needs, Result, check};
use crate::families::dialect::Kind;
use crate::families::function::rig::{Rig, data, steps};
use crate::kit::append;
use crate::proto::model::data_step;
use crate::proto::v1::DataType;
use crate::service::Service;

pub(super) const CHECKS: &[Check] = &[check(
    "restart/killed_function_serves_again",
    &["F1", "F30", "F40", "F50"],
    Needs::Process,
    |rig| Box::pin(killed(rig)),
)];

async fn killed(rig: &mut Rig) -> Result {
    let dialect = rig.ready().await?;
    let services = [
        Service::Value,
        Service::Events,
        Service::Data(DataType::Counter),
    ];
    let has = |service: &Service| {
        *service != Service::Value || dialect.kind(*service) == Some(Kind::Value)
    };
    let asked = |id: &str, service| match service {
        Service::Data(_) => data(id, vec![data_step::Step::Change(2)]),
        _ => steps(id, vec![append("a"), append("b"), append("c")]),
    };
    let mut left = Vec::new();
    for service in services.into_iter().filter(has) {
        let mut stream = rig.fresh(service).await?;
        let id = stream.id.clone();
        stream.ask(asked(&id, service)).await?;
        left.push(stream.cut());
    }
    for _ in 0..2 {
        rig.restart().await?;
        for (id, record) in &mut left {
            let mut stream = rig.open(id, record.clone()).await?;
            stream.ask(asked(id, record.service)).await?;
            *record = stream.record.clone();
        }
    }
    Ok(())
}
