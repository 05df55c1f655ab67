//! The client port: HTTP and JSON, gRPC-Web, reflection.

use prost::Message as _;

use super::{Check, KALIX, Result, check, only};
use crate::families::dialect::Family;
use crate::families::wire;
use crate::fault::Fault;
use crate::proxy::client::Came;
use crate::proxy::families::contract::{asked, full, pack, said, services};
use crate::proxy::families::http::{Request, Response};
use crate::proxy::families::message::{Reply, failure, failure_with};
use crate::proxy::families::reflection::{Answer, Found, Question, Wanted};
use crate::proxy::families::stream::{act_failed, acted, acted_with};
use crate::proxy::families::world::{Key, World};

pub(super) const CHECKS: &[Check] = &[
    check(
        "http/method_without_a_rule_is_at_its_name",
        &["F160", "F162"],
        |world| Box::pin(by_name(world)),
    ),
    check("http/rules_fill_the_message", &["F161"], |world| {
        Box::pin(rules(world))
    }),
    check("http/path_wins_over_the_body", &["F161"], |world| {
        Box::pin(path_wins(world))
    }),
    check("http/json_is_exact_to_the_byte", &["F162"], |world| {
        Box::pin(exact(world))
    }),
    check(
        "http/malformed_requests_are_the_clients_fault",
        &["F163"],
        |world| Box::pin(malformed(world)),
    ),
    check("http/failures_are_their_text", &["F164", "F120"], |world| {
        Box::pin(failures(world))
    }),
    check("http/streams_are_lines_or_events", &["F165"], |world| {
        Box::pin(streams(world))
    }),
    check("http/http_body_is_its_bytes", &["F166"], |world| {
        Box::pin(raw(world))
    }),
    only(
        KALIX,
        check("http/function_chooses_the_status", &["F167"], |world| {
            Box::pin(status(world))
        }),
    ),
    check(
        "http/headers_of_a_reply_reach_the_client",
        &["F169"],
        |world| Box::pin(headers(world)),
    ),
    check("web/calls_and_failures", &["F170"], |world| {
        Box::pin(web(world))
    }),
    check(
        "reflection/services_symbols_and_files",
        &["F168"],
        |world| Box::pin(reflection(world)),
    ),
];

#[derive(Clone, PartialEq, prost::Message)]
struct Part {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "2")]
    count: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Shape {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(int32, tag = "2")]
    small_number: i32,
    #[prost(int64, tag = "3")]
    number: i64,
    #[prost(uint64, tag = "4")]
    large: u64,
    #[prost(bool, tag = "5")]
    flag: bool,
    #[prost(bytes = "vec", tag = "6")]
    raw: Vec<u8>,
    #[prost(double, tag = "7")]
    real: f64,
    #[prost(int32, tag = "8")]
    color: i32,
    #[prost(message, optional, tag = "9")]
    part: Option<Part>,
    #[prost(string, repeated, tag = "10")]
    words: Vec<String>,
    #[prost(btree_map = "string, int64", tag = "11")]
    counts: std::collections::BTreeMap<String, i64>,
    #[prost(string, optional, tag = "12")]
    left: Option<String>,
}

fn shape(shape: &Shape) -> prost_types::Any {
    pack("Shape", shape.encode_to_vec())
}

fn failed(requirement: &'static str, error: &std::io::Error) -> Fault {
    Fault::new(requirement, "an HTTP answer", error.to_string())
}

/// Sends a request while the next call of an action gets it, and is answered with this.
async fn acting(
    world: &mut World,
    request: Request,
    answers: Vec<wire::ActionResponse>,
) -> Result<(Response, wire::ActionCommand)> {
    let shown = format!("{} {}", request.verb, request.path);
    world.wait_for(&format!("the answer to {shown}"));
    let address = world.clients.clone();
    let exchange = request.send(&address);
    tokio::pin!(exchange);
    let mut acting = tokio::select! {
        biased;
        answer = &mut exchange => {
            let answer = answer.map_err(|error| failed("F161", &error))?;
            let expected = format!("a call of the action for {shown}");
            return Err(Fault::new("F161", expected, format!("{} {}", answer.status, answer.text())));
        }
        acting = world.action() => acting?,
    };
    let command = match acting.next().await? {
        crate::proxy::families::stream::ActIn::Command(command) => command,
        other => return Err(Fault::new("F150", "a command", format!("{other:?}"))),
    };
    for answer in answers {
        acting.send(answer).await;
    }
    acting.end(0, "");
    let answer = exchange.await.map_err(|error| failed("F161", &error))?;
    Ok((answer, command))
}

/// Sends a request while the next entity gets it as this command, and answers so.
async fn entity(
    world: &mut World,
    request: Request,
    key: &Key,
    text: &str,
    reply: Reply,
) -> Result<Response> {
    let shown = format!("{} {}", request.verb, request.path);
    world.wait_for(&format!("the answer to {shown}"));
    let address = world.clients.clone();
    let exchange = request.send(&address);
    tokio::pin!(exchange);
    let mut stream = tokio::select! {
        biased;
        answer = &mut exchange => {
            let answer = answer.map_err(|error| failed("F160", &error))?;
            let expected = format!("a stream for {shown}");
            return Err(Fault::new("F160", expected, format!("{} {}", answer.status, answer.text())));
        }
        stream = world.opened(key, key.nothing()) => stream?,
    };
    let command = stream.command("F160").await?;
    if command.payload != Some(asked(&key.id, text)) {
        let came = format!("{:?}", command.payload);
        return Err(Fault::new(
            "F161",
            format!("{:?}", asked(&key.id, text)),
            came,
        ));
    }
    stream.reply(reply).await;
    exchange.await.map_err(|error| failed("F160", &error))
}

fn is_json(requirement: &'static str, answer: &Response, expected: &str) -> Result {
    let text = answer.text().replace(":0.0,", ":0,");
    let kind = answer.header("content-type");
    if answer.status == 200 && text == expected && kind == "application/json" {
        return Ok(());
    }
    let expected = format!("200 application/json {expected}");
    let came = format!("{} {kind} {text}", answer.status);
    Err(Fault::new(requirement, expected, came))
}

async fn by_name(world: &mut World) -> Result {
    for service in ["ValueTwo", "EventsTwo"] {
        let key = world.key(service);
        let path = format!("/{}/Call", full(service));
        let body = format!(r#"{{"id":"{}","text":"x"}}"#, key.id);
        let request = Request::new("POST", path).json(&body);
        let reply = Reply::to(1).with(said("two"));
        let answer = entity(world, request, &key, "x", reply).await?;
        is_json("F160", &answer, r#"{"text":"two"}"#)?;
    }
    Ok(())
}

async fn rules(world: &mut World) -> Result {
    let part = |name: &str, count| {
        Some(Part {
            name: name.to_owned(),
            count,
        })
    };
    let text = |text: &str| Shape {
        text: text.to_owned(),
        ..Shape::default()
    };
    let cases = [
        (
            Request::new("GET", "/tck/query/a%20b%2Fc"),
            "Query",
            text("a b/c"),
        ),
        (
            Request::new(
                "GET",
                "/tck/query/x?small_number=-5&number=-7&large=18446744073709551615&flag=true\
                 &words=one&words=two%26&part.name=n&part.count=3&real=1.5&raw=AP8%3D&left=l",
            ),
            "Query",
            Shape {
                small_number: -5,
                number: -7,
                large: u64::MAX,
                flag: true,
                words: vec!["one".into(), "two&".into()],
                part: part("n", 3),
                real: 1.5,
                raw: vec![0, 255],
                left: Some("l".into()),
                ..text("x")
            },
        ),
        (
            Request::new("PUT", "/tck/body/x?number=3").json(r#"{"name":"n","count":"4"}"#),
            "Body",
            Shape {
                number: 3,
                part: part("n", 4),
                ..text("x")
            },
        ),
        (
            Request::new("PATCH", "/tck/body/x/9").json(r#"{"name":"n"}"#),
            "Body",
            Shape {
                number: 9,
                part: part("n", 0),
                ..text("x")
            },
        ),
        (
            Request::new("DELETE", "/tck/deep/shelf/a/b%20c"),
            "Deep",
            text("shelf/a/b c"),
        ),
        (
            Request::new("POST", format!("/{}/Plain", full("Front"))).json(
                r#"{"smallNumber":5,"number":"6","large":7,"color":"RED","counts":{"a":"1"},"raw":"AP8="}"#,
            ),
            "Plain",
            Shape {
                small_number: 5,
                number: 6,
                large: 7,
                color: 1,
                counts: [("a".to_owned(), 1)].into(),
                raw: vec![0, 255],
                ..Shape::default()
            },
        ),
    ];
    for (request, method, expected) in cases {
        let shown = format!("{} {}", request.verb, request.path);
        let answers = vec![acted(shape(&Shape::default()))];
        let (answer, command) = acting(world, request, answers).await?;
        let payload = command.payload.unwrap_or_default();
        let came = Shape::decode(&*payload.value).unwrap_or_default();
        let (service, name) = (command.service_name, command.name);
        if came != expected || service != full("Front") || name != method {
            let expected = format!("{shown} as {method} {expected:?}");
            return Err(Fault::new(
                "F161",
                expected,
                format!("{service}/{name} {came:?}"),
            ));
        }
        if answer.status != 200 {
            return Err(Fault::new("F161", "200", format!("{answer:?}")));
        }
    }
    Ok(())
}

async fn path_wins(world: &mut World) -> Result {
    for (service, path) in [("Value", "value"), ("Events", "events"), ("Data", "data")] {
        let key = world.key(service);
        let path = format!("/tck/{path}/{}", key.id);
        let request = Request::new("POST", path).json(r#"{"id":"other","text":"x"}"#);
        let reply = Reply::to(1).with(said("a \"b\"\n"));
        let answer = entity(world, request, &key, "x", reply).await?;
        is_json("F161", &answer, r#"{"text":"a \"b\"\n"}"#)?;
    }
    Ok(())
}

async fn exact(world: &mut World) -> Result {
    let part = Part {
        name: "n".into(),
        count: 4,
    };
    let full_shape = Shape {
        text: "ü\u{1}".into(),
        small_number: -5,
        number: -6,
        large: u64::MAX,
        flag: true,
        raw: vec![0, 255],
        real: 1.5,
        color: 1,
        part: Some(part),
        words: vec!["a".into()],
        counts: [("k".to_owned(), 2)].into(),
        left: Some(String::new()),
    };
    let cases = [
        (
            Shape::default(),
            r#"{"text":"","smallNumber":0,"number":"0","large":"0","flag":false,"raw":"","real":0,"color":"NONE","words":[],"counts":{}}"#,
        ),
        (
            full_shape,
            r#"{"text":"ü\u0001","smallNumber":-5,"number":"-6","large":"18446744073709551615","flag":true,"raw":"AP8=","real":1.5,"color":"RED","part":{"name":"n","count":"4"},"words":["a"],"counts":{"k":"2"},"left":""}"#,
        ),
    ];
    for (reply, expected) in cases {
        let path = format!("/{}/Plain", full("Front"));
        let request = Request::new("POST", path).json("{}");
        let (answer, _) = acting(world, request, vec![acted(shape(&reply))]).await?;
        is_json("F162", &answer, expected)?;
    }
    let whole = Shape {
        text: "not shown".into(),
        part: Some(Part {
            name: "n".into(),
            count: 0,
        }),
        ..Shape::default()
    };
    let request = Request::new("POST", "/tck/half").json("{}");
    let (answer, _) = acting(world, request, vec![acted(shape(&whole))]).await?;
    is_json("F162", &answer, r#"{"name":"n","count":"0"}"#)
}

async fn malformed(world: &mut World) -> Result {
    let post = |body: &str| Request::new("POST", "/tck/act").json(body);
    let cases = [
        (post("{"), 400),
        (post(r#"{"text":1}"#), 400),
        (post(r#"{"other":"x"}"#), 400),
        (post(r#"["x"]"#), 400),
        (Request::new("PATCH", "/tck/body/x/nine").json("{}"), 400),
        (Request::new("GET", "/tck/query/x?nothing=1"), 400),
        (Request::new("GET", "/tck/query/x?small_number=x"), 400),
        (Request::new("GET", "/tck/query/x?number=1&number=2"), 400),
        (Request::new("GET", "/tck/nowhere"), 404),
        (
            Request::new("POST", format!("/{}/Nothing", full("Act"))).json("{}"),
            404,
        ),
    ];
    for (request, status) in cases {
        let shown = format!("{request:?}");
        world.wait_for(&shown);
        let address = world.clients.clone();
        let answer = request.send(&address).await;
        let answer = answer.map_err(|error| failed("F163", &error))?;
        if answer.status != status {
            let expected = format!("{status} for {shown}");
            return Err(Fault::new("F163", expected, format!("{answer:?}")));
        }
    }
    Ok(())
}

fn is_failure(answer: &Response, status: u16, text: &str) -> Result {
    let kind = answer.header("content-type");
    if answer.status == status && answer.text() == text && kind.starts_with("text/plain") {
        return Ok(());
    }
    let expected = format!("{status} text/plain {text:?}");
    let came = format!("{} {kind} {:?}", answer.status, answer.text());
    Err(Fault::new("F164", expected, came))
}

async fn failures(world: &mut World) -> Result {
    let text = "no: 100% ünmöglich";
    for (service, path) in [("Value", "value"), ("Events", "events"), ("Data", "data")] {
        let key = world.key(service);
        let path = format!("/tck/{path}/{}", key.id);
        let request = Request::new("POST", path).json(r#"{"text":"x"}"#);
        let reply = Reply::to(1).failing(text);
        let answer = entity(world, request, &key, "x", reply).await?;
        is_failure(&answer, 500, text)?;
    }
    let request = || Request::new("POST", "/tck/act").json("{}");
    let answers = vec![act_failed(failure(0, text))];
    let (answer, _) = acting(world, request(), answers).await?;
    is_failure(&answer, 500, text)?;
    if world.is(Family::Cloudstate) {
        return Ok(());
    }
    for (code, status) in [
        (3, 400),
        (5, 404),
        (7, 403),
        (13, 500),
        (14, 503),
        (16, 401),
    ] {
        let answers = vec![act_failed(failure_with(code, text))];
        let (answer, _) = acting(world, request(), answers).await?;
        is_failure(&answer, status, text)?;
    }
    Ok(())
}

async fn streams(world: &mut World) -> Result {
    for (accept, expected) in [
        ("application/json", "{\"text\":\"1\"}\n{\"text\":\"2\"}\n"),
        (
            "text/event-stream",
            "data: {\"text\":\"1\"}\n\ndata: {\"text\":\"2\"}\n\n",
        ),
    ] {
        let request = Request::new("GET", "/tck/act/a/out?text=x").header("accept", accept);
        let answers = vec![acted(said("1")), acted(said("2"))];
        let (answer, command) = acting(world, request, answers).await?;
        if command.payload != Some(asked("a", "x")) {
            let came = format!("{:?}", command.payload);
            return Err(Fault::new("F161", "the request", came));
        }
        let kind = answer.header("content-type");
        // Spaces between events are free.
        let text = answer.text().replace("data:{", "data: {");
        if answer.status != 200 || text != expected || !kind.starts_with(accept) {
            let expected = format!("200 {accept} {expected:?}");
            let came = format!("{} {kind} {text:?}", answer.status);
            return Err(Fault::new("F165", expected, came));
        }
    }
    Ok(())
}

#[derive(Clone, PartialEq, prost::Message)]
struct HttpBody {
    #[prost(string, tag = "1")]
    content_type: String,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
}

async fn raw(world: &mut World) -> Result {
    let body = HttpBody {
        content_type: "image/test".into(),
        data: vec![0, 1, 0xff, b'\n'],
    };
    let payload = prost_types::Any {
        type_url: "type.googleapis.com/google.api.HttpBody".into(),
        value: body.encode_to_vec(),
    };
    let request = Request::new("GET", "/tck/raw/a");
    let (answer, _) = acting(world, request, vec![acted(payload)]).await?;
    let kind = answer.header("content-type");
    if answer.status == 200 && kind == body.content_type && answer.body == body.data {
        return Ok(());
    }
    let expected = "the bytes with their type";
    Err(Fault::new("F166", expected, format!("{answer:?}")))
}

async fn status(world: &mut World) -> Result {
    let headers = [("_kalix-http-code", "202"), ("x-one", "1")];
    let request = Request::new("POST", "/tck/act").json("{}");
    let answers = vec![acted_with(said("taken"), &headers)];
    let (answer, _) = acting(world, request, answers).await?;
    let is_hidden = answer.header("_kalix-http-code").is_empty();
    if answer.status == 202 && is_hidden && answer.text() == r#"{"text":"taken"}"# {
        return Ok(());
    }
    let expected = "202, and no word of it in the headers";
    Err(Fault::new("F167", expected, format!("{answer:?}")))
}

async fn headers(world: &mut World) -> Result {
    let request = Request::new("POST", "/tck/act").json("{}");
    let answers = vec![acted_with(said("ok"), &[("x-one", "1")])];
    let (answer, _) = acting(world, request, answers).await?;
    if answer.header("x-one") == "1" {
        return Ok(());
    }
    Err(Fault::new("F169", "x-one: 1", format!("{answer:?}")))
}

/// A gRPC message.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut frame = vec![0];
    frame.extend(length.to_be_bytes());
    frame.extend(message);
    frame
}

/// The messages and the trailers of an answer of gRPC-Web.
fn unframed(mut body: &[u8]) -> Option<(Vec<Vec<u8>>, String)> {
    let mut messages = Vec::new();
    loop {
        let (&flag, rest) = body.split_first()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize;
        let (frame, rest) = rest.split_at_checked(length)?;
        if flag & 0x80 != 0 {
            let trailers = String::from_utf8_lossy(frame).to_lowercase();
            return rest.is_empty().then_some((messages, trailers));
        }
        messages.push(frame.to_vec());
        body = rest;
    }
}

async fn web(world: &mut World) -> Result {
    use crate::proxy::families::contract::request as message;
    for (answer, replies, status) in [
        (acted(said("ok")), vec![said("ok").value], 0),
        (act_failed(failure(0, "no")), vec![], 2),
    ] {
        let path = format!("/{}/Unary", full("Act"));
        let request = Request::new("POST", path)
            .body("application/grpc-web+proto", framed(&message("a", "x")))
            .header("x-grpc-web", "1");
        let (answer, command) = acting(world, request, vec![answer]).await?;
        if command.payload != Some(asked("a", "x")) {
            let came = format!("{:?}", command.payload);
            return Err(Fault::new("F170", "the request", came));
        }
        let kind = answer.header("content-type").to_owned();
        // A failure without a message may be in the headers alone.
        let is_bare = answer.header("grpc-status") == status.to_string() && answer.body.is_empty();
        let fits = match unframed(&answer.body) {
            Some((messages, trailers)) => {
                let wanted = format!("grpc-status:{status}");
                messages == replies && trailers.replace(' ', "").contains(&wanted)
            }
            None => is_bare,
        };
        if !fits || answer.status != 200 || !kind.starts_with("application/grpc-web") {
            let expected = format!("the replies and the trailers with status {status}");
            return Err(Fault::new("F170", expected, format!("{answer:?}")));
        }
    }
    Ok(())
}

async fn reflection(world: &mut World) -> Result {
    const SERVICE: &str = "grpc.reflection.v1alpha.ServerReflection";
    let path = format!("/{SERVICE}/ServerReflectionInfo");
    let questions = [
        Wanted::Services("anything".to_owned()),
        Wanted::Symbol("no.Such".to_owned()),
        Wanted::Symbol(full("Value")),
        Wanted::Symbol(full("Shape")),
        Wanted::File("firn/tck/proxy/model.proto".to_owned()),
        Wanted::Services(String::new()),
    ]
    .map(|wanted| Question {
        host: "a.host".to_owned(),
        wanted: Some(wanted),
    });
    world.wait_for("answers of reflection");
    let mut call = world.client().await?.begin(&path, &[]);
    let mut found = Vec::new();
    for question in &questions {
        call.send(question.encode_to_vec().into()).await;
        let message = loop {
            match call.next().await {
                Came::Headers(_) => {}
                Came::Message(message) => break message,
                Came::End(end) => {
                    let expected = format!("an answer to {question:?}, and a stream that goes on");
                    return Err(Fault::new("F168", expected, format!("{end:?}")));
                }
            }
        };
        let misfit = |error: prost::DecodeError| {
            Fault::new("F168", "an answer of reflection", error.to_string())
        };
        let answer = Answer::decode(message).map_err(misfit)?;
        let echoed = answer.original_request.as_ref() == Some(question);
        if answer.valid_host != "a.host" || !echoed {
            let expected = "the host and the question with each answer";
            return Err(Fault::new("F168", expected, format!("{answer:?}")));
        }
        found.push(answer.found);
    }
    call.half_close();
    match call.next().await {
        Came::End(end) if end.status == 0 => {}
        other => {
            let expected = "the end with the client's";
            return Err(Fault::new("F168", expected, format!("{other:?}")));
        }
    }
    let mut wanted: Vec<String> = services(world.dialect.family()).map(full).collect();
    wanted.sort();
    wanted.insert(0, SERVICE.to_owned());
    for place in [0, 5] {
        let names: Vec<&String> = match &found[place] {
            Some(Found::Services(services)) => {
                services.services.iter().map(|one| &one.name).collect()
            }
            _ => Vec::new(),
        };
        let fits = match world.dialect.family() {
            Family::Cloudstate => names.iter().copied().eq(&wanted),
            _ => wanted.iter().skip(1).all(|one| names.contains(&one)),
        };
        if !fits {
            return Err(Fault::new(
                "F168",
                format!("{wanted:?}"),
                format!("{names:?}"),
            ));
        }
    }
    let files = |place: usize| match &found[place] {
        Some(Found::Files(files)) => Some(files.files.len()),
        _ => None,
    };
    let unknown = match world.dialect.family() {
        Family::Cloudstate => files(1) == Some(0),
        _ => files(1).is_none_or(|files| files == 0),
    };
    let known = [2, 3, 4].into_iter().all(|place| files(place) > Some(0));
    if unknown && known {
        return Ok(());
    }
    let expected = "no files for what is unknown, and some for what is known";
    Err(Fault::new("F168", expected, format!("{:?}", &found[1..5])))
}
