//! A replicated counter as the function has it.

use std::sync::Mutex;

use firn_model::decision::Answer;
use firn_model::replicated::{
    CancelAnswer, Change, Consistency, Delta, Reply, StateAction, StreamedMessage,
};
use firn_runtime::link::{
    End, ReplicaCommand, ReplicaEvent, ReplicaOpening, ReplicaSink, ReplicaStream, plain_reply,
};

use super::{parse, payload};

/// An instance: its value, and who watches it.
///
/// `Add` adds the number in the text, durably if it ends with `!`; `Watch` streams every value, and
/// as many zeros as its text says at once.
pub(super) struct Tally {
    value: Mutex<i64>,
    watchers: Vec<i64>,
    events: ReplicaSink,
}

pub(super) fn open(opening: &ReplicaOpening, events: ReplicaSink) -> Box<dyn ReplicaStream> {
    let value = match opening.value {
        Some(Delta::Counter(value)) => value,
        _ => 0,
    };
    Box::new(Tally {
        value: Mutex::new(value),
        watchers: Vec::new(),
        events,
    })
}

impl Tally {
    fn text(&self) -> Answer {
        let value = self.value.lock().expect("whole");
        plain_reply(payload(&value.to_string()))
    }

    fn tell_watchers(&self) {
        for command in &self.watchers {
            (self.events)(ReplicaEvent::Streamed(StreamedMessage {
                command: *command,
                answer: self.text(),
                effects: Vec::new(),
                ends: false,
            }));
        }
    }

    fn add(&self, number: i64, text: &str) {
        let durable = text.ends_with('!');
        let change: i64 = text.trim_end_matches('!').parse().expect("a number");
        *self.value.lock().expect("whole") += change;
        let change = Change {
            action: StateAction::Update(Ok(Delta::Counter(change))),
            consistency: if durable {
                Consistency::Majority
            } else {
                Consistency::Local
            },
        };
        self.reply(number, Some(change), false);
        self.tell_watchers();
    }

    fn reply(&self, command: i64, change: Option<Change>, streamed: bool) {
        (self.events)(ReplicaEvent::Replied(Reply {
            command,
            answer: self.text(),
            effects: Vec::new(),
            change,
            streamed,
        }));
    }
}

impl ReplicaStream for Tally {
    fn command(&mut self, command: ReplicaCommand) {
        let number = command.number;
        let (_, text) = parse(&command.command.message);
        match &*command.command.method.name {
            "Add" => self.add(number, &text),
            "Watch" => {
                self.watchers.push(number);
                self.reply(number, None, true);
                // How many more answers there are at once, and of how many bytes.
                let (count, bytes) = text.split_once('x').unwrap_or((&*text, "1"));
                let answer = "0".repeat(bytes.parse().expect("a size"));
                for _ in 0..count.parse().unwrap_or(0) {
                    (self.events)(ReplicaEvent::Streamed(StreamedMessage {
                        command: number,
                        answer: plain_reply(payload(&answer)),
                        effects: Vec::new(),
                        ends: false,
                    }));
                }
            }
            _ => self.reply(number, None, false),
        }
    }

    fn delta(&mut self, delta: Delta) {
        if let Delta::Counter(change) = delta {
            *self.value.lock().expect("whole") += change;
            self.tell_watchers();
        }
    }

    fn cancel(&mut self, command: i64) {
        self.watchers.retain(|watcher| *watcher != command);
        (self.events)(ReplicaEvent::CancelAnswered(CancelAnswer {
            command,
            effects: Vec::new(),
            change: Some(Change {
                action: StateAction::Update(Ok(Delta::Counter(1000))),
                consistency: Consistency::Local,
            }),
        }));
        *self.value.lock().expect("whole") += 1000;
    }

    fn delete(&mut self) {}

    fn half_close(&mut self) {
        (self.events)(ReplicaEvent::Ended(End::Completed));
    }
}
