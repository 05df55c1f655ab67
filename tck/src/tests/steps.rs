//! The steps of text models, done.

use std::rc::Rc;

use prost::Message as _;

use super::function::{Conn, Stream, failure, hang};
use super::quirk::Quirk;
use crate::proto::model::{Fail, Header, Reply, Request, State, Target, step::Step};
use crate::proto::text;
use crate::proto::v1::function_frame::Frame;
use crate::proto::v1::metadata::{Entry, entry};
use crate::proto::v1::{
    self, CallEffect, Command, Decision, Effect, Metadata, Publish, Timer, decision, effect, timer,
};
use crate::service::target_of;

/// Why a handler ends before its steps do.
pub(super) enum Stop {
    Fail(Fail),
    Crash(String),
}

impl Stop {
    pub(super) fn decision(self, command: u64, quirk: Quirk) -> Decision {
        let answer = match self {
            Self::Crash(message) => failure(2, &message),
            Self::Fail(fail) => {
                let details = fail.details.iter().map(|detail| text(detail));
                decision::Answer::Failure(v1::Failure {
                    code: fail.code,
                    message: fail.message,
                    details: if quirk == Quirk::DetailsDropped {
                        Vec::new()
                    } else {
                        details.collect()
                    },
                })
            }
        };
        Decision {
            command,
            answer: Some(answer),
            ..Decision::default()
        }
    }
}

/// What a handler has done so far.
pub(super) struct Turn {
    command: u64,
    headers: Metadata,
    stream: Option<Rc<Stream>>,
    pub(super) state: State,
    pub(super) tags: std::collections::BTreeMap<String, String>,
    pub(super) events: Vec<String>,
    pub(super) changed: bool,
    pub(super) deleted: bool,
    forward: Option<v1::Target>,
    effects: Vec<Effect>,
    timers: Vec<Timer>,
    reply: Reply,
    reply_headers: Vec<Entry>,
    sent: u64,
}

pub(super) fn target(target: &Target) -> v1::Target {
    let (service, request) = target_of(target).unwrap_or_default_target();
    v1::Target {
        service,
        method: "Process".into(),
        message: request.encode_to_vec().into(),
        metadata: None,
    }
}

/// A target without one, which requests never have.
trait OrNone {
    fn unwrap_or_default_target(self) -> (String, Request);
}

impl OrNone for Option<(String, &Request)> {
    fn unwrap_or_default_target(self) -> (String, Request) {
        self.map_or_else(Default::default, |(service, request)| {
            (service, request.clone())
        })
    }
}

fn duration(millis: u32) -> prost_types::Duration {
    prost_types::Duration {
        seconds: (millis / 1_000).into(),
        nanos: (millis % 1_000 * 1_000_000).cast_signed(),
    }
}

impl Turn {
    pub(super) fn new(command: &Command, stream: Option<&Rc<Stream>>) -> Self {
        Self {
            command: command.id,
            headers: command.metadata.clone().unwrap_or_default(),
            stream: stream.cloned(),
            state: State::default(),
            tags: std::collections::BTreeMap::new(),
            events: Vec::new(),
            changed: false,
            deleted: false,
            forward: None,
            effects: Vec::new(),
            timers: Vec::new(),
            reply: Reply::default(),
            reply_headers: Vec::new(),
            sent: 0,
        }
    }

    pub(super) async fn run(&mut self, conn: &Rc<Conn>, request: &Request) -> Result<(), Stop> {
        for step in request.steps.iter().filter_map(|one| one.step.as_ref()) {
            self.step(conn, request, step).await?;
        }
        Ok(())
    }

    async fn step(&mut self, conn: &Rc<Conn>, request: &Request, step: &Step) -> Result<(), Stop> {
        match step {
            Step::Set(value) => {
                self.state.text.clone_from(value);
                self.state.count += 1;
                self.changed = true;
            }
            Step::Append(value) => {
                self.state.text.push_str(value);
                self.state.count += 1;
                self.events.push(value.clone());
                self.changed = true;
            }
            Step::SetTag(tag) if tag.value.is_empty() => {
                self.tags.remove(&tag.name);
                self.changed = true;
            }
            Step::SetTag(tag) => {
                self.tags.insert(tag.name.clone(), tag.value.clone());
                self.changed = true;
            }
            Step::Delete(_) => {
                self.state = State::default();
                self.tags.clear();
                self.deleted = true;
            }
            Step::Fail(fail) => return Err(Stop::Fail(fail.clone())),
            Step::Crash(_) if conn.quirk == Quirk::CrashForgotten => return Err(hang().await),
            Step::Crash(message) => return Err(Stop::Crash(message.clone())),
            Step::Hang(_) => return Err(hang().await),
            Step::Forward(to) => {
                let mut forward = target(to);
                if conn.quirk == Quirk::ForwardsElsewhere {
                    forward.method = "process".into();
                }
                self.forward = Some(forward);
            }
            Step::Effect(wanted) => self.effects.push(Effect {
                effect: Some(effect::Effect::Call(CallEffect {
                    target: wanted.target.as_ref().map(target),
                    wait: wanted.wait,
                    delay: (wanted.delay_ms > 0).then(|| duration(wanted.delay_ms)),
                })),
            }),
            Step::Publish(wanted) => self.effects.push(Effect {
                effect: Some(effect::Effect::Publish(Publish {
                    topic: wanted.topic.clone(),
                    message: Some(text(&wanted.text)),
                    metadata: None,
                })),
            }),
            Step::Call(to) => {
                let called = conn.call(self.command, target(to)).await;
                self.reply.called.push(called);
            }
            Step::ShowHeader(name) => self.show_header(conn, name),
            Step::SetHeader(header) => self.set_header(header),
            Step::Pad(length) => {
                let short = u32::from(conn.quirk == Quirk::PadShort);
                self.reply.pad = crate::oracle::pad(*length - short);
            }
            Step::Send(send) => {
                for _ in 0..send.times {
                    self.send(conn, &send.text).await;
                }
            }
            Step::SetTimer(wanted) => {
                let message = Request {
                    id: request.id.clone(),
                    steps: wanted.steps.clone(),
                };
                self.timers.push(Timer {
                    name: wanted.name.clone(),
                    action: Some(timer::Action::Set(timer::Schedule {
                        after: Some(duration(wanted.after_ms)),
                        method: "Process".into(),
                        message: message.encode_to_vec().into(),
                        repeat: wanted.repeat,
                    })),
                });
            }
            Step::CancelTimer(name) => self.timers.push(Timer {
                name: name.clone(),
                action: Some(timer::Action::Cancel(timer::Unset {})),
            }),
        }
        Ok(())
    }

    fn show_header(&mut self, conn: &Conn, name: &str) {
        if conn.quirk == Quirk::HeadersLost {
            return;
        }
        for entry in self
            .headers
            .entries
            .iter()
            .filter(|entry| entry.key == name)
        {
            let value = match &entry.value {
                Some(entry::Value::Text(text)) => text.clone().into_bytes().into(),
                Some(entry::Value::Binary(binary)) => binary.clone(),
                None => bytes::Bytes::new(),
            };
            self.reply.headers.push(Header {
                name: name.to_owned(),
                value,
            });
        }
    }

    fn set_header(&mut self, header: &Header) {
        let value = if header.name.ends_with("-bin") {
            entry::Value::Binary(header.value.clone())
        } else {
            entry::Value::Text(String::from_utf8_lossy(&header.value).into_owned())
        };
        self.reply_headers.push(Entry {
            key: header.name.clone(),
            value: Some(value),
        });
    }

    async fn send(&mut self, conn: &Conn, value: &str) {
        let Some(stream) = self.stream.clone() else {
            return;
        };
        if let Ok(permit) = stream.credit.acquire().await {
            permit.forget();
        }
        self.sent += 1;
        let reply = Reply {
            text: value.to_owned(),
            count: self.sent,
            ..Reply::default()
        };
        conn.send(Frame::Reply(v1::Reply {
            command: self.command,
            message: reply.encode_to_vec().into(),
            metadata: None,
            effects: std::mem::take(&mut self.effects),
        }));
    }

    /// The decision, without mutation.
    pub(super) fn decision(mut self, command: &Command, quirk: Quirk) -> Decision {
        self.reply.text.clone_from(&self.state.text);
        self.reply.count = self.state.count;
        self.reply.tags.clone_from(&self.tags);
        if quirk == Quirk::EffectsReversed {
            self.effects.reverse();
        }
        if quirk == Quirk::TimersForgotten {
            self.timers.clear();
        }
        let reply = || decision::Answer::Reply(self.reply.encode_to_vec().into());
        Decision {
            command: command.id,
            answer: Some(match self.forward {
                Some(forward) => decision::Answer::Forward(forward),
                None => reply(),
            }),
            metadata: (!self.reply_headers.is_empty()).then_some(Metadata {
                entries: self.reply_headers,
            }),
            mutation: None,
            effects: self.effects,
            timers: self.timers,
            version: 0,
        }
    }
}
