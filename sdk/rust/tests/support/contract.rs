//! The contract of the tests, as `firn-sdk-build` would generate it, and a function that serves it.

use firn_sdk::data::CounterMap;
use firn_sdk::prost::{self, Name};
use firn_sdk::{
    Action, Actor, Answer, Component, Context, EventSourced, Failure, Function, Method, Replicated,
    Replies, Requests, Service, StreamBoth, StreamIn, StreamOut, ValueEntity,
};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Ask {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub text: String,
    #[prost(int64, tag = "3")]
    pub number: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Text {
    #[prost(string, tag = "1")]
    pub text: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Appended {
    #[prost(string, tag = "1")]
    pub text: String,
}

macro_rules! named {
    ($($name:ident)*) => {$(
        impl Name for $name {
            const NAME: &'static str = stringify!($name);
            const PACKAGE: &'static str = "t";
        }
    )*};
}

named!(Ask Text Appended);

pub(crate) fn ask(text: &str) -> Ask {
    Ask {
        id: "a".into(),
        text: text.into(),
        number: 0,
    }
}

pub(crate) fn text(text: &str) -> Text {
    Text { text: text.into() }
}

pub(crate) const VALUE: Service = Service::new("t.Value", b"");
pub(crate) const SET: Method<Ask, Text> = Method::new("t.Value", "Set");
pub(crate) const GET: Method<Ask, Text> = Method::new("t.Value", "Get");
pub(crate) const SLOW: Method<Ask, Text> = Method::new("t.Value", "Slow");

pub(crate) const JOURNAL: Service = Service::new("t.Journal", b"");
pub(crate) const APPEND: Method<Ask, Text> = Method::new("t.Journal", "Append");

pub(crate) const TICKER: Service = Service::new("t.Ticker", b"");
pub(crate) const TICK: Method<Ask, Text> = Method::new("t.Ticker", "Tick");

pub(crate) const BOARD: Service = Service::new("t.Board", b"");
pub(crate) const SCORE: Method<Ask, Text> = Method::new("t.Board", "Score");
pub(crate) const SCORE_LATER: Method<Ask, Text> = Method::new("t.Board", "ScoreLater");
pub(crate) const WATCH: Method<Ask, Text, StreamOut> = Method::new("t.Board", "Watch");

pub(crate) const PLAIN: Service = Service::new("t.Plain", b"");
pub(crate) const ECHO: Method<Ask, Text> = Method::new("t.Plain", "Echo");
pub(crate) const WAIT: Method<Ask, Text> = Method::new("t.Plain", "Wait");
pub(crate) const CALL: Method<Ask, Text> = Method::new("t.Plain", "Call");
pub(crate) const COUNT: Method<Ask, Text, StreamOut> = Method::new("t.Plain", "Count");
pub(crate) const JOIN: Method<Ask, Text, StreamIn> = Method::new("t.Plain", "Join");
pub(crate) const EACH: Method<Ask, Text, StreamBoth> = Method::new("t.Plain", "Each");

/// Places in the contract.
pub(crate) const AT_SET: (u32, u32) = (0, 0);
pub(crate) const AT_GET: (u32, u32) = (0, 1);
pub(crate) const AT_SLOW: (u32, u32) = (0, 2);
pub(crate) const AT_APPEND: (u32, u32) = (1, 0);
pub(crate) const AT_TICK: (u32, u32) = (2, 0);
pub(crate) const AT_SCORE: (u32, u32) = (3, 0);
pub(crate) const AT_SCORE_LATER: (u32, u32) = (3, 1);
pub(crate) const AT_WATCH: (u32, u32) = (3, 2);
pub(crate) const AT_ECHO: (u32, u32) = (4, 0);
pub(crate) const AT_WAIT: (u32, u32) = (4, 1);
pub(crate) const AT_CALL: (u32, u32) = (4, 2);
pub(crate) const AT_COUNT: (u32, u32) = (4, 3);
pub(crate) const AT_JOIN: (u32, u32) = (4, 4);
pub(crate) const AT_EACH: (u32, u32) = (4, 5);

/// `fail` fails after the change, `panic` panics, `delete` deletes.
fn set(request: Ask, value: &mut Context<ValueEntity<Text>>) -> Result<Text, Failure> {
    if request.text == "delete" {
        value.delete();
        return Ok(Text::default());
    }
    let before = value.state().cloned().unwrap_or_default();
    value.set(text(&request.text));
    match request.text.as_str() {
        "fail" => Err(Failure::failed_precondition("as asked").detail(&text("detail"))),
        "panic" => panic!("a secret"),
        _ => Ok(before),
    }
}

fn get(_: Ask, value: &mut Context<ValueEntity<Text>>) -> Result<Text, Failure> {
    Ok(value.state().cloned().unwrap_or_default())
}

/// Answers only after the call that it makes.
async fn slow(request: Ask, value: &mut Context<ValueEntity<Text>>) -> Result<Text, Failure> {
    let reply = value.call(ECHO.with(request)).await?;
    value.set(reply.clone());
    Ok(reply)
}

pub(crate) fn value() -> Component {
    ValueEntity::<Text>::component(VALUE)
        .id("id")
        .on(SET, set)
        .on(GET, get)
        .on_async(SLOW, slow)
        .into()
}

/// Each character is an event; `!` fails, `?` panics.
fn append(request: Ask, journal: &mut Context<EventSourced<Text>>) -> Result<Text, Failure> {
    if request.text == "delete" {
        journal.delete();
        return Ok(Text::default());
    }
    for letter in request.text.chars() {
        match letter {
            '!' => return Err(Failure::failed_precondition("as asked")),
            '?' => panic!("a secret"),
            letter => journal.emit(Appended {
                text: letter.into(),
            }),
        }
    }
    Ok(journal.state().clone())
}

pub(crate) fn journal() -> Component {
    EventSourced::<Text>::component(JOURNAL)
        .id("id")
        .snapshot_every(5)
        .event(|state: &mut Text, event: Appended| {
            assert!(event.text != "x", "an event that cannot be folded");
            state.text.push_str(&event.text);
        })
        .on(APPEND, append)
        .into()
}

fn tick(request: Ask, actor: &mut Context<Actor<Text>>) -> Result<Text, Failure> {
    let mut tags = actor.tags().clone();
    tags.insert("last".into(), request.text.clone());
    actor.set_tags(tags);
    actor.set(text(&request.text));
    actor.timer(
        "next",
        std::time::Duration::from_millis(1500),
        TICK.with(ask("timer")),
    );
    actor.cancel_timer("other");
    Ok(text(actor.entity_id()))
}

pub(crate) fn ticker() -> Component {
    Actor::<Text>::component(TICKER)
        .id("id")
        .on(TICK, tick)
        .into()
}

type Scores = CounterMap<String>;

fn show(scores: &Scores) -> Text {
    let entries = scores.iter();
    let entries: Vec<String> = entries
        .map(|(name, score)| format!("{name}={}", score.value()))
        .collect();
    text(&entries.join(","))
}

fn score(request: Ask, board: &mut Context<Replicated<Scores>>) -> Result<Text, Failure> {
    if request.text == "delete" {
        board.delete();
        return Ok(Text::default());
    }
    board.data_mut().change(&request.text, request.number);
    if request.number == 13 {
        return Err(Failure::invalid_argument("unlucky"));
    }
    Ok(show(board.data()))
}

async fn score_later(
    request: Ask,
    board: &mut Context<Replicated<Scores>>,
) -> Result<Text, Failure> {
    board.call(ECHO.with(request.clone())).await?;
    score(request, board)
}

pub(crate) fn board() -> Component {
    Replicated::<Scores>::component(BOARD)
        .id("id")
        .on(SCORE, score)
        .on_async(SCORE_LATER, score_later)
        .watch(WATCH, |_: &Ask, scores: &Scores| {
            Ok::<_, Failure>(show(scores))
        })
        .into()
}

fn echo(request: Ask, context: &mut Context<Action>) -> Result<Answer<Text>, Failure> {
    match request.text.as_str() {
        "forward" => return Ok(context.forward(GET.with(request))),
        "effects" => {
            context.effect(SET.with(ask("one")));
            context.effect(SET.with(ask("two")).wait());
            context.effect(
                SET.with(ask("three"))
                    .after(std::time::Duration::from_secs(3)),
            );
            context.publish("topic", &text("news"));
        }
        "headers" => {
            let seen = context
                .metadata()
                .get("x-in")
                .unwrap_or_default()
                .to_owned();
            context.reply_metadata(|headers| headers.add("x-out", seen));
        }
        _ => {}
    }
    Ok(text(&request.text).into())
}

async fn wait(_: Ask, context: &mut Context<Action>) -> Result<Text, Failure> {
    context.cancelled().wait().await;
    context.effect(SET.with(ask("cancelled")));
    Ok(Text::default())
}

async fn call(request: Ask, context: &mut Context<Action>) -> Result<Text, Failure> {
    context.call(GET.with(request)).await
}

async fn count(
    request: Ask,
    context: &mut Context<Action>,
    replies: Replies<Text>,
) -> Result<(), Failure> {
    context.reply_metadata(|headers| headers.add("x-first", "1"));
    for number in 0..request.number {
        replies.send(text(&number.to_string())).await?;
    }
    Ok(())
}

async fn join(mut requests: Requests<Ask>, _: &mut Context<Action>) -> Result<Text, Failure> {
    let mut all = String::new();
    while let Some(request) = requests.next().await? {
        all += &request.text;
    }
    Ok(text(&all))
}

async fn each(
    mut requests: Requests<Ask>,
    _: &mut Context<Action>,
    replies: Replies<Text>,
) -> Result<(), Failure> {
    while let Some(request) = requests.next().await? {
        replies.send(text(&request.text)).await?;
    }
    Ok(())
}

pub(crate) fn plain() -> Component {
    Action::component(PLAIN)
        .headers(["x-in"])
        .on(ECHO, echo)
        .on_async(WAIT, wait)
        .on_async(CALL, call)
        .on_stream_out(COUNT, count)
        .on_stream_in(JOIN, join)
        .on_stream_both(EACH, each)
        .into()
}

pub(crate) fn function() -> Function {
    Function::new("test", "1")
        .add(value())
        .add(journal())
        .add(ticker())
        .add(board())
        .add(plain())
}
