//! Functions that do wrong, go away, or take their time: played frame by frame.

use super::{Check, Result, Rig, check};
use crate::fault::Fault;
use crate::kit::append;
use crate::proto::any;
use crate::proto::model::State;
use crate::proto::v1::firn_frame::Frame as Received;
use crate::proto::v1::function_frame::Frame;
use crate::proto::v1::{
    self, Append, Call, Closed, Credit, Decision, Delete, Mutation, call_result, mutation,
};
use crate::proxy::function::{Event, Function};
use crate::proxy::player::Key;
use crate::proxy::rig::{contract, hello, ok, refused, saying};
use crate::service::Service;

pub(super) const CHECKS: &[Check] = &[
    check("decisions/nobody_waits_for", &["R20"], |rig| {
        Box::pin(nobody(rig))
    }),
    check("decisions/out_of_order", &["R21"], |rig| {
        Box::pin(out_of_order(rig))
    }),
    check("decisions/of_another_version", &["R24"], |rig| {
        Box::pin(version(rig))
    }),
    check("decisions/that_do_not_fit", &["R25"], |rig| {
        Box::pin(unfit(rig))
    }),
    check("decisions/too_large", &["R82"], |rig| {
        Box::pin(too_large(rig))
    }),
    check(
        "action/reply_without_credit_fails_the_call",
        &["R61"],
        |rig| Box::pin(no_credit(rig)),
    ),
    check("calls/above_credit_are_refused", &["R73"], |rig| {
        Box::pin(calls(rig))
    }),
    check("calls/cancelled_ones_have_a_result", &["R74"], |rig| {
        Box::pin(cancelled(rig))
    }),
    check("flow/commands_wait_for_credit", &["R80"], |rig| {
        Box::pin(commands(rig))
    }),
    check("chunks/take_turns", &["R81"], |rig| Box::pin(turns(rig))),
    check(
        "lost/command_is_sent_to_another_process_once",
        &["R27", "R92"],
        |rig| Box::pin(lost(rig)),
    ),
    check("lost/action_fails", &["R92"], |rig| {
        Box::pin(lost_action(rig))
    }),
    check("ending/function_leaves_in_order", &["R90"], |rig| {
        Box::pin(leaves(rig))
    }),
];

fn set(command: u64, text: &str, version: u64) -> Decision {
    let state = State {
        text: text.into(),
        count: 1,
    };
    with(
        saying(command, text),
        mutation::Mutation::Set(any("State", &state)),
        version,
    )
}

fn with(decision: Decision, mutation: mutation::Mutation, version: u64) -> Decision {
    Decision {
        mutation: Some(Mutation {
            mutation: Some(mutation),
        }),
        version,
        ..decision
    }
}

/// Another entity is served.
async fn others_go_on(rig: &mut Rig, function: &mut Function) -> Result {
    let key = rig.entity(Service::Value);
    let pending = rig.begin_entity(&key, vec![]).await?;
    let command = function.command("a command of another entity").await?;
    function
        .send(Frame::Decision(set(command.id, "on", 1)))
        .await;
    ok(&pending.call.answer().await)
}

async fn nobody(rig: &mut Rig) -> Result {
    let mut function = rig.play().await?;
    function
        .send(Frame::Decision(saying(1 << 40, "early")))
        .await;
    function.notice("R20", "FIRN-3031", 1 << 40).await?;
    let key = rig.entity(Service::Value);
    let pending = rig.begin_entity(&key, vec![]).await?;
    let command = function.command("the command").await?;
    let twice = [set(command.id, "once", 1), set(command.id, "twice", 2)];
    function.send_all(twice.map(Frame::Decision).to_vec()).await;
    ok(&pending.call.answer().await)?;
    function.notice("R20", "FIRN-3031", command.id).await?;
    others_go_on(rig, &mut function).await?;
    rig.dismiss(function).await
}

async fn out_of_order(rig: &mut Rig) -> Result {
    let mut function = rig.play().await?;
    let key = rig.entity(Service::Value);
    let first = rig.begin_entity(&key, vec![append("1")]).await?;
    let one = function.command("the first command").await?;
    let second = rig.begin_entity(&key, vec![append("2")]).await?;
    let two = function
        .command("the second command before the first is answered")
        .await?;
    function
        .send(Frame::Decision(set(two.id, "never", 1)))
        .await;
    function.notice("R21", "FIRN-3032", two.id).await?;
    function.closes("R21", one.incarnation).await?;
    refused(&first.call.answer().await, "R21", 13, "FIRN-3032")?;
    let again = function.command("the second command once more").await?;
    let state = again.opening.as_ref().map(|one| &one.state);
    if again.incarnation == one.incarnation || state != Some(&None) {
        let came = format!("{again:?}");
        return Err(Fault::new("R21", "a new incarnation without state", came));
    }
    function
        .send(Frame::Decision(set(again.id, "again", 1)))
        .await;
    ok(&second.call.answer().await)?;
    others_go_on(rig, &mut function).await?;
    rig.dismiss(function).await
}

/// A decision that ends its incarnation and fails its caller with this code.
async fn is_wrong(
    rig: &mut Rig,
    function: &mut Function,
    requirement: &'static str,
    code: &str,
    (service, decision): (Service, Decision),
) -> Result {
    let key: Key = rig.entity(service);
    let pending = rig.begin_entity(&key, vec![]).await?;
    rig.wait_for(&format!(
        "{code} after {}",
        crate::show::decision(&decision)
    ));
    let command = function.command("the command").await?;
    let id = command.id;
    function
        .send(Frame::Decision(Decision {
            command: id,
            ..decision
        }))
        .await;
    function.notice(requirement, code, id).await?;
    function.closes(requirement, command.incarnation).await?;
    refused(&pending.call.answer().await, requirement, 13, code)
}

async fn version(rig: &mut Rig) -> Result {
    let mut function = rig.play().await?;
    let delete = || mutation::Mutation::Delete(Delete {});
    let event = any(
        "Appended",
        &crate::proto::model::Appended { text: "e".into() },
    );
    let append = mutation::Mutation::Append(Append {
        events: vec![event.clone(), event],
        snapshot: None,
    });
    let stays = Decision {
        version: 1,
        ..saying(0, "")
    };
    let wrong = [
        (Service::Value, stays.clone()),
        (Service::Value, set(0, "x", 0)),
        (Service::Value, set(0, "x", 2)),
        (Service::Value, with(saying(0, ""), delete(), 0)),
        (Service::Events, stays),
        (Service::Events, with(saying(0, ""), append, 1)),
        (Service::Events, with(saying(0, ""), delete(), 1)),
    ];
    for one in wrong {
        is_wrong(rig, &mut function, "R24", "FIRN-3033", one).await?;
    }
    others_go_on(rig, &mut function).await?;
    rig.dismiss(function).await
}

async fn unfit(rig: &mut Rig) -> Result {
    let mut function = rig.play().await?;
    let foreign = crate::proto::text("no state");
    let state = any("State", &State::default());
    let append = |events| {
        mutation::Mutation::Append(Append {
            events,
            snapshot: None,
        })
    };
    let wrong = [
        (Service::Value, mutation::Mutation::Set(foreign.clone())),
        (Service::Value, append(vec![foreign.clone()])),
        (Service::Events, append(vec![])),
        (Service::Events, append(vec![foreign])),
        (Service::Events, mutation::Mutation::Set(state.clone())),
        (Service::Actor, mutation::Mutation::Set(state)),
    ];
    for (service, mutation) in wrong {
        let one = (service, with(saying(0, ""), mutation, 1));
        is_wrong(rig, &mut function, "R25", "FIRN-3034", one).await?;
    }
    others_go_on(rig, &mut function).await?;
    rig.dismiss(function).await
}

async fn too_large(rig: &mut Rig) -> Result {
    let mut function = rig.play().await?;
    let bytes = usize::try_from(function.welcome.frame_bytes).unwrap_or(usize::MAX);
    let large = set(0, &"x".repeat(bytes / 2 + 10_000), 1);
    let one = (Service::Value, large);
    is_wrong(rig, &mut function, "R82", "FIRN-3039", one).await?;
    others_go_on(rig, &mut function).await?;
    rig.dismiss(function).await
}

async fn no_credit(rig: &mut Rig) -> Result {
    let mut function = rig.play().await?;
    let pending = rig.begin(Service::Action, "Spread", vec![]).await?;
    let command = function.command("the command").await?;
    let reply = v1::Reply {
        command: command.id,
        ..v1::Reply::default()
    };
    // Far more than it could have taken and granted meanwhile.
    let count = 100 * function.welcome.call_messages as usize;
    let replies = vec![Frame::Reply(reply); count];
    function.send_all(replies).await;
    function.notice("R61", "FIRN-3036", command.id).await?;
    let answer = pending.call.answer().await;
    if answer.end.code != "FIRN-3036" {
        return Err(Fault::new("R61", "FIRN-3036", format!("{:?}", answer.end)));
    }
    others_go_on(rig, &mut function).await?;
    rig.cut();
    Ok(())
}

fn failure(result: &v1::CallResult) -> (i32, String) {
    match &result.result {
        Some(call_result::Result::Failure(failure)) => (failure.code, failure.message.clone()),
        _ => (0, String::new()),
    }
}

fn call(id: u64, key: &Key) -> Frame {
    let target = crate::proto::model::target::Target::Value(crate::kit::request(&key.1, vec![]));
    let target = crate::proto::model::Target {
        target: Some(target),
    };
    Frame::Call(Call {
        id,
        target: crate::service::to_target(&target),
        ..Call::default()
    })
}

async fn calls(rig: &mut Rig) -> Result {
    let mut function = rig.play().await?;
    let key = rig.entity(Service::Value);
    let count = u64::from(function.welcome.calls);
    function
        .send_all((1..=count + 1).map(|id| call(id, &key)).collect())
        .await;
    let (code, message) = failure(&function.result(count + 1).await?);
    if code != 8 || !message.contains("FIRN-3038") {
        let expected = "RESOURCE_EXHAUSTED, FIRN-3038";
        return Err(Fault::new("R73", expected, format!("{code} {message}")));
    }
    // The others are answered.
    let mut left = count;
    while left > 0 {
        match function.event().await? {
            Event::Frame(Received::Command(command)) => {
                let decision = saying(command.id, "");
                function.send(Frame::Decision(decision)).await;
            }
            Event::Frame(Received::CallResult(_)) => left -= 1,
            Event::Frame(_) => {}
            Event::End(end) => return Err(Fault::new("R73", "results", format!("{end:?}"))),
        }
    }
    rig.dismiss(function).await
}

async fn cancelled(rig: &mut Rig) -> Result {
    let mut function = rig.play().await?;
    let key = rig.entity(Service::Value);
    function.send(call(1, &key)).await;
    let command = function.command("the called command").await?;
    function.send(Frame::Cancel(v1::Cancel { id: 1 })).await;
    let (code, message) = failure(&function.result(1).await?);
    if code != 1 {
        return Err(Fault::new("R74", "CANCELLED", format!("{code} {message}")));
    }
    function.send(Frame::Decision(saying(command.id, ""))).await;
    others_go_on(rig, &mut function).await?;
    rig.dismiss(function).await
}

async fn commands(rig: &mut Rig) -> Result {
    let mut few = hello(contract());
    few.commands = 2;
    let mut function = rig.play_with(few).await?;
    let mut all = Vec::new();
    for _ in 0..6 {
        let key = rig.entity(Service::Value);
        all.push(rig.begin_entity(&key, vec![]).await?);
    }
    // The referee counts those that are open.
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(function.command("as many as were granted").await?);
    }
    let credit = Credit {
        command: 0,
        amount: 1,
    };
    function.send(Frame::Credit(credit)).await;
    open.push(function.command("one more after Credit").await?);
    for _ in 0..3 {
        let command = open.remove(0);
        function
            .send(Frame::Decision(set(command.id, "x", 1)))
            .await;
        open.push(function.command("one more after a decision").await?);
    }
    for command in open {
        function
            .send(Frame::Decision(set(command.id, "x", 1)))
            .await;
    }
    for pending in all {
        ok(&pending.call.answer().await)?;
    }
    rig.dismiss(function).await
}

async fn turns(rig: &mut Rig) -> Result {
    let mut function = rig.play().await?;
    let key = rig.entity(Service::Value);
    let pending = rig.begin_entity(&key, vec![]).await?;
    let command = function.command("the command").await?;
    let frame = v1::FunctionFrame {
        frame: Some(Frame::Decision(set(command.id, &"x".repeat(1_000_000), 1))),
    };
    let mut pieces = function.cut(&frame);
    let rest = pieces.split_off(pieces.len() / 2);
    function.batch(pieces).await;
    // Half of it is on its way: others go on.
    for _ in 0..3 {
        others_go_on(rig, &mut function).await?;
    }
    for piece in rest {
        function.batch(vec![piece]).await;
    }
    let answer = pending.call.answer().await;
    ok(&answer)?;
    let size: usize = answer.messages.iter().map(bytes::Bytes::len).sum();
    if size < 1_000_000 {
        return Err(Fault::new(
            "R81",
            "the whole reply",
            format!("{size} bytes"),
        ));
    }
    rig.dismiss(function).await
}

async fn lost(rig: &mut Rig) -> Result {
    let mut first = rig.play().await?;
    let keys = [Service::Value, Service::Events, Service::Actor].map(|one| rig.entity(one));
    let mut all = Vec::new();
    for key in &keys {
        all.push((
            rig.begin_entity(key, vec![append("x")]).await?,
            first.command("it").await?,
        ));
    }
    let mut second = rig.open("second").await?;
    second.join(hello(contract())).await?;
    drop(first);
    let mut commands = Vec::new();
    for _ in 0..3 {
        commands.push(second.command("the command, sent again").await?);
    }
    for (pending, before) in all {
        let same = commands.iter().find(|one| one.message == before.message);
        let same = same.filter(|one| one.component == before.component && one.opening.is_some());
        let Some(command) = same else {
            let came = format!("{commands:?}");
            return Err(Fault::new("R27", "the same command with an opening", came));
        };
        // The version stays: nothing is changed.
        second
            .send(Frame::Decision(saying(command.id, "second")))
            .await;
        ok(&pending.call.answer().await)?;
    }
    // Once at most: the next loss fails it.
    let key = rig.entity(Service::Value);
    let pending = rig.begin_entity(&key, vec![]).await?;
    second.command("a command").await?;
    let mut third = rig.open("third").await?;
    third.join(hello(contract())).await?;
    drop(second);
    third.command("the command, sent again").await?;
    drop(third);
    let answer = pending.call.answer().await;
    if answer.end.status != 14 {
        return Err(Fault::new(
            "R27",
            "UNAVAILABLE",
            format!("{:?}", answer.end),
        ));
    }
    Ok(())
}

async fn lost_action(rig: &mut Rig) -> Result {
    let mut function = rig.play().await?;
    let pending = rig.begin(Service::Action, "Unary", vec![]).await?;
    function.command("the command").await?;
    drop(function);
    let answer = pending.call.answer().await;
    if answer.end.status == 14 {
        return Ok(());
    }
    Err(Fault::new(
        "R92",
        "UNAVAILABLE",
        format!("{:?}", answer.end),
    ))
}

async fn leaves(rig: &mut Rig) -> Result {
    let mut first = rig.play().await?;
    let (idle, open) = (rig.entity(Service::Value), rig.entity(Service::Value));
    let pending = rig.begin_entity(&idle, vec![]).await?;
    let command = first.command("the command").await?;
    let held = command.incarnation;
    first
        .send(Frame::Decision(set(command.id, "kept", 1)))
        .await;
    ok(&pending.call.answer().await)?;
    let pending = rig.begin_entity(&open, vec![]).await?;
    let command = first.command("the command").await?;
    let mut second = rig.open("second").await?;
    second.join(hello(contract())).await?;
    first.send(Frame::Goodbye(v1::Goodbye {})).await;
    first.closes("R90", held).await?;
    let moved = rig.begin_entity(&idle, vec![]).await?;
    let again = second.command("the command at the other process").await?;
    let opening = again.opening.unwrap_or_default();
    let record = crate::record::Record::of(Service::Value, &opening)?;
    if record.state().text != "kept" {
        return Err(Fault::new("R90", "the state", format!("{opening:?}")));
    }
    second.send(Frame::Decision(saying(again.id, ""))).await;
    ok(&moved.call.answer().await)?;
    first.send(Frame::Decision(saying(command.id, ""))).await;
    ok(&pending.call.answer().await)?;
    let incarnation = command.incarnation;
    let is_close = |frame: &Received| match frame {
        Received::Close(close) if close.incarnation == incarnation => Some(()),
        _ => None,
    };
    first.pick("R90", "Close", is_close).await?;
    first.send(Frame::Closed(Closed { incarnation })).await;
    let end = first.end().await?;
    if end.status != 0 {
        return Err(Fault::new("R90", "the end with OK", format!("{end:?}")));
    }
    rig.dismiss(second).await
}
