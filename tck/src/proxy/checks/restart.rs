//! The proxy killed and started again, and the random workload.

use super::{Check, Needs, Result, Rig, check};
use crate::fault::Fault;
use crate::kit::{append, delete, fail, set, two};
use crate::proto::model::{Effect, SetTag, data_step, step};
use crate::proto::v1::firn_frame::Frame as Received;
use crate::proto::v1::function_frame::Frame;
use crate::proto::v1::{Closed, DataType};
use crate::proxy::function::Event;
use crate::proxy::player::Key;
use crate::proxy::rig::{Pending, contract, hello, ok, saying};
use crate::service::Service;
use crate::workload::{Random, data_step};

const fn restarts(check: Check) -> Check {
    Check {
        needs: Needs::Restart,
        ..check
    }
}

pub(super) const CHECKS: &[Check] = &[
    restarts(check(
        "restart/what_was_answered_is_there",
        &["R26"],
        |rig| Box::pin(durable(rig)),
    )),
    restarts(check("restart/effects_happen_once", &["R28"], |rig| {
        Box::pin(effects(rig))
    })),
    check(
        "workload/random_requests_over_all_models",
        &["R21", "R26", "R27", "R28", "R40"],
        |rig| Box::pin(workload(rig)),
    ),
    restarts(check(
        "ending/firn_finishes_what_is_open",
        &["R91"],
        |rig| Box::pin(goodbye(rig, Says::AtSomeTime)),
    )),
    restarts(check("ending/firn_says_goodbye_first", &["R91"], |rig| {
        Box::pin(goodbye(rig, Says::First))
    })),
];

/// Entities of each service in the workload.
const ENTITIES: u64 = 8;
/// Requests that are open at once at most.
const OPEN_MAX: usize = 100;
/// Requests between two lost connections, about.
const CONNECTION_REQUESTS: u64 = 700;
/// Requests between two restarts, about.
const RESTART_REQUESTS: u64 = 1_500;

async fn durable(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let services = [
        Service::Value,
        Service::Two,
        Service::Events,
        Service::Actor,
    ];
    let keys = services.map(|service| rig.entity(service));
    let counter = rig.entity(Service::Data(DataType::Counter));
    for round in 1..=3_u64 {
        rig.ready().await?;
        for key in &keys {
            // The player holds the opening against what was answered.
            let count = rig.ask(key, vec![append("x")]).await?.count;
            if count != round {
                return Err(Fault::new("R26", round.to_string(), count.to_string()));
            }
        }
        rig.ask_data(&counter, vec![data_step::Step::Change(1)])
            .await?;
        rig.restart()?;
    }
    Ok(())
}

fn effect(target: &Key, word: &str) -> step::Step {
    step::Step::Effect(Effect {
        target: Some(two(&target.1, vec![append(word)])),
        wait: false,
        delay_ms: 0,
    })
}

/// Every effect of a request that was answered has happened, and no effect twice.
async fn once(rig: &mut Rig, target: &Key, answered: &[u64], tried: u64) -> Result {
    rig.wait_for("effects of requests that were answered");
    let has = |text: &str, word: u64| text.matches(&format!("<{word}>")).count();
    loop {
        let text = rig.player.newest(target).state().text;
        if answered.iter().all(|word| has(&text, *word) > 0) {
            break;
        }
        rig.step().await?;
    }
    let text = rig.ask(target, vec![]).await?.text;
    match (0..tried).find(|word| has(&text, *word) > 1) {
        None => Ok(()),
        Some(word) => Err(Fault::new(
            "R28",
            "effects once",
            format!("<{word}> twice in {text}"),
        )),
    }
}

async fn effects(rig: &mut Rig) -> Result {
    let (source, target) = (rig.entity(Service::Value), rig.entity(Service::Two));
    let (mut answered, mut word) = (Vec::new(), 0);
    for _ in 0..4 {
        rig.ready().await?;
        // The last of them are cut off.
        let mut open = Vec::new();
        for _ in 0..10 {
            let steps = vec![append("x"), effect(&target, &format!("<{word}>"))];
            open.push((word, rig.begin_entity(&source, steps).await?));
            word += 1;
        }
        for (number, pending) in open.into_iter().take(6) {
            if rig.answer(pending).await?.end.status == 0 {
                answered.push(number);
            }
        }
        rig.restart()?;
    }
    rig.ready().await?;
    once(rig, &target, &answered, word).await
}

async fn workload(rig: &mut Rig) -> Result {
    let seed = rig.seed;
    let told = |fault: Fault| Fault {
        came: format!("{} (seed {seed})", fault.came),
        ..fault
    };
    let mut random = Random(seed);
    requests(rig, &mut random).await.map_err(told)
}

/// Effects of the workload, each of which is a word of its own.
struct Effects {
    target: Key,
    words: u64,
    answered: Vec<u64>,
    /// Requests that the proxy said it could not serve.
    unavailable: u32,
}

async fn requests(rig: &mut Rig, random: &mut Random) -> Result {
    let mut keys = Vec::new();
    for service in Service::all().filter(|one| *one != Service::Action) {
        for _ in 0..ENTITIES {
            keys.push(rig.entity(service));
        }
    }
    let mut effects = Effects {
        target: rig.entity(Service::Two),
        words: 0,
        answered: Vec::new(),
        unavailable: 0,
    };
    let mut open: Vec<(Option<u64>, Pending)> = Vec::new();
    for _ in 0..rig.commands {
        if random.one_in(RESTART_REQUESTS) && rig.proxy.is_some() {
            // With all that is open; what has been answered counts.
            settle(rig, &mut open, &mut effects)?;
            rig.restart()?;
            open.clear();
        } else if random.one_in(CONNECTION_REQUESTS) && !rig.seats.is_empty() {
            let place = random.below(rig.seats.len() as u64);
            rig.seats.remove(usize::try_from(place).unwrap_or(0));
        }
        rig.ready().await?;
        if rig.seats.len() < 2 && random.one_in(100) {
            rig.seat("two", hello(contract())).await?;
        }
        let place = usize::try_from(random.below(keys.len() as u64)).unwrap_or(0);
        let key = keys[place].clone();
        if random.one_in(20) {
            for seat in &mut rig.seats {
                seat.let_go(&key).await;
            }
        }
        let mut word = None;
        let pending = match key.0 {
            Service::Data(data_type) => {
                let step = data_step(random, data_type);
                rig.begin_data(&key, "Process", vec![step]).await?
            }
            service => {
                let mut steps = steps(random, service);
                if random.one_in(10) && service != Service::Two {
                    word = Some(effects.words);
                    steps.insert(0, effect(&effects.target, &format!("<{}>", effects.words)));
                    effects.words += 1;
                }
                rig.begin_entity(&key, steps).await?
            }
        };
        open.push((word, pending));
        while open.len() >= OPEN_MAX {
            progress(rig, &mut open, &mut effects).await?;
        }
    }
    while !open.is_empty() {
        progress(rig, &mut open, &mut effects).await?;
    }
    if effects.unavailable > rig.commands / 4 {
        let expected = "UNAVAILABLE around lost connections only";
        let came = format!("{} of {} requests", effects.unavailable, rig.commands);
        return Err(Fault::new("R27", expected, came));
    }
    rig.ready().await?;
    once(rig, &effects.target, &effects.answered, effects.words).await?;
    for key in keys.iter().filter(|key| !matches!(key.0, Service::Data(_))) {
        rig.ask(key, vec![]).await?;
    }
    Ok(())
}

/// The answer to the oldest request.
async fn progress(
    rig: &mut Rig,
    open: &mut Vec<(Option<u64>, Pending)>,
    effects: &mut Effects,
) -> Result {
    if rig.seats.is_empty() {
        rig.ready().await?;
    }
    let (word, pending) = open.remove(0);
    let answer = rig.answer(pending).await?;
    heard(&answer, word, effects)?;
    settle(rig, open, effects)
}

fn heard(
    answer: &crate::proxy::client::Answer,
    word: Option<u64>,
    effects: &mut Effects,
) -> Result {
    let end = &answer.end;
    match end.status {
        0 => effects.answered.extend(word),
        // Failures of the steps, and connections that were lost.
        2 | 9 => {}
        14 => effects.unavailable += 1,
        _ => {
            return Err(Fault::new(
                "R23",
                "a reply or its failure",
                format!("{end:?}"),
            ));
        }
    }
    Ok(())
}

/// Takes the answers that are there.
fn settle(rig: &mut Rig, open: &mut Vec<(Option<u64>, Pending)>, effects: &mut Effects) -> Result {
    let mut place = 0;
    while let Some((word, pending)) = open.get_mut(place) {
        match rig.poll(pending)? {
            Some(answer) => {
                heard(&answer, *word, effects)?;
                open.remove(place);
            }
            None => place += 1,
        }
    }
    Ok(())
}

fn steps(random: &mut Random, service: Service) -> Vec<step::Step> {
    let mut steps = Vec::new();
    if random.one_in(20) {
        return vec![delete()];
    }
    for _ in 0..random.below(4) {
        let word = random.word();
        steps.push(match random.below(12) {
            0 if service != Service::Events => set(&word),
            1 if service != Service::Two => {
                step::Step::Call(two(&format!("called-{word}"), vec![append("x")]))
            }
            3 if service == Service::Actor => step::Step::SetTag(SetTag {
                name: random.word(),
                value: word,
            }),
            4 if random.one_in(8) => step::Step::Pad(100_000),
            _ => append(&word),
        });
    }
    match random.below(12) {
        0 => steps.push(fail(9, "not so", &["why"])),
        1 => steps.push(step::Step::Crash("on purpose".into())),
        _ => {}
    }
    steps
}

/// When Goodbye comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    First,
    AtSomeTime,
}

async fn goodbye(rig: &mut Rig, says: Says) -> Result {
    let mut function = rig.play().await?;
    let key = rig.entity(Service::Value);
    let pending = rig.begin_entity(&key, vec![]).await?;
    let command = function.command("the command").await?;
    let failed = |error: std::io::Error| Fault::new("R91", "a stop", error.to_string());
    if let Some(proxy) = &mut rig.proxy {
        proxy.stop().map_err(failed)?;
    }
    rig.wait_for("Goodbye of Firn, while a command is open");
    if says == Says::First {
        let is_goodbye = |frame: &Received| match frame {
            Received::Goodbye(_) => Some(true),
            Received::Close(_) => Some(false),
            _ => None,
        };
        if !function.pick("R91", "Goodbye", is_goodbye).await? {
            rig.restart()?;
            let came = "Close of what is open";
            return Err(Fault::new(
                "R91",
                "Goodbye, then an end of what is open",
                came,
            ));
        }
    }
    let decision = saying(command.id, "finished");
    function.send(Frame::Decision(decision)).await;
    ok(&pending.call.answer().await)?;
    let mut said = says == Says::First;
    let end = loop {
        match function.event().await? {
            Event::Frame(Received::Close(close)) => {
                let incarnation = close.incarnation;
                function.send(Frame::Closed(Closed { incarnation })).await;
            }
            Event::Frame(frame) => said |= matches!(frame, Received::Goodbye(_)),
            Event::End(end) => break end,
        }
    };
    if end.status != 0 || !said {
        let expected = "Goodbye and the end with OK";
        return Err(Fault::new("R91", expected, format!("{end:?}")));
    }
    rig.restart()
}
