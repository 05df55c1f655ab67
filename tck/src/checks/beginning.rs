//! How a connection begins, and begins again.

use bytes::{BufMut as _, Bytes};
use prost::Message as _;
use tokio::time::{Duration, Instant, timeout};

use super::{Check, Needs, Result, check, ensure};
use crate::connection::frame;
use crate::fault::Fault;
use crate::kit::{Kit, append, reply_of, set, welcome};
use crate::proto::MODEL_DESCRIPTORS;
use crate::proto::v1::firn_frame::Frame as Sent;
use crate::proto::v1::{self, Finding, Refusal};
use crate::service::{self, Service};

pub(super) const CHECKS: &[Check] = &[
    check(
        "beginning/hello_comes_first_and_alone",
        &["R1", "R2"],
        |kit| Box::pin(hello(kit)),
    ),
    check(
        "beginning/early_response_headers_are_fine",
        &["R2"],
        |kit| Box::pin(early_headers(kit)),
    ),
    check(
        "beginning/contract_declares_the_model_services",
        &["R11", "R12", "R15", "R16"],
        |kit| Box::pin(contract(kit)),
    ),
    check(
        "beginning/descriptors_link_and_are_those_of_the_model",
        &["R10", "R13", "R14"],
        |kit| Box::pin(descriptors(kit)),
    ),
    check(
        "beginning/contract_is_the_same_each_time",
        &["R17"],
        |kit| Box::pin(same(kit)),
    ),
    Check {
        needs: Needs::Token,
        ..check("beginning/token_is_sent_each_time", &["R3"], |kit| {
            Box::pin(token(kit))
        })
    },
    check("beginning/lower_minor_version_is_spoken", &["R5"], |kit| {
        Box::pin(minor(kit))
    }),
    check(
        "beginning/unknown_fields_and_frames_are_ignored",
        &["R6"],
        |kit| Box::pin(unknown(kit)),
    ),
    check(
        "beginning/refused_function_dials_again",
        &["R4", "R7"],
        |kit| Box::pin(refused(kit)),
    ),
    check(
        "beginning/lost_connection_is_dialed_again",
        &["R7"],
        |kit| Box::pin(lost(kit)),
    ),
    check("beginning/ended_call_is_dialed_again", &["R7"], |kit| {
        Box::pin(ended(kit))
    }),
    check("beginning/pauses_between_dials_grow", &["R7"], |kit| {
        Box::pin(pauses(kit))
    }),
    check(
        "beginning/nothing_of_the_old_connection_counts",
        &["R7", "R40"],
        |kit| Box::pin(anew(kit)),
    ),
    check(
        "beginning/damaged_batch_does_not_end_the_function",
        &["R7", "R83"],
        |kit| Box::pin(damaged(kit)),
    ),
    check("beginning/notices_change_nothing", &["R18"], |kit| {
        Box::pin(notices(kit))
    }),
];

async fn hello(kit: &mut Kit) -> Result {
    let begun = kit.begin().await?;
    let info = begun.hello.info.clone().unwrap_or_default();
    kit.welcome(begun, welcome()).await?;
    kit.fence().await?;
    ensure(
        !info.name.is_empty() && !info.sdk.is_empty() && !info.process.is_empty(),
        "R2",
        "Hello.info with name, sdk and process",
        format!("{info:?}"),
    )
}

async fn early_headers(kit: &mut Kit) -> Result {
    let mut begun = kit.begin().await?;
    kit.welcome_fails(begun.link.send_headers())?;
    kit.welcome(begun, welcome()).await?;
    kit.fence().await?;
    // And before Hello has come.
    kit.disconnect();
    let mut link = kit.dialed().await?.take();
    kit.welcome_fails(link.send_headers())?;
    let begun = kit.begun(link).await?;
    kit.welcome(begun, welcome()).await?;
    kit.fence().await
}

async fn contract(kit: &mut Kit) -> Result {
    kit.ready().await?;
    service::check(&kit.on()?.hello.contract.clone().unwrap_or_default())
}

async fn descriptors(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let contract = kit.on()?.hello.contract.clone().unwrap_or_default();
    service::check_descriptors(&contract.descriptors, MODEL_DESCRIPTORS)
}

async fn same(kit: &mut Kit) -> Result {
    let first = kit.begin().await?.hello;
    for _ in 0..2 {
        let again = kit.begin().await?.hello;
        let bytes = |hello: &v1::Hello| hello.contract.as_ref().map(v1::Contract::encode_to_vec);
        ensure(
            bytes(&first) == bytes(&again),
            "R17",
            "the same contract, byte by byte, on each connection",
            "another one",
        )?;
        let process = |hello: &v1::Hello| hello.info.as_ref().map(|info| info.process.clone());
        ensure(
            process(&first) == process(&again),
            "R17",
            format!("the same Info.process, {:?}", process(&first)),
            format!("{:?}", process(&again)),
        )?;
    }
    Ok(())
}

/// The token itself is looked at whenever the function dials.
async fn token(kit: &mut Kit) -> Result {
    let begun = kit.begin().await?;
    kit.welcome(begun, welcome()).await?;
    kit.end(16, "the token is wrong", "FIRN-2025");
    kit.fresh(welcome()).await?;
    kit.fence().await
}

async fn minor(kit: &mut Kit) -> Result {
    let mut lowest = welcome();
    lowest.minor = 0;
    kit.fresh(lowest).await?;
    kit.fence().await
}

/// A field that no minor version has yet.
fn unknown_field(message: &mut Vec<u8>) {
    prost::encoding::encode_key(50_000, prost::encoding::WireType::LengthDelimited, message);
    message.put_u8(3);
    message.put_slice(b"new");
}

/// Adds a frame, in bytes, to a batch in bytes.
fn add_frame(batch: &mut Vec<u8>, frame: &[u8]) {
    prost::encoding::encode_key(1, prost::encoding::WireType::LengthDelimited, batch);
    prost::encoding::encode_varint(frame.len() as u64, batch);
    batch.put_slice(frame);
}

async fn unknown(kit: &mut Kit) -> Result {
    kit.fresh(welcome()).await?;
    let mut batch = Vec::new();
    let mut unknown_frame = Vec::new();
    unknown_field(&mut unknown_frame);
    add_frame(&mut batch, &unknown_frame);
    add_frame(&mut batch, &[]);
    kit.send_bytes(&batch).await?;
    kit.fence().await?;
    // A command whose every message has a field that is new.
    let ticket = kit.put_action("Unary", vec![set("known")])?;
    let mut command = kit.on()?.outbox.pop().unwrap_or_default();
    let mut bytes = Vec::new();
    if let Some(Sent::Command(command)) = &mut command.frame {
        let mut request = command.message.to_vec();
        unknown_field(&mut request);
        command.message = Bytes::from(request);
        let mut inner = command.encode_to_vec();
        unknown_field(&mut inner);
        let mut outer = Vec::new();
        prost::encoding::encode_key(3, prost::encoding::WireType::LengthDelimited, &mut outer);
        prost::encoding::encode_varint(inner.len() as u64, &mut outer);
        outer.put_slice(&inner);
        unknown_field(&mut outer);
        add_frame(&mut bytes, &outer);
        unknown_field(&mut bytes);
    }
    kit.send_bytes(&bytes).await?;
    kit.decision(ticket).await?;
    Ok(())
}

async fn refused(kit: &mut Kit) -> Result {
    let finding = |code: &str| Finding {
        code: code.into(),
        text: "the conformance kit refuses, to see what comes of it".into(),
        remedy: "wait".into(),
        service: Service::Value.name(),
        location: "firn/tck/v1/model.proto:1:1".into(),
    };
    for _ in 0..2 {
        let mut begun = kit.begin().await?;
        let refusal = Sent::Refusal(Refusal {
            findings: vec![finding("FIRN-2006"), finding("FIRN-2010")],
        });
        let batch = v1::FirnBatch {
            frames: vec![frame(refusal)],
        };
        let sent = begun.link.send(&batch.encode_to_vec()).await;
        kit.welcome_fails(sent)?;
        begun.link.end(9, "the contract is refused", "FIRN-2006");
    }
    // Refused without a word: by the status alone.
    let mut begun = kit.begin().await?;
    begun.link.end(16, "the token is missing", "FIRN-2025");
    kit.fresh(welcome()).await?;
    kit.fence().await
}

async fn lost(kit: &mut Kit) -> Result {
    for _ in 0..2 {
        kit.ready().await?;
        kit.put_action("Unary", vec![crate::kit::hang()])?;
        kit.fence().await?;
        kit.disconnect();
    }
    kit.ready().await?;
    kit.fence().await
}

async fn ended(kit: &mut Kit) -> Result {
    kit.ready().await?;
    kit.fence().await?;
    kit.end(14, "this Firn stops", "");
    kit.ready().await?;
    kit.fence().await?;
    kit.end(0, "", "");
    kit.ready().await?;
    kit.fence().await
}

/// How many dials are turned away.
const TURNED_AWAY: usize = 5;

async fn pauses(kit: &mut Kit) -> Result {
    kit.fresh(welcome()).await?;
    kit.fence().await?;
    let mut pauses = Vec::new();
    let mut last = Instant::now();
    kit.disconnect();
    for _ in 0..TURNED_AWAY {
        kit.dialed().await?.take().cut();
        pauses.push(last.elapsed());
        last = Instant::now();
    }
    let text = format!("{pauses:?}");
    // Half of 50 ms, so that a pause may be varied.
    let rest = Duration::from_millis(25);
    let hurried = pauses.iter().skip(1).any(|pause| *pause < rest);
    ensure(!hurried, "R7", "pauses from 50 ms", text.clone())?;
    let slow = pauses
        .iter()
        .any(|pause| *pause > Duration::from_millis(2_500));
    ensure(!slow, "R7", "pauses up to 2 s", text.clone())?;
    // How fast is left open, and pauses may be varied; on average they are twice the first.
    let all: Duration = pauses.iter().skip(1).sum();
    let least = Duration::from_millis(50) * 2 * (u32::try_from(TURNED_AWAY).unwrap_or(0) - 1);
    let grew = pauses[TURNED_AWAY - 1] > pauses[1] && all > least;
    ensure(grew, "R7", "pauses that grow", text)?;
    kit.ready().await?;
    kit.fence().await
}

async fn anew(kit: &mut Kit) -> Result {
    kit.fresh(welcome()).await?;
    let (value, events) = (kit.entity(Service::Value), kit.entity(Service::Events));
    kit.ask(&value, vec![set("one")]).await?;
    kit.ask(&events, vec![append("one")]).await?;
    // Hidden from the function: what it kept is not the truth any more.
    kit.disconnect();
    kit.store.remove(&value);
    kit.store.remove(&events);
    kit.ready().await?;
    kit.ask(&value, vec![append("two")]).await?;
    kit.ask(&events, vec![append("two")]).await?;
    Ok(())
}

/// How long a function that has read damage may do neither good nor bad.
const DAMAGE_TIME: Duration = Duration::from_millis(500);

async fn damaged(kit: &mut Kit) -> Result {
    let mut damage = vec![vec![0xff; 40], b"\x0a\xff\xff\xff\xff\x0f".to_vec()];
    // A command whose inside is no message.
    let mut inside = Vec::new();
    add_frame(&mut inside, b"\x1a\x03\x0a\x7f\x01");
    damage.push(inside);
    for bytes in damage {
        kit.ready().await?;
        kit.fence().await?;
        kit.send_bytes(&bytes).await?;
        // It may go on, or end the connection, or do neither.
        let _ = timeout(DAMAGE_TIME, kit.fence()).await;
        kit.disconnect();
    }
    kit.ready().await?;
    kit.fence().await
}

async fn notices(kit: &mut Kit) -> Result {
    kit.fresh(welcome()).await?;
    let finding = Some(Finding {
        code: "FIRN-2030".into(),
        text: "a notice of the conformance kit".into(),
        remedy: "none".into(),
        ..Finding::default()
    });
    let mut notices = Vec::new();
    for (severity, command) in [(1, 0), (2, 0), (2, 4_000_000), (9, 0)] {
        let finding = finding.clone();
        notices.push(frame(Sent::Notice(v1::Notice {
            finding,
            severity,
            command,
        })));
    }
    notices.push(frame(Sent::Notice(v1::Notice::default())));
    kit.send(notices).await?;
    let reply = reply_of(&kit.ask_action(vec![set("heard")]).await?)?;
    ensure(
        reply.text == "heard",
        "R18",
        "a reply",
        format!("{reply:?}"),
    )
}

impl Kit {
    /// A call that breaks while it begins is the function's fault: it was there a moment ago.
    fn welcome_fails(&self, sent: std::result::Result<(), h2::Error>) -> Result {
        sent.map_err(|error| Fault::new("R1", "a call that stays", error.to_string()))
    }
}
