//! Actions: four shapes, failures, headers, forwards, effects, cancellation.

use super::{Check, Result, check, ensure};
use crate::connection::NewCommand;
use crate::kit::{
    Kit, append, fail, failure_of, hang, process, reply_of, set, two, value, welcome,
};
use crate::oracle::check_effects;
use crate::proto::model::{Effect, Header, Nothing, Publish, Reply, Send, step::Step};
use crate::proto::v1::metadata::{Entry, entry};
use crate::proto::v1::{Metadata, decision};
use crate::service::Service;
use prost::Message as _;

pub(super) const CHECKS: &[Check] = &[
    check("action/unary_method_replies", &["R20", "R55"], |kit| {
        Box::pin(unary(kit))
    }),
    check(
        "action/failure_reaches_with_code_text_and_details",
        &["R23"],
        |kit| Box::pin(failures(kit)),
    ),
    check(
        "action/mistake_in_the_code_is_a_failure",
        &["R20", "R84"],
        |kit| Box::pin(crash(kit)),
    ),
    check("action/headers_come_and_go", &["R11"], |kit| {
        Box::pin(headers(kit))
    }),
    check("action/forward_names_method_and_request", &["R28"], |kit| {
        Box::pin(forward(kit))
    }),
    check("action/effects_come_in_order", &["R28"], |kit| {
        Box::pin(effects(kit))
    }),
    check("action/publishes", &["R30"], |kit| Box::pin(publish(kit))),
    check("action/streamed_requests_have_one_reply", &["R60"], |kit| {
        Box::pin(collect(kit))
    }),
    check("action/messages_get_credit", &["R61"], |kit| {
        Box::pin(message_credit(kit))
    }),
    check("action/streamed_replies_come_in_order", &["R60"], |kit| {
        Box::pin(spread(kit))
    }),
    check("action/replies_wait_for_credit", &["R61"], |kit| {
        Box::pin(reply_credit(kit))
    }),
    check("action/both_directions_are_streamed", &["R60"], |kit| {
        Box::pin(converse(kit))
    }),
    check("action/streamed_call_fails", &["R23", "R60"], |kit| {
        Box::pin(stream_fails(kit))
    }),
    check(
        "action/effects_come_with_streamed_replies",
        &["R28", "R60"],
        |kit| Box::pin(stream_effects(kit)),
    ),
    check(
        "action/cancelled_handlers_stop_and_still_answer",
        &["R62"],
        |kit| Box::pin(cancelled(kit)),
    ),
    check(
        "action/commands_do_not_wait_for_each_other",
        &["R22", "R55"],
        |kit| Box::pin(side_by_side(kit)),
    ),
    check(
        "action/cancel_of_what_is_over_is_nothing",
        &["R62"],
        |kit| Box::pin(late_cancel(kit)),
    ),
];

async fn unary(kit: &mut Kit) -> Result {
    kit.ready().await?;
    kit.ask_action(vec![]).await?;
    kit.ask_action(vec![set("a"), append("b")]).await?;
    kit.ask_action(vec![set("ä€😀"), Step::Pad(1_000)]).await?;
    Ok(())
}

async fn failures(kit: &mut Kit) -> Result {
    kit.ready().await?;
    for code in 1..=16 {
        kit.ask_action(vec![set("a"), fail(code, "it failed: ä", &[])])
            .await?;
    }
    kit.ask_action(vec![fail(9, "", &["one", "two"])]).await?;
    Ok(())
}

async fn crash(kit: &mut Kit) -> Result {
    kit.ready().await?;
    for _ in 0..3 {
        kit.ask_action(vec![set("a"), Step::Crash("on purpose".into())])
            .await?;
        kit.ask_action(vec![set("alive")]).await?;
    }
    Ok(())
}

fn text_header(key: &str, text: &str) -> Entry {
    Entry {
        key: key.into(),
        value: Some(entry::Value::Text(text.into())),
    }
}

async fn headers(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let set_header = |name: &str, value: &[u8]| {
        Step::SetHeader(Header {
            name: name.into(),
            value: bytes::Bytes::copy_from_slice(value),
        })
    };
    let show = |name: &str| Step::ShowHeader(name.into());
    let steps = vec![
        show("x-tck"),
        show("x-tck-bin"),
        show("x-none"),
        set_header("x-answer", b"yes"),
        set_header("x-answer-bin", b"\x00\xff"),
    ];
    let binary = Entry {
        key: "x-tck-bin".into(),
        value: Some(entry::Value::Binary(bytes::Bytes::from_static(
            b"\x00\x80\xff",
        ))),
    };
    let headers = Metadata {
        entries: vec![
            text_header("x-tck", "one"),
            binary,
            text_header("x-tck", "two"),
        ],
    };
    let action = kit.entity(Service::Action);
    let new = NewCommand {
        headers,
        ..process(&action, steps)
    };
    let ticket = kit.on()?.action(new)?;
    kit.decision(ticket).await?;
    kit.ask_action(vec![show("x-tck")]).await?;
    Ok(())
}

async fn forward(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let target = two("f", vec![set("there")]);
    kit.ask_action(vec![Step::Forward(target.clone())]).await?;
    let other = value("g", vec![append("other"), fail(5, "none", &[])]);
    kit.ask_action(vec![Step::Forward(target), Step::Forward(other)])
        .await?;
    Ok(())
}

fn effect(target: crate::proto::model::Target, wait: bool, delay_ms: u32) -> Step {
    Step::Effect(Effect {
        target: Some(target),
        wait,
        delay_ms,
    })
}

async fn effects(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let steps = vec![
        effect(two("a", vec![append("1")]), false, 0),
        effect(value("b", vec![append("2")]), true, 0),
        effect(two("a", vec![append("3")]), false, 1_500),
        set("done"),
    ];
    kit.ask_action(steps.clone()).await?;
    // Beside a forward they are just as good.
    let forward = Step::Forward(two("c", vec![]));
    kit.ask_action([steps.clone(), vec![forward]].concat())
        .await?;
    let failing = [steps, vec![fail(9, "none of it", &[])]].concat();
    kit.ask_action(failing).await?;
    Ok(())
}

async fn publish(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let publish = |text: &str| {
        Step::Publish(Publish {
            topic: "things".into(),
            text: text.into(),
        })
    };
    kit.ask_action(vec![publish("1"), publish("2")]).await?;
    Ok(())
}

fn send(text: &str, times: u32) -> Step {
    Step::Send(Send {
        text: text.into(),
        times,
        pause_ms: 0,
    })
}

/// Sends a streamed call's messages; the steps of all of them are what the decision is judged by.
async fn collect_of(kit: &mut Kit, messages: Vec<Vec<Step>>, with_last: bool) -> Result {
    let ticket = kit.put_action("Collect", messages.concat())?;
    kit.flush().await?;
    let count = messages.len();
    for (place, steps) in messages.into_iter().enumerate() {
        kit.message(ticket, Some(steps), with_last && place + 1 == count)
            .await?;
    }
    if !with_last || count == 0 {
        kit.message(ticket, None, true).await?;
    }
    kit.decision(ticket).await?;
    Ok(())
}

async fn collect(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let messages = vec![vec![append("a")], vec![append("b"), append("c")], vec![]];
    collect_of(kit, messages.clone(), false).await?;
    collect_of(kit, messages, true).await?;
    collect_of(kit, vec![], false).await?;
    collect_of(
        kit,
        vec![vec![set("x")], vec![fail(3, "no more", &["d"])]],
        false,
    )
    .await
}

async fn message_credit(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let messages = (0..100).map(|number| vec![append(&format!("{number},"))]);
    collect_of(kit, messages.collect(), false).await
}

fn reply(message: &bytes::Bytes) -> Reply {
    Reply::decode(message.clone()).unwrap_or_default()
}

async fn expect_replies(kit: &mut Kit, ticket: u64, text: &str, from: u64, to: u64) -> Result {
    for number in from..=to {
        let came = reply(&kit.reply(ticket).await?.message);
        let right = came.text == text && came.count == number;
        let expected = format!("reply {number} with {text:?}");
        ensure(right, "R60", expected, format!("{came:?}"))?;
    }
    Ok(())
}

/// The end of a streamed call: a decision without answer.
async fn expect_end(kit: &mut Kit, ticket: u64) -> Result {
    let decision = kit.decision(ticket).await?;
    ensure(
        decision.answer.is_none(),
        "R60",
        "a decision without answer at the end of streamed replies",
        crate::show::decision(&decision),
    )
}

async fn spread(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let ticket = kit.put_action("Spread", vec![send("a", 3), send("b", 2)])?;
    expect_replies(kit, ticket, "a", 1, 3).await?;
    expect_replies(kit, ticket, "b", 4, 5).await?;
    expect_end(kit, ticket).await?;
    let ticket = kit.put_action("Spread", vec![])?;
    expect_end(kit, ticket).await
}

async fn reply_credit(kit: &mut Kit) -> Result {
    let mut few = welcome();
    few.call_messages = 2;
    kit.fresh(few).await?;
    kit.on()?.grants_replies = false;
    let ticket = kit.put_action("Spread", vec![send("a", 9)])?;
    expect_replies(kit, ticket, "a", 1, 2).await?;
    kit.fence().await?;
    ensure(
        !kit.has_reply(ticket)?,
        "R61",
        "two replies with credit for two",
        "a third",
    )?;
    kit.on()?.grant(ticket, 3);
    expect_replies(kit, ticket, "a", 3, 5).await?;
    kit.fence().await?;
    ensure(
        !kit.has_reply(ticket)?,
        "R61",
        "three more with credit for three",
        "a fourth",
    )?;
    // Credit in small parts adds up; what is too much is kept.
    kit.on()?.grant(ticket, 1);
    kit.on()?.grant(ticket, 100);
    expect_replies(kit, ticket, "a", 6, 9).await?;
    expect_end(kit, ticket).await?;
    kit.disconnect();
    Ok(())
}

async fn converse(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let ticket = kit.put_action("Converse", vec![])?;
    kit.message(ticket, Some(vec![send("a", 2)]), false).await?;
    expect_replies(kit, ticket, "a", 1, 2).await?;
    kit.message(ticket, Some(vec![]), false).await?;
    kit.message(ticket, Some(vec![send("b", 1)]), false).await?;
    expect_replies(kit, ticket, "b", 3, 3).await?;
    kit.message(ticket, Some(vec![send("c", 40)]), true).await?;
    expect_replies(kit, ticket, "c", 4, 43).await?;
    expect_end(kit, ticket).await
}

async fn stream_fails(kit: &mut Kit) -> Result {
    kit.ready().await?;
    for method in ["Spread", "Converse"] {
        let steps = vec![send("a", 1), fail(10, "enough", &["why"])];
        let ticket = kit.put_action(method, steps.clone())?;
        if method == "Converse" {
            kit.message(ticket, Some(steps), false).await?;
        }
        expect_replies(kit, ticket, "a", 1, 1).await?;
        let failure = failure_of(&kit.decision(ticket).await?)?;
        let right = failure.code == 10 && failure.message == "enough" && failure.details.len() == 1;
        ensure(
            right,
            "R23",
            "failure 10 \"enough\"",
            format!("{failure:?}"),
        )?;
    }
    let ticket = kit.put_action(
        "Spread",
        vec![send("a", 1), Step::Crash("on purpose".into())],
    )?;
    expect_replies(kit, ticket, "a", 1, 1).await?;
    crate::oracle::check_crash(&kit.decision(ticket).await?)
}

async fn stream_effects(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let first = effect(two("a", vec![append("1")]), false, 0);
    let second = effect(two("a", vec![append("2")]), false, 0);
    let steps = vec![first.clone(), send("a", 2), second.clone()];
    let ticket = kit.put_action("Spread", steps)?;
    check_effects(&[first], &kit.reply(ticket).await?.effects)?;
    check_effects(&[], &kit.reply(ticket).await?.effects)?;
    let end = kit.decision(ticket).await?;
    check_effects(&[second], &end.effects)?;
    ensure(
        end.answer.is_none(),
        "R60",
        "no answer",
        crate::show::decision(&end),
    )
}

async fn cancelled(kit: &mut Kit) -> Result {
    kit.ready().await?;
    for method in ["Unary", "Spread", "Collect", "Converse"] {
        let ticket = kit.put_action(method, vec![hang()])?;
        if matches!(method, "Collect" | "Converse") {
            kit.message(ticket, Some(vec![Step::Hang(Nothing {})]), false)
                .await?;
        }
        kit.fence().await?;
        kit.on()?.cancel(ticket);
        kit.decision(ticket).await?;
    }
    // Cancelled while it waits for messages, and for credit.
    let ticket = kit.put_action("Collect", vec![])?;
    kit.fence().await?;
    kit.on()?.cancel(ticket);
    kit.decision(ticket).await?;
    kit.on()?.grants_replies = false;
    let ticket = kit.put_action("Spread", vec![send("a", 1_000)])?;
    kit.fence().await?;
    kit.on()?.cancel(ticket);
    let decided = kit.decision(ticket).await;
    kit.on()?.grants_replies = true;
    decided.map(|_| ())
}

async fn side_by_side(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let mut hanging = Vec::new();
    let granted = kit.on()?.commands_left;
    for _ in 1..granted.min(10) {
        hanging.push(kit.put_action("Unary", vec![hang()])?);
    }
    let decision = kit.ask_action(vec![set("first")]).await?;
    reply_of(&decision)?;
    for ticket in hanging {
        kit.on()?.cancel(ticket);
        kit.decision(ticket).await?;
    }
    Ok(())
}

async fn late_cancel(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let decision = kit.ask_action(vec![set("a")]).await?;
    let id = decision.command;
    let cancel = crate::proto::v1::firn_frame::Frame::Cancel(crate::proto::v1::Cancel { id });
    kit.send(vec![crate::connection::frame(cancel)]).await?;
    kit.fence().await?;
    let answered = matches!(decision.answer, Some(decision::Answer::Reply(_)));
    ensure(answered, "R20", "a reply", crate::show::decision(&decision))
}
