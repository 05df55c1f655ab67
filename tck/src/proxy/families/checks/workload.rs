//! A random workload: many requests over many entities, with functions that go and proxies that are
//! killed, all of it held against a model.
//!
//! Everything that is random comes from one seed, so that a run with the same seed sends the same; what
//! the proxy does in between is its own.

use std::collections::VecDeque;

use tokio::time::{Duration, sleep};

use super::{Check, Result, check};
use crate::families::dialect::Family;
use crate::fault::Fault;
use crate::proxy::client::Answer;
use crate::proxy::families::contract::request;
use crate::proxy::families::host::Came;
use crate::proxy::families::ledger::Decided;
use crate::proxy::families::player::{Player, Word, write};
use crate::proxy::families::stream::Acting;
use crate::proxy::families::world::{Asked, Key, World, show, texts};
use crate::workload::Random;

pub(super) const CHECKS: &[Check] = &[check(
    "workload/random_requests_over_all_kinds",
    &[
        "F110", "F111", "F112", "F116", "F117", "F120", "F122", "F132", "F140", "F153", "F154",
    ],
    |world| Box::pin(run(world)),
)];

/// Entities of each service.
const ENTITIES: u64 = 8;
/// Requests that are open at once at most.
const OPEN_MAX: usize = 100;
/// Requests between two functions that go, about.
const FUNCTION_REQUESTS: u64 = 700;
/// Requests between two kills of the proxy, about.
const KILL_REQUESTS: u64 = 1_200;
/// How far apart a request may be from what explains its failure: a proxy may notice late.
const NEAR: u64 = 2 * OPEN_MAX as u64;
/// How often it is looked whether anything was wrong.
const LOOK: Duration = Duration::from_millis(50);

async fn run(world: &mut World) -> Result {
    let seed = world.seed;
    let told = |fault: Fault| Fault {
        came: format!("{} (seed {seed})", fault.came),
        ..fault
    };
    let mut work = Work::new(world);
    let done = work.requests(world).await;
    work.player.stop().await;
    // Nothing of it is left for whatever comes next.
    world.lose_function().await?;
    done.map_err(told)
}

/// A request that is open.
struct Open {
    ticket: u64,
    asked: Asked,
    /// What it is about; none for an action.
    keys: Vec<Key>,
    words: Vec<Word>,
}

struct Work {
    player: Player,
    random: Random,
    keys: Vec<Key>,
    open: VecDeque<Open>,
    /// The newest request at the last time that a function or a proxy went.
    disturbed: Option<u64>,
    /// Effects that nobody has waited for and that must come.
    owed: Vec<u64>,
    /// Requests that were answered as it was decided.
    answered: u32,
}

impl Work {
    fn new(world: &mut World) -> Self {
        let mut keys = Vec::new();
        for service in ["Value", "ValueTwo", "Events", "EventsTwo", "Data"] {
            for number in 0..ENTITIES {
                let key = world.key(service);
                let id = format!("{}-{number}", key.id);
                keys.push(Key { service, id });
            }
        }
        // Each type of data is there.
        for number in ENTITIES..2 * ENTITIES {
            let key = world.key("Data");
            let id = format!("{}-{number}", key.id);
            keys.push(Key {
                service: "Data",
                id,
            });
        }
        Self {
            player: Player::new(world.dialect),
            random: Random(world.seed),
            keys,
            open: VecDeque::new(),
            disturbed: None,
            owed: Vec::new(),
            answered: 0,
        }
    }

    fn ticket(&mut self) -> u64 {
        let mut ledger = self.player.ledger();
        ledger.newest += 1;
        ledger.newest
    }

    fn key(&mut self) -> Key {
        let place = self.random.below(self.keys.len() as u64);
        self.keys[usize::try_from(place).unwrap_or(0)].clone()
    }

    async fn requests(&mut self, world: &mut World) -> Result {
        for _ in 0..world.commands {
            if self.random.one_in(KILL_REQUESTS) && world.proxy.is_some() {
                self.kill(world).await?;
            } else if self.random.one_in(FUNCTION_REQUESTS) {
                self.function_goes(world).await?;
            }
            self.begin(world).await?;
            self.take(world);
            while self.open.len() >= OPEN_MAX {
                self.oldest(world).await?;
            }
        }
        self.settle(world).await?;
        if self.answered < world.commands / 2 {
            let expected = "failures around lost connections and broken streams only";
            let came = format!("{} of {} answered", self.answered, world.commands);
            return Err(Fault::new("F122", expected, came));
        }
        self.read_all(world).await?;
        self.paid(world).await?;
        if world.proxy.is_some() {
            self.kill(world).await?;
            self.read_all(world).await?;
        }
        Ok(())
    }

    /// Begins a request of something.
    async fn begin(&mut self, world: &mut World) -> Result {
        let ticket = self.ticket();
        if self.random.one_in(10) {
            let words = self.words(world, None);
            return self.send(world, ticket, None, words).await;
        }
        let key = self.key();
        let words = self.words(world, Some(&key));
        self.send(world, ticket, Some(key), words).await
    }

    async fn send(
        &mut self,
        world: &mut World,
        ticket: u64,
        key: Option<Key>,
        words: Vec<Word>,
    ) -> Result {
        let text = write(ticket, &words);
        let asked = match &key {
            Some(key) => world.ask(key, &text).await?,
            None => {
                let message = Some(request("act", &text));
                world.begin("ActTwo", "Call", message, &[]).await?
            }
        };
        let mut keys: Vec<Key> = key.into_iter().collect();
        for word in &words {
            if let Word::Forward { key, .. } = word {
                keys.push(key.clone());
            }
        }
        self.open.push_back(Open {
            ticket,
            asked,
            keys,
            words,
        });
        Ok(())
    }

    fn words(&mut self, world: &World, key: Option<&Key>) -> Vec<Word> {
        let mut words = Vec::new();
        if let Some(key) = key {
            match self.random.below(8) {
                0 | 1 => {}
                // What Kalix has deleted takes no change any more.
                2 if key.service.starts_with("Value") && !world.is(Family::Kalix) => {
                    words.push(Word::Delete);
                }
                3 if key.service.starts_with("Events") => words.push(Word::Snapshot),
                _ => words.push(Word::Add),
            }
            match self.random.below(60) {
                0 => return vec![Word::Crash],
                1 => return vec![Word::End],
                _ => {}
            }
        }
        for _ in 0..2 {
            if self.random.one_in(8) {
                let (key, ticket) = (self.key(), self.ticket());
                let wait = self.random.one_in(2);
                words.push(Word::Effect { key, ticket, wait });
            }
        }
        match self.random.below(12) {
            0 => words.push(Word::Fail),
            1 => {
                let (key, ticket) = (self.key(), self.ticket());
                words.push(Word::Forward { key, ticket });
            }
            _ => {}
        }
        words
    }

    /// Serves what is there.
    fn take(&mut self, world: &mut World) {
        while let Some(opened) = world.host.entity_already() {
            self.player.serve(opened, world.log.clone());
        }
        while let Some(opened) = world.host.action_already() {
            self.player.act(Acting::new(opened, world.log.clone()));
        }
    }

    /// Lets something happen, and looks whether it was wrong.
    async fn step(&mut self, world: &mut World) -> Result {
        tokio::select! {
            came = world.host.call() => match came {
                Came::Entity(opened) => self.player.serve(opened, world.log.clone()),
                Came::Action(opened) => {
                    self.player.act(Acting::new(opened, world.log.clone()));
                }
            },
            () = sleep(LOOK) => {}
        }
        self.blame()
    }

    fn blame(&mut self) -> Result {
        match self.player.ledger().fault.take() {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    /// Waits for the answer to the oldest request.
    async fn oldest(&mut self, world: &mut World) -> Result {
        let Some(mut open) = self.open.pop_front() else {
            return Ok(());
        };
        world.wait_for(&format!("the answer to {} {:?}", open.ticket, open.words));
        let mut is_over = false;
        while !is_over {
            tokio::select! {
                biased;
                came = open.asked.call.next() => is_over = open.asked.take(came),
                done = self.step(world) => done?,
            }
        }
        self.blame()?;
        let answer = open.asked.answer.clone();
        self.judge(world, &open, &answer)
    }

    async fn settle(&mut self, world: &mut World) -> Result {
        while !self.open.is_empty() {
            self.oldest(world).await?;
        }
        Ok(())
    }

    /// Whether something happened that explains a failure.
    fn is_explained(&mut self, open: &Open) -> bool {
        let since = open.ticket.saturating_sub(NEAR);
        let own = [Word::Crash, Word::End];
        let mut ledger = self.player.ledger();
        own.iter().any(|word| open.words.contains(word))
            || self.disturbed.is_some_and(|at| at >= since)
            || open.keys.iter().any(|key| ledger.has_crashed(key, since))
    }

    /// Holds what a caller heard against what was decided.
    fn judge(&mut self, world: &World, open: &Open, answer: &Answer) -> Result {
        let decided = self.player.ledger().decided(open.ticket).cloned();
        let (status, text) = (answer.end.status, &answer.end.message);
        let misfit = |expected: &str| {
            let expected = format!("{expected} for {} {:?}", open.ticket, open.words);
            Fault::new(
                "F117",
                expected,
                format!("{}, decided {decided:?}", show(answer)),
            )
        };
        let rejected = |reason: &String| status == 2 && text == reason;
        match &decided {
            Some(Decided::Reply(key, version, reply)) if status == 0 => {
                if texts(answer) != [reply.clone()] {
                    return Err(misfit("the reply"));
                }
                self.player.ledger().heard(key, *version)?;
            }
            Some(Decided::Acted(reply)) if status == 0 => {
                if texts(answer) != [reply.clone()] {
                    return Err(misfit("the reply"));
                }
            }
            _ if status == 0 => return Err(misfit("what was decided")),
            Some(Decided::Failure(key, version, reason)) if rejected(reason) => {
                if let Some(version) = version {
                    self.player.ledger().heard(key, *version)?;
                }
            }
            Some(Decided::ActFailed(reason)) if rejected(reason) => {}
            _ if self.is_explained(open) => return Ok(()),
            _ => return Err(misfit("no failure of the proxy's own")),
        }
        self.answered += 1;
        self.effects(world, open)
    }

    /// Effects of a request that was answered.
    fn effects(&mut self, world: &World, open: &Open) -> Result {
        let since = open.ticket.saturating_sub(NEAR);
        if self.disturbed.is_some_and(|at| at >= since) {
            return Ok(());
        }
        for word in &open.words {
            let Word::Effect { key, ticket, wait } = word else {
                continue;
            };
            let mut ledger = self.player.ledger();
            // A command that waits may fail with its entity, with Cloudstate.
            let is_lost = ledger.has_crashed(key, since);
            if ledger.seen.contains(ticket) || is_lost && world.is(Family::Cloudstate) {
                continue;
            }
            drop(ledger);
            if *wait && !is_lost {
                let expected = format!("effect {ticket} on {key:?} before the answer");
                return Err(Fault::new("F154", expected, "the answer"));
            }
            self.owed.push(*ticket);
        }
        Ok(())
    }

    /// Waits for effects that must come.
    async fn paid(&mut self, world: &mut World) -> Result {
        let disturbed = self.disturbed.unwrap_or(0);
        loop {
            let owed = {
                let ledger = self.player.ledger();
                let mut owed = self.owed.iter();
                owed.find(|one| **one > disturbed + NEAR && !ledger.seen.contains(one))
                    .copied()
            };
            let Some(owed) = owed else {
                return Ok(());
            };
            world.wait_for(&format!("effect {owed}, whose request was answered"));
            self.step(world).await?;
        }
    }

    /// Reads every entity: what it shows is held against what it may be.
    async fn read_all(&mut self, world: &mut World) -> Result {
        for key in self.keys.clone() {
            let ticket = self.ticket();
            self.send(world, ticket, Some(key), Vec::new()).await?;
            self.take(world);
        }
        self.settle(world).await
    }

    fn disturb(&mut self) {
        let newest = self.player.ledger().newest;
        self.disturbed = Some(newest);
    }

    async fn function_goes(&mut self, world: &mut World) -> Result {
        world.host.go().await;
        self.player.stop().await;
        self.disturb();
        world.come().await?;
        // What is open ends in one way or the other, until it is served again.
        self.settle(world).await?;
        world.served_again().await
    }

    async fn kill(&mut self, world: &mut World) -> Result {
        world.kill()?;
        self.player.stop().await;
        self.disturb();
        // What came before counts.
        while let Some(mut open) = self.open.pop_front() {
            world.wait_for(&format!("the end of {} with its connection", open.ticket));
            let mut is_over = false;
            while !is_over {
                let came = open.asked.call.next().await;
                is_over = open.asked.take(came);
            }
            let answer = open.asked.answer.clone();
            self.judge(world, &open, &answer)?;
        }
        world.forget();
        self.player.ledger().killed();
        world.start()?;
        world.ready().await
    }
}
