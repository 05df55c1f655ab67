//! Event sourced entities: replay, events, snapshots.

use super::{Check, EVENTS, Needs, Result, check, ensure};
use crate::families::function::entity::Heard;
use crate::families::function::rig::{Rig, steps};
use crate::families::stream::{In, Out};
use crate::families::wire::SnapshotRequest;
use crate::fault::Fault;
use crate::kit::{append, fail};
use crate::proto::model::State;
use crate::proto::unpack;
use crate::service::{SNAPSHOT_EVERY, Service};
use crate::show;

pub(super) const CHECKS: &[Check] = &[
    check(
        "events/begins_without_events",
        &["F11", "F40"],
        EVENTS,
        |rig| Box::pin(empty(rig)),
    ),
    check("events/are_in_order", &["F41"], EVENTS, |rig| {
        Box::pin(order(rig))
    }),
    check("events/are_replayed", &["F40"], EVENTS, |rig| {
        Box::pin(replay(rig))
    }),
    check(
        "events/snapshot_comes_with_every_fifth",
        &["F42"],
        EVENTS,
        |rig| Box::pin(snapshots(rig)),
    ),
    check(
        "events/snapshot_holds_all_events_of_its_reply",
        &["F42"],
        EVENTS,
        |rig| Box::pin(crossing(rig)),
    ),
    check(
        "events/snapshot_and_later_events_are_replayed",
        &["F40", "F42"],
        EVENTS,
        |rig| Box::pin(from_snapshot(rig)),
    ),
    check(
        "events/rejected_command_leaves_nothing",
        &["F15", "F19"],
        EVENTS,
        |rig| Box::pin(rejected(rig)),
    ),
    check(
        "events/requested_snapshot_is_the_state",
        &["F43"],
        Needs::SnapshotRequests,
        |rig| Box::pin(requested(rig)),
    ),
];

async fn empty(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(Service::Events).await?;
    let id = stream.id.clone();
    stream.ask(steps(&id, vec![])).await?;
    let decision = stream.ask(steps(&id, vec![append("a")])).await?;
    let came = show::decision(&decision);
    ensure(decision.mutation.is_some(), "F41", "an event", came)?;
    rig.leave(stream).await;
    Ok(())
}

async fn order(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(Service::Events).await?;
    let id = stream.id.clone();
    for texts in [&["a", "b", "c"][..], &["d"], &[], &["", "ä€😀", ""]] {
        let asked = texts.iter().map(|text| append(text)).collect();
        stream.ask(steps(&id, asked)).await?;
    }
    rig.leave(stream).await;
    Ok(())
}

async fn replay(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(Service::Events).await?;
    let id = stream.id.clone();
    for text in ["a", "b", "c", "d"] {
        stream.ask(steps(&id, vec![append(text)])).await?;
        stream = rig.reopen(stream).await?;
        stream.ask(steps(&id, vec![])).await?;
    }
    rig.leave(stream).await;
    Ok(())
}

/// Whether there is a snapshot, and what is in it, the store looks at.
async fn snapshots(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(Service::Events).await?;
    let id = stream.id.clone();
    for number in 0..12 {
        stream
            .ask(steps(&id, vec![append(&number.to_string())]))
            .await?;
    }
    rig.leave(stream).await;
    Ok(())
}

async fn crossing(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(Service::Events).await?;
    let id = stream.id.clone();
    for count in [1, 4, 7, 5, 3, 12] {
        let asked = (0..count).map(|number| append(&format!("{number},")));
        stream.ask(steps(&id, asked.collect())).await?;
    }
    rig.leave(stream).await;
    Ok(())
}

async fn from_snapshot(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(Service::Events).await?;
    let id = stream.id.clone();
    for count in [5, 2, 2, 1] {
        let asked = (0..count).map(|number| append(&format!("{number},")));
        stream.ask(steps(&id, asked.collect())).await?;
        // At the snapshot itself, and with events after it.
        stream = rig.reopen(stream).await?;
        stream.ask(steps(&id, vec![])).await?;
    }
    rig.leave(stream).await;
    Ok(())
}

async fn rejected(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(Service::Events).await?;
    let id = stream.id.clone();
    stream
        .ask(steps(&id, vec![fail(2, "at first", &[])]))
        .await?;
    stream.ask(steps(&id, vec![append("a")])).await?;
    for _ in 0..SNAPSHOT_EVERY {
        let asked = vec![append("b"), append("c"), fail(2, "not so: ä", &[])];
        stream.ask(steps(&id, asked)).await?;
        stream.ask(steps(&id, vec![])).await?;
    }
    stream.ask(steps(&id, vec![append("d")])).await?;
    rig.leave(stream).await;
    Ok(())
}

async fn requested(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(Service::Events).await?;
    let id = stream.id.clone();
    stream.ask(steps(&id, vec![append("a")])).await?;
    for request_id in [1, 7] {
        stream.ask(steps(&id, vec![append("b")])).await?;
        let request = SnapshotRequest { request_id };
        stream.send(&In::SnapshotRequest(request)).await;
        let state = stream.record.state();
        let given = match stream.hear().await? {
            Heard::Out(Out::Snapshot(given)) => given,
            other => {
                let came = show::short(&format!("{other:?}"));
                return Err(Fault::new("F43", "a snapshot", came));
            }
        };
        let snapshot = given
            .snapshot
            .as_ref()
            .map(|any| stream.dialect.to_own(any));
        let snapshot = snapshot.and_then(|any| unpack::<State>(&any, "State"));
        ensure(
            given.request_id == request_id && snapshot.as_ref() == Some(&state),
            "F43",
            format!("the snapshot {state:?} for {request_id}"),
            show::short(&format!("{given:?}")),
        )?;
    }
    stream.ask(steps(&id, vec![append("c")])).await?;
    rig.leave(stream).await;
    Ok(())
}
