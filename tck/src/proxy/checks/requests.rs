//! What clients see of functions that do right, and what these see of clients.

use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Check, Result, Rig, check};
use crate::fault::Fault;
use crate::kit::{append, delete, fail, hang, request, set, two};
use crate::proto::model::{Header, Reply, Send, SetTag, Value, data_step, step};
use crate::proto::v1::DataType;
use crate::proxy::rig::{contract, hello, ok, refused, reply_of};
use crate::service::{DATA, Service};
use crate::workload::Random;

pub(super) const CHECKS: &[Check] = &[
    check("requests/reflection_lists_the_services", &["R17"], |rig| {
        Box::pin(reflection(rig))
    }),
    check("requests/json_is_taken_at_its_path", &["R17"], |rig| {
        Box::pin(json(rig))
    }),
    check("action/four_shapes", &["R55", "R60"], |rig| {
        Box::pin(shapes(rig))
    }),
    check("action/many_messages_keep_to_credit", &["R61"], |rig| {
        Box::pin(credit(rig))
    }),
    check(
        "action/client_that_goes_away_is_a_cancel",
        &["R62"],
        |rig| Box::pin(goes_away(rig)),
    ),
    check("action/headers_reach_both_sides", &["R20", "R23"], |rig| {
        Box::pin(headers(rig))
    }),
    check("requests/failure_keeps_code_and_details", &["R23"], |rig| {
        Box::pin(failures(rig))
    }),
    check(
        "value/state_is_set_read_and_deleted",
        &["R24", "R40", "R50"],
        |rig| Box::pin(texts(rig, Service::Value)),
    ),
    check(
        "events/state_is_folded_and_deleted",
        &["R24", "R40", "R51"],
        |rig| Box::pin(texts(rig, Service::Events)),
    ),
    check(
        "actor/state_is_set_read_and_deleted",
        &["R24", "R40", "R54"],
        |rig| Box::pin(texts(rig, Service::Actor)),
    ),
    check("actor/tags_are_kept", &["R54"], |rig| Box::pin(tags(rig))),
    check(
        "requests/incarnation_that_was_let_go_is_opened_again",
        &["R40", "R42"],
        |rig| Box::pin(let_go(rig)),
    ),
    check(
        "requests/pipelined_commands_follow_each_other",
        &["R21"],
        |rig| Box::pin(pipeline(rig)),
    ),
    check(
        "data/each_type_is_changed_and_opened_again",
        &["R52"],
        |rig| Box::pin(data(rig)),
    ),
    check(
        "data/incarnation_that_was_let_go_is_opened_again",
        &["R42"],
        |rig| Box::pin(data_let_go(rig)),
    ),
    check("data/watch_hears_of_changes", &["R53"], |rig| {
        Box::pin(watch(rig))
    }),
    check("data/deleted_entity_is_gone_for_ever", &["R52"], |rig| {
        Box::pin(data_delete(rig))
    }),
    check(
        "requests/forward_is_answered_by_its_target",
        &["R28"],
        |rig| Box::pin(forward(rig)),
    ),
    check("chunks/large_messages_pass", &["R81"], |rig| {
        Box::pin(large(rig))
    }),
    check("requests/idle_incarnation_is_closed", &["R41"], |rig| {
        Box::pin(passivation(rig))
    }),
];

pub(super) fn text_is(requirement: &'static str, reply: &Reply, text: &str) -> Result {
    if reply.text == text {
        return Ok(());
    }
    Err(Fault::new(
        requirement,
        format!("{text:?}"),
        format!("{:?}", reply.text),
    ))
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReflectionRequest {
    #[prost(string, optional, tag = "4")]
    symbol: Option<String>,
    #[prost(string, optional, tag = "7")]
    list: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReflectionResponse {
    #[prost(message, optional, tag = "4")]
    files: Option<Files>,
    #[prost(message, optional, tag = "6")]
    services: Option<Services>,
    #[prost(message, optional, tag = "7")]
    error: Option<ReflectionError>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Files {
    #[prost(bytes = "vec", repeated, tag = "1")]
    files: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Services {
    #[prost(message, repeated, tag = "1")]
    services: Vec<Named>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReflectionError {
    #[prost(int32, tag = "1")]
    code: i32,
}

async fn reflection(rig: &mut Rig) -> Result {
    use crate::proxy::client::Came;
    rig.ready().await?;
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let mut call = rig.client().await?.begin(path, &[]);
    let asked = [
        ReflectionRequest {
            list: Some(String::new()),
            symbol: None,
        },
        ReflectionRequest {
            list: None,
            symbol: Some("no.Such".into()),
        },
        ReflectionRequest {
            list: None,
            symbol: Some(Service::Value.name()),
        },
    ];
    let mut answers = Vec::new();
    for request in asked {
        call.send(request.encode_to_vec().into()).await;
        loop {
            match call.next().await {
                Came::Headers(_) => {}
                Came::Message(message) => {
                    let decoded = ReflectionResponse::decode(message);
                    let misfit = |error: prost::DecodeError| {
                        Fault::new("R17", "a reflection response", error.to_string())
                    };
                    answers.push(decoded.map_err(misfit)?);
                    break;
                }
                Came::End(end) => {
                    let expected = "a stream that goes on, also after an unknown symbol";
                    return Err(Fault::new("R17", expected, format!("{end:?}")));
                }
            }
        }
    }
    let services = answers[0].services.clone().unwrap_or_default().services;
    for service in Service::all() {
        if !services.iter().any(|one| one.name == service.name()) {
            return Err(Fault::new("R17", service.name(), format!("{services:?}")));
        }
    }
    // An error, or an answer without files.
    let unknown = answers[1]
        .files
        .as_ref()
        .is_none_or(|one| one.files.is_empty());
    let known = answers[2]
        .files
        .as_ref()
        .is_some_and(|one| !one.files.is_empty());
    if unknown && known {
        return Ok(());
    }
    let expected = "no files for a symbol that is unknown, and some for one that is known";
    Err(Fault::new("R17", expected, format!("{answers:?}")))
}

/// One HTTP/1.1 exchange: the status and the body.
async fn post(address: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|one| one.parse().ok());
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status.unwrap_or(0), body.to_owned()))
}

async fn json(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let key = rig.entity(Service::Value);
    rig.wait_for("an HTTP answer");
    let clients = rig.clients.clone();
    let path = format!("/{}/Process", key.0.name());
    let cases = [
        (
            format!("{{\"id\":\"{}\",\"steps\":[{{\"set\":\"json\"}}]}}", key.1),
            200,
            "json",
        ),
        (
            format!(
                "{{\"id\":\"{}\",\"steps\":[{{\"fail\":{{\"code\":5,\"message\":\"nobody\"}}}}]}}",
                key.1
            ),
            404,
            "nobody",
        ),
        ("{\"nothing\":1}".to_owned(), 400, ""),
    ];
    for (body, status, text) in cases {
        let exchange = post(&clients, &path, &body);
        tokio::pin!(exchange);
        let answer = loop {
            let event = tokio::select! {
                biased;
                answer = &mut exchange => break answer,
                event = rig.event() => event?,
            };
            rig.take(event).await?;
        };
        let answer = answer.map_err(|error| Fault::new("R17", "an answer", error.to_string()))?;
        if answer.0 != status || !answer.1.contains(text) {
            let expected = format!("status {status} with {text:?}");
            return Err(Fault::new("R17", expected, format!("{answer:?}")));
        }
    }
    Ok(())
}

fn send(text: &str, times: u32) -> step::Step {
    step::Step::Send(Send {
        text: text.into(),
        times,
        pause_ms: 0,
    })
}

fn message(steps: Vec<step::Step>) -> bytes::Bytes {
    request("", steps).encode_to_vec().into()
}

async fn shapes(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let pending = rig
        .begin(Service::Action, "Unary", vec![append("a")])
        .await?;
    text_is("R55", &reply_of(&rig.answer(pending).await?)?, "a")?;
    let mut pending = rig
        .begin_with(Service::Action, "Collect", None, &[])
        .await?;
    for word in ["a", "b", "c"] {
        pending.call.send(message(vec![append(word)])).await;
    }
    pending.call.half_close();
    text_is("R60", &reply_of(&rig.answer(pending).await?)?, "abc")?;
    let pending = rig
        .begin(Service::Action, "Spread", vec![send("x", 5)])
        .await?;
    let answer = rig.answer(pending).await?;
    ok(&answer)?;
    in_order(&answer.messages, 5)?;
    let mut pending = rig
        .begin_with(Service::Action, "Converse", None, &[])
        .await?;
    for _ in 0..3 {
        pending.call.send(message(vec![send("y", 1)])).await;
        rig.hears(&mut pending).await?;
    }
    pending.call.half_close();
    ok(&rig.answer(pending).await?)
}

fn in_order(messages: &[bytes::Bytes], count: u64) -> Result {
    let numbers = messages.iter().map(|one| Reply::decode(one.clone()));
    let numbers: Vec<u64> = numbers.map(|one| one.unwrap_or_default().count).collect();
    if numbers == (1..=count).collect::<Vec<_>>() {
        return Ok(());
    }
    Err(Fault::new(
        "R60",
        format!("replies 1 to {count}"),
        format!("{numbers:?}"),
    ))
}

async fn credit(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let mut pending = rig
        .begin_with(Service::Action, "Collect", None, &[])
        .await?;
    for _ in 0..200 {
        pending.call.send(message(vec![append("m")])).await;
    }
    pending.call.half_close();
    text_is(
        "R61",
        &reply_of(&rig.answer(pending).await?)?,
        &"m".repeat(200),
    )?;
    let pending = rig
        .begin(Service::Action, "Spread", vec![send("x", 500)])
        .await?;
    let answer = rig.answer(pending).await?;
    ok(&answer)?;
    in_order(&answer.messages, 500)
}

async fn goes_away(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let mut pending = rig
        .begin(Service::Action, "Spread", vec![send("x", 1), hang()])
        .await?;
    rig.hears(&mut pending).await?;
    drop(pending);
    rig.wait_for("a Cancel");
    // The player forgets what was cancelled.
    while !rig.seats.iter().all(crate::proxy::player::Seat::is_idle) {
        rig.step().await?;
    }
    rig.served().await
}

async fn headers(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let header = |name: &str, value: &'static [u8]| {
        step::Step::SetHeader(Header {
            name: name.into(),
            value: value.into(),
        })
    };
    let steps = vec![
        step::Step::ShowHeader("x-tck".into()),
        step::Step::ShowHeader("x-tck-bin".into()),
        step::Step::ShowHeader("x-other".into()),
        header("x-reply", b"text"),
        header("x-reply-bin", b"\x08\x08"),
    ];
    let body = Some(request("", steps).encode_to_vec());
    let given = [("x-tck", "one"), ("x-tck-bin", "CAg="), ("x-other", "no")];
    let pending = rig
        .begin_with(Service::Action, "Unary", body, &given)
        .await?;
    let answer = rig.answer(pending).await?;
    let shown: Vec<_> = reply_of(&answer)?
        .headers
        .into_iter()
        .map(|one| one.value)
        .collect();
    if shown != [&b"one"[..], b"\x08\x08"] {
        return Err(Fault::new(
            "R20",
            "x-tck and x-tck-bin",
            format!("{shown:?}"),
        ));
    }
    let value = |name: &str| answer.headers.get(name).and_then(|one| one.to_str().ok());
    let binary = value("x-reply-bin").map(|one| one.trim_end_matches('='));
    if value("x-reply") == Some("text") && binary == Some("CAg") {
        return Ok(());
    }
    Err(Fault::new(
        "R23",
        "x-reply and x-reply-bin",
        format!("{:?}", answer.headers),
    ))
}

async fn failures(rig: &mut Rig) -> Result {
    rig.ready().await?;
    for service in [
        Service::Action,
        Service::Value,
        Service::Events,
        Service::Actor,
    ] {
        let mut key = rig.entity(service);
        if service == Service::Action {
            key.1.clear();
        }
        for code in 1..=16_u16 {
            let steps = vec![
                append("no"),
                fail(i32::from(code), "not só", &["why", "so"]),
            ];
            let body = Some(request(&key.1, steps).encode_to_vec());
            let method = service.methods()[0];
            let pending = rig.begin_with(service, method, body, &[]).await?;
            let answer = rig.answer(pending).await?;
            let end = &answer.end;
            let status = end
                .details
                .clone()
                .and_then(|one| RpcStatus::decode(one).ok());
            let details = status.map_or(0, |status| status.details.len());
            if end.status != code || end.message != "not só" || details != 2 {
                let expected = format!("status {code} \"not só\" with two details");
                return Err(Fault::new("R23", expected, format!("{end:?}")));
            }
        }
        if service != Service::Action {
            text_is("R23", &rig.ask(&key, vec![]).await?, "")?;
        }
    }
    Ok(())
}

#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

async fn texts(rig: &mut Rig, service: Service) -> Result {
    rig.ready().await?;
    let key = rig.entity(service);
    let mut text = String::new();
    for number in 0..12 {
        text += &number.to_string();
        let steps = vec![append(&number.to_string())];
        text_is("R50", &rig.ask(&key, steps).await?, &text)?;
        // R40: the next one is opened with what is stored.
        if number % 3 == 0 {
            rig.seats[0].let_go(&key).await;
        }
    }
    rig.ask(&key, vec![delete()]).await?;
    rig.seats[0].let_go(&key).await;
    text_is("R50", &rig.ask(&key, vec![]).await?, "")?;
    text_is("R50", &rig.ask(&key, vec![append("again")]).await?, "again")?;
    rig.seats[0].let_go(&key).await;
    text_is("R50", &rig.ask(&key, vec![]).await?, "again")
}

async fn tags(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let key = rig.entity(Service::Actor);
    let tag = |name: &str, value: &str| {
        step::Step::SetTag(SetTag {
            name: name.into(),
            value: value.into(),
        })
    };
    rig.ask(&key, vec![tag("a", "1"), tag("b", "2")]).await?;
    rig.seats[0].let_go(&key).await;
    rig.ask(&key, vec![tag("a", ""), tag("c", "3")]).await?;
    rig.seats[0].let_go(&key).await;
    let tags = rig.ask(&key, vec![]).await?.tags;
    if tags.keys().collect::<Vec<_>>() == ["b", "c"] {
        return Ok(());
    }
    Err(Fault::new("R54", "tags b and c", format!("{tags:?}")))
}

async fn let_go(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let key = rig.entity(Service::Value);
    for number in 0..50 {
        let word = number.to_string();
        // The next request crosses Closed.
        let pending = rig.begin_entity(&key, vec![set(&word)]).await?;
        rig.seats[0].let_go(&key).await;
        text_is("R42", &reply_of(&rig.answer(pending).await?)?, &word)?;
    }
    Ok(())
}

async fn pipeline(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let keys = [Service::Value, Service::Events, Service::Actor].map(|one| rig.entity(one));
    for key in keys {
        let mut all = Vec::new();
        for number in 0..50 {
            let steps = match number % 7 {
                6 => vec![append("no"), fail(9, "not so", &[])],
                _ => vec![append("x")],
            };
            all.push((number, rig.begin_entity(&key, steps).await?));
        }
        for (number, pending) in all {
            let answer = rig.answer(pending).await?;
            if number % 7 == 6 {
                refused(&answer, "R23", 9, "")?;
            } else {
                ok(&answer)?;
            }
        }
        let count = rig.ask(&key, vec![]).await?.count;
        if count != 43 {
            return Err(Fault::new("R21", "43 of 50 that count", count.to_string()));
        }
    }
    Ok(())
}

async fn data(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let mut random = Random(rig.seed);
    for (data_type, ..) in DATA {
        let key = rig.entity(Service::Data(data_type));
        for number in 0..12 {
            let step = crate::workload::data_step(&mut random, data_type);
            rig.ask_data(&key, vec![step]).await?;
            if number % 3 == 0 {
                // The player holds the opening against what was decided.
                rig.seats[0].let_go(&key).await;
                rig.served().await?;
            }
        }
    }
    Ok(())
}

async fn data_let_go(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let key = rig.entity(Service::Data(DataType::Counter));
    for _ in 0..200 {
        rig.ask_data(&key, vec![data_step::Step::Change(1)]).await?;
        // The next request crosses Closed.
        rig.seats[0].let_go(&key).await;
    }
    Ok(())
}

async fn watch(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let key = rig.entity(Service::Data(DataType::Counter));
    let mut watch = rig.begin_data(&key, "Watch", vec![]).await?;
    let number = |message: bytes::Bytes| Value::decode(message).unwrap_or_default().number;
    let mut heard = vec![number(rig.hears(&mut watch).await?)];
    for _ in 0..3 {
        rig.ask_data(&key, vec![data_step::Step::Change(2)]).await?;
        heard.push(number(rig.hears(&mut watch).await?));
    }
    if heard != [0, 2, 4, 6] {
        return Err(Fault::new("R53", "0, 2, 4, 6", format!("{heard:?}")));
    }
    drop(watch);
    rig.ask_data(&key, vec![data_step::Step::Change(2)]).await?;
    Ok(())
}

async fn data_delete(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let key = rig.entity(Service::Data(DataType::Set));
    rig.ask_data(&key, vec![data_step::Step::Add("a".into())])
        .await?;
    let nothing = crate::proto::model::Nothing {};
    rig.ask_data(&key, vec![data_step::Step::Delete(nothing)])
        .await?;
    let pending = rig.begin_data(&key, "Process", vec![]).await?;
    let answer = rig.answer(pending).await?;
    if answer.end.status != 0 {
        return Ok(());
    }
    Err(Fault::new(
        "R52",
        "a refusal: it is gone for ever",
        "a reply",
    ))
}

async fn forward(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let target = rig.entity(Service::Two);
    for service in [Service::Value, Service::Events] {
        let key = rig.entity(service);
        let to = two(&target.1, vec![append("f")]);
        let steps = vec![append("own"), step::Step::Forward(to)];
        let pending = rig.begin_entity(&key, steps).await?;
        let reply = reply_of(&rig.answer(pending).await?)?;
        if !reply.text.starts_with('f') {
            return Err(Fault::new(
                "R28",
                "the target's reply",
                format!("{reply:?}"),
            ));
        }
        text_is("R28", &rig.ask(&key, vec![]).await?, "own")?;
    }
    let steps = vec![step::Step::Forward(two(&target.1, vec![append("f")]))];
    let pending = rig.begin(Service::Action, "Unary", steps).await?;
    text_is("R28", &reply_of(&rig.answer(pending).await?)?, "fff")
}

async fn large(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let key = rig.entity(Service::Value);
    let text = "large ".repeat(500_000);
    let mut others = Vec::new();
    let pending = rig.begin_entity(&key, vec![set(&text)]).await?;
    for _ in 0..20 {
        let other = rig.entity(Service::Two);
        others.push(rig.begin_entity(&other, vec![append("small")]).await?);
    }
    for other in others {
        ok(&rig.answer(other).await?)?;
    }
    let answer = rig.answer(pending).await?;
    if reply_of(&answer)?.text != text {
        return Err(Fault::new("R81", "the text as it was", "another"));
    }
    rig.seats[0].let_go(&key).await;
    let before = rig.seats[0].function.pieces;
    if rig.ask(&key, vec![]).await?.text != text {
        return Err(Fault::new("R81", "the text as it was", "another"));
    }
    if rig.seats[0].function.pieces > before {
        return Ok(());
    }
    Err(Fault::new(
        "R81",
        "an opening in pieces",
        "one in one piece",
    ))
}

async fn passivation(rig: &mut Rig) -> Result {
    rig.leave().await?;
    let mut contract = contract();
    for component in &mut contract.components {
        if component.service == Service::Two.name() {
            component.passivate_after = Some(prost_types::Duration {
                seconds: 0,
                nanos: 50_000_000,
            });
        }
    }
    let mut function = rig.play_with(hello(contract)).await?;
    let key = rig.entity(Service::Two);
    let mut last = 0;
    for _ in 0..3 {
        let pending = rig.begin_entity(&key, vec![]).await?;
        let command = function.command("the command").await?;
        if command.opening.is_none() || command.incarnation == last {
            let came = format!("{command:?}");
            return Err(Fault::new(
                "R41",
                "another incarnation with an opening",
                came,
            ));
        }
        last = command.incarnation;
        let decision = crate::proxy::rig::saying(command.id, "ok");
        let frame = crate::proto::v1::function_frame::Frame::Decision(decision);
        function.send(frame).await;
        ok(&pending.call.answer().await)?;
        rig.wait_for("Close of an idle incarnation");
        function.closes("R41", last).await?;
    }
    rig.dismiss(function).await
}
