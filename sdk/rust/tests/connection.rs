//! The life of a connection: Hello, refusals, chunks, reconnects, stops.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use firn_sdk::prost::Message;
use firn_sdk::protocol::{
    Chunk, Close, Closed, Finding as WireFinding, FirnBatch, FirnFrame, Goodbye, Notice, Refusal,
    decision::Answer, notice,
};
use firn_sdk::{Code, ConnectionEvent, Finding, Hook, RunError, Severity};
use support::contract::*;
use support::*;
use tonic::Status;

/// Remembers what it hears.
#[derive(Clone, Default)]
struct Ear {
    heard: Arc<Mutex<Vec<String>>>,
}

impl Ear {
    fn hears(&self, text: String) {
        self.heard.lock().unwrap().push(text);
    }

    fn all(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

impl Hook for Ear {
    fn finding(&self, finding: &Finding, severity: Severity) {
        self.hears(format!("{severity:?} {finding}"));
    }

    fn connection(&self, event: ConnectionEvent<'_>) {
        self.hears(match event {
            ConnectionEvent::Connected { firn, .. } => format!("connected {firn}"),
            ConnectionEvent::Lost { cause } => format!("lost {cause}"),
            _ => "ended".to_owned(),
        });
    }

    fn before(&self, handler: firn_sdk::Handler<'_>) {
        self.hears(format!("before {} {}", handler.method, handler.entity_id));
    }

    fn after(&self, handler: firn_sdk::Handler<'_>, failure: Option<Code>) {
        self.hears(format!("after {} {failure:?}", handler.method));
    }

    fn crashed(&self, handler: firn_sdk::Handler<'_>, detail: &str) {
        self.hears(format!("crashed {} {detail}", handler.method));
    }
}

fn refusal() -> In {
    In::Refusal(Refusal {
        findings: vec![WireFinding {
            code: "FIRN-2006".into(),
            text: "no such field".into(),
            remedy: "name another".into(),
            ..WireFinding::default()
        }],
    })
}

#[tokio::test]
async fn hello_tells_the_contract_and_the_token() {
    let mut firn = FakeFirn::listen().await;
    let running = function()
        .token("secret")
        .address(&firn.address)
        .start()
        .unwrap();
    let (connection, hello) = firn.welcome_with(welcome()).await;
    let token = connection.headers.get("authorization").unwrap();
    assert_eq!(token, "Bearer secret"); // R3
    let info = hello.info.unwrap();
    assert_eq!((&*info.name, &*info.version), ("test", "1"));
    assert!(info.sdk.starts_with("firn-rust ") && !info.process.is_empty());
    let components = hello.contract.unwrap().components;
    let services: Vec<_> = components.iter().map(|it| it.service.as_str()).collect();
    assert_eq!(
        services,
        ["t.Value", "t.Journal", "t.Ticker", "t.Board", "t.Plain"]
    );
    let journal = &components[1];
    assert_eq!(journal.events, ["t.Appended"]);
    assert_eq!((&*journal.state, journal.snapshot_every), ("t.Text", 5));
    assert_eq!(journal.id, ["id"]);
    assert_eq!(components[4].headers, ["x-in"]);
    running.stop();
}

#[tokio::test]
async fn a_refused_function_tells_why_and_dials_again() {
    let mut firn = FakeFirn::listen().await;
    let ear = Ear::default();
    let running = function()
        .hook(ear.clone())
        .address(&firn.address)
        .start()
        .unwrap();
    let mut first = firn.accept().await;
    assert!(matches!(first.next().await, Out::Hello(_)));
    first.send([refusal()]).await;
    first
        .end(Some(Status::failed_precondition("refused")))
        .await;
    let mut second = firn.welcome().await; // R4
    assert_eq!(
        second
            .decide(command(1, AT_ECHO, 0, &ask("x")))
            .await
            .command,
        1
    );
    assert_eq!(
        ear.all(),
        [
            "Error FIRN-2006: no such field; name another",
            "connected fake",
            "before Echo ",
            "after Echo None"
        ]
    );
    running.stop();
}

#[tokio::test]
async fn a_refusal_is_an_error_where_that_was_asked_for() {
    let mut firn = FakeFirn::listen().await;
    let running = function()
        .fail_when_refused()
        .address(&firn.address)
        .start();
    let mut running = running.unwrap();
    let mut first = firn.accept().await;
    first.next().await;
    first.send([refusal()]).await;
    let error = soon(running.ended()).await.unwrap_err();
    assert!(error.to_string().contains("FIRN-2006"), "{error}");
    assert!(matches!(error, RunError::Refused { findings } if findings.len() == 1));
}

#[tokio::test]
async fn a_status_with_a_code_is_a_refusal() {
    let mut firn = FakeFirn::listen().await;
    let ear = Ear::default();
    let function = function().hook(ear.clone()).fail_when_refused();
    let mut running = function.address(&firn.address).start().unwrap();
    let mut first = firn.accept().await;
    first.next().await;
    let mut status = Status::unauthenticated("wrong token");
    status
        .metadata_mut()
        .insert("firn-code", "FIRN-2025".parse().unwrap());
    first.end(Some(status)).await;
    let error = soon(running.ended()).await.unwrap_err();
    assert!(
        error.to_string().contains("FIRN-2025: wrong token"),
        "{error}"
    );
}

#[tokio::test]
async fn a_lost_connection_is_dialed_again_and_begins_anew() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut first) = firn.serve(function()).await;
    let command_one = opening(command(1, AT_SET, 7, &ask("x")), "a", None);
    first.decide(command_one).await;
    first.end(Some(Status::unavailable("gone"))).await;
    let mut second = firn.welcome().await; // R7
    // What the first held is nobody's here (R42).
    let frames = [
        In::Command(command(1, AT_GET, 7, &ask(""))),
        In::Command(command(2, AT_ECHO, 0, &ask("x"))),
    ];
    second.send(frames).await;
    assert_eq!(second.decision().await.command, 2);
}

#[tokio::test]
async fn a_call_whose_connection_is_lost_fails_unavailable() {
    let mut firn = FakeFirn::listen().await;
    let (running, mut first) = firn.serve(function()).await;
    running.connected().await;
    let client = running.client();
    let call = tokio::spawn(async move { client.call(GET.with(ask(""))).await });
    assert!(matches!(first.next().await, Out::Call(_)));
    first.end(Some(Status::unavailable("gone"))).await;
    let failure = soon(call).await.unwrap().unwrap_err();
    assert_eq!(failure.code, Code::Unavailable);
}

#[tokio::test]
async fn a_stop_says_goodbye_and_lets_what_is_open_end() {
    let mut firn = FakeFirn::listen().await;
    let (mut running, mut connection) = firn.serve(function()).await;
    let first = opening(command(1, AT_SLOW, 7, &ask("x")), "a", None);
    connection.send([In::Command(first)]).await;
    assert!(matches!(connection.next().await, Out::Call(_)));
    running.stop();
    assert_eq!(connection.next().await, Out::Goodbye(Goodbye {})); // R90
    let result = firn_sdk::protocol::CallResult {
        id: 1,
        ..Default::default()
    };
    connection.send([In::CallResult(result)]).await;
    assert_eq!(connection.decision().await.command, 1);
    connection.send([In::Close(Close { incarnation: 7 })]).await;
    assert_eq!(
        connection.next().await,
        Out::Closed(Closed { incarnation: 7 })
    );
    connection.end(None).await;
    soon(running.ended()).await.unwrap();
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let mut firn = FakeFirn::listen().await;
    let bounded = function().stop_within(Duration::from_millis(20));
    let (mut running, mut connection) = firn.serve(bounded).await;
    let first = opening(command(1, AT_SLOW, 7, &ask("x")), "a", None);
    connection.send([In::Command(first)]).await;
    assert!(matches!(connection.next().await, Out::Call(_)));
    running.stop();
    soon(running.ended()).await.unwrap();
}

#[tokio::test]
async fn a_stop_while_nobody_listens_ends_at_once() {
    let firn = FakeFirn::listen().await;
    let address = firn.address.clone();
    drop(firn);
    let mut running = function().address(address).start().unwrap();
    running.stop();
    soon(running.ended()).await.unwrap();
}

#[tokio::test]
async fn when_firn_stops_the_function_serves_to_the_end_and_dials_again() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut connection) = firn.serve(function()).await;
    let first = opening(command(1, AT_GET, 7, &ask("")), "a", None);
    connection.decide(first).await;
    connection
        .send([In::Goodbye(Goodbye {}), In::Close(Close { incarnation: 7 })])
        .await;
    assert_eq!(
        connection.next().await,
        Out::Closed(Closed { incarnation: 7 })
    );
    // R91: what Firn has accepted may still come.
    let second = opening(command(2, AT_GET, 8, &ask("")), "a", None);
    connection.decide(second).await;
    connection.end(None).await;
    firn.welcome().await;
}

/// A frame in chunks of so many bytes.
fn chunks(frame: In, transfer: u64, size: usize) -> Vec<In> {
    let bytes = FirnFrame { frame: Some(frame) }.encode_to_vec();
    let count = bytes.len().div_ceil(size);
    let pieces = bytes.chunks(size).enumerate();
    let chunk = |(at, data): (usize, &[u8])| {
        In::Chunk(Chunk {
            transfer,
            data: data.to_vec().into(),
            last: at + 1 == count,
            subject: 0,
        })
    };
    pieces.map(chunk).collect()
}

#[tokio::test]
async fn large_frames_travel_in_chunks_both_ways() {
    let mut firn = FakeFirn::listen().await;
    let running = function().address(&firn.address).start().unwrap();
    let mut grants = welcome();
    grants.chunk_bytes = 1000;
    let (mut connection, _) = firn.welcome_with(grants).await;
    let large = "x".repeat(5000);
    for chunk in chunks(In::Command(command(1, AT_ECHO, 0, &ask(&large))), 1, 999) {
        connection.send([chunk]).await;
    }
    connection
        .send([In::Command(command(2, AT_ECHO, 0, &ask("small")))])
        .await;
    let (mut whole, mut decided) = (Vec::new(), Vec::new());
    while decided.len() < 2 {
        match connection.next().await {
            Out::Chunk(chunk) => {
                assert!(chunk.data.len() <= 1000); // R81
                assert_eq!(chunk.subject, 1);
                whole.extend_from_slice(&chunk.data);
                if chunk.last {
                    let frame = firn_sdk::protocol::FunctionFrame::decode(&*whole).unwrap();
                    let Some(Out::Decision(decision)) = frame.frame else {
                        panic!("no decision")
                    };
                    decided.push(decision);
                }
            }
            Out::Decision(decision) => decided.push(decision),
            other => panic!("{other:?}"),
        }
    }
    let large_one = decided.iter().find(|it| it.command == 1).unwrap();
    let Some(Answer::Reply(reply)) = &large_one.answer else {
        panic!("no reply")
    };
    assert_eq!(Text::decode(reply.clone()).unwrap().text, large);
    running.stop();
}

#[tokio::test]
async fn what_is_too_large_fails_alone() {
    let mut firn = FakeFirn::listen().await;
    let running = function().address(&firn.address).start().unwrap();
    let mut grants = welcome();
    (grants.chunk_bytes, grants.frame_bytes) = (1000, 2000);
    let (mut connection, _) = firn.welcome_with(grants).await;
    let large = command(1, AT_ECHO, 0, &ask(&"x".repeat(3000)));
    let Some(Answer::Failure(failure)) = connection.decide(large).await.answer else {
        panic!("no failure") // R82
    };
    assert_eq!(Code::from_number(failure.code), Code::ResourceExhausted);
    // Events that could not be told leave the entity ahead.
    let large = command(2, AT_APPEND, 7, &ask(&"y".repeat(100)));
    let decision = connection.decide(opening(large, "a", None)).await;
    assert!(matches!(decision.answer, Some(Answer::Failure(_))));
    assert_eq!(
        connection.next().await,
        Out::Closed(Closed { incarnation: 7 })
    );
    assert_eq!(
        connection
            .decide(command(3, AT_ECHO, 0, &ask("x")))
            .await
            .command,
        3
    );
    running.stop();
}

#[tokio::test]
async fn chunks_that_are_no_frame_end_the_connection() {
    let mut firn = FakeFirn::listen().await;
    let (_running, connection) = firn.serve(function()).await;
    let broken = In::Chunk(Chunk {
        transfer: 1,
        data: vec![0xff; 10].into(),
        last: true,
        subject: 0,
    });
    connection.send([broken]).await;
    firn.welcome().await; // R83
}

#[tokio::test]
async fn frames_of_unknown_kinds_are_ignored() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut connection) = firn.serve(function()).await;
    let unknown = FirnFrame { frame: None };
    connection
        .send_batch(FirnBatch {
            frames: vec![unknown.clone(), unknown],
        })
        .await; // R6
    let notice = Notice {
        finding: Some(WireFinding::default()),
        severity: notice::Severity::Warning.into(),
        command: 0,
    };
    connection.send([In::Notice(notice)]).await;
    assert_eq!(
        connection
            .decide(command(1, AT_ECHO, 0, &ask("x")))
            .await
            .command,
        1
    );
}

#[tokio::test]
async fn answers_to_one_batch_go_in_one_batch() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut connection) = firn.serve(function()).await;
    let commands = (1..=500).map(|id| In::Command(command(id, AT_ECHO, 0, &ask("x"))));
    connection.send(commands).await;
    for id in 1..=500 {
        assert_eq!(connection.decision().await.command, id);
    }
    assert_eq!(connection.batches, [1, 500]); // R8: Hello, then all at once.
}

#[tokio::test]
async fn a_panic_is_told_in_full_to_the_hook_only() {
    let mut firn = FakeFirn::listen().await;
    let ear = Ear::default();
    let (_running, mut connection) = firn.serve(function().hook(ear.clone())).await;
    let first = opening(command(1, AT_SET, 7, &ask("panic")), "a", None);
    connection.decide(first).await;
    let expected = [
        "connected fake",
        "before Set a",
        "crashed Set a secret",
        "after Set Some(Internal)",
    ];
    assert_eq!(ear.all(), expected);
}

#[tokio::test]
async fn several_connections_are_one_process() {
    let mut firn = FakeFirn::listen().await;
    let running = function()
        .connections(2)
        .address(&firn.address)
        .start()
        .unwrap();
    let (_one, first) = firn.welcome_with(welcome()).await;
    let (_two, second) = firn.welcome_with(welcome()).await;
    assert_eq!(first.info.unwrap().process, second.info.unwrap().process);
    assert_eq!(first.contract, second.contract); // R17
    running.stop();
}

#[test]
fn wrong_settings_are_told_before_anything_is_dialed() {
    let error = function().address("nowhere").start().unwrap_err();
    assert!(error.to_string().contains("unix:/path"), "{error}");
    if cfg!(not(feature = "tls")) {
        let error = function().address("https://a:1").start().unwrap_err();
        assert!(error.to_string().contains("feature `tls`"), "{error}");
    }
}
