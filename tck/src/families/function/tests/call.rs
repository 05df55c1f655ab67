//! The calls of its action.

use prost::Message as _;

use super::quirk::Quirk;
use super::server::Server;
use crate::families::dialect::Kind;
use crate::families::wire::ActionCommand;
use crate::families::{answer, convert};
use crate::oracle::{self, Asked, Circumstances};
use crate::proto::model::{Reply, step};
use crate::proto::v1::{Decision, Metadata, decision};
use crate::record::Record;
use crate::service::{Service, streams};
use crate::wire::{Link, Read};

impl Server {
    pub(super) async fn action(&self, mut link: Link) {
        let _turn = match self.quirk {
            Quirk::OneAtATime => Some(self.busy.lock().await),
            _ => None,
        };
        if self.is_stuck.get() {
            return std::future::pending().await;
        }
        let Read::Message(first) = link.read().await else {
            return link.end(3, "no command", "");
        };
        let first = ActionCommand::decode(first).expect("an ActionCommand");
        let is_known = Service::Action.methods().contains(&first.name.as_str());
        if !is_known && !self.has(Quirk::UnknownAnswered) {
            return link.end(12, "no such method", "");
        }
        let headers = first.metadata.as_ref().map(convert::metadata);
        let headers = headers.unwrap_or_default();
        let (streamed_in, streamed_out) = streams(&first.name);
        let mut call = ActionCall {
            server: self,
            link,
            headers,
            steps: Vec::new(),
            effects: Vec::new(),
            sent: 0,
            streamed_out,
            has_ended: false,
        };
        if !streamed_in {
            let asked = answer::asked(self.dialect, Kind::Action, first.payload.as_ref());
            call.request(asked.expect("a Request")).await;
        }
        while streamed_in && !call.has_ended {
            let message = match call.link.read().await {
                Read::Message(message) => message,
                Read::End => break,
                Read::Broken(_) => {
                    self.is_stuck.set(self.has(Quirk::CancelStops));
                    return;
                }
            };
            let command = ActionCommand::decode(message).expect("an ActionCommand");
            let asked = answer::asked(self.dialect, Kind::Action, command.payload.as_ref());
            call.request(asked.expect("a Request")).await;
        }
        call.finish().await;
    }
}

struct ActionCall<'a> {
    server: &'a Server,
    link: Link,
    headers: Metadata,
    steps: Vec<step::Step>,
    effects: Vec<step::Step>,
    sent: u64,
    streamed_out: bool,
    has_ended: bool,
}

impl ActionCall<'_> {
    async fn send(&mut self, decision: &Decision) {
        let mut decision = decision.clone();
        let server = self.server;
        server.spoil(&mut decision);
        let response = answer::to_response(server.dialect, &decision);
        if self.link.send(&response.encode_to_vec()).await.is_err() {
            server.is_stuck.set(server.has(Quirk::CancelStops));
            self.has_ended = true;
        }
    }

    fn decide(&self, steps: &[step::Step]) -> Decision {
        let request = crate::kit::request("", steps.to_vec());
        let with = Circumstances {
            entity_id: "",
            called: &[],
            headers: &self.headers,
        };
        let record = Record::new(Service::Action);
        let decided = oracle::decide(&record, &Asked::Steps(request), &with, 0);
        decided.expect("it decides").0
    }

    async fn request(&mut self, asked: Asked) {
        let Asked::Steps(request) = asked else {
            return;
        };
        for step in request.steps.into_iter().filter_map(|one| one.step) {
            match step {
                _ if self.has_ended => return,
                step::Step::Send(send) if self.streamed_out => {
                    let late = self.server.has(Quirk::ConversesLate);
                    let times = match self.server.quirk {
                        Quirk::SpreadShort => send.times.saturating_sub(1),
                        _ => send.times,
                    };
                    if late {
                        // Until the requests have ended.
                        while matches!(self.link.read().await, Read::Message(_)) {}
                    }
                    for _ in 0..times {
                        self.sent += 1;
                        let effects = std::mem::take(&mut self.effects);
                        let mut decision = self.decide(&effects);
                        let reply = Reply {
                            text: send.text.clone(),
                            count: self.sent,
                            ..Reply::default()
                        };
                        decision.answer =
                            Some(decision::Answer::Reply(reply.encode_to_vec().into()));
                        self.send(&decision).await;
                        if self.has_ended {
                            return;
                        }
                    }
                }
                step::Step::Effect(_) if self.streamed_out => self.effects.push(step),
                step::Step::Fail(_) => {
                    let decision = self.decide(&[step]);
                    self.send(&decision).await;
                    if self.server.has(Quirk::GoesOnAfterFailure) {
                        self.send(&self.decide(&[])).await;
                    }
                    self.has_ended = true;
                    self.link.end(0, "", "");
                }
                step::Step::Crash(_) => {
                    if self.server.has(Quirk::CrashReplies) {
                        self.send(&self.decide(&[])).await;
                    }
                    self.has_ended = true;
                    self.link.end(2, "it broke", "");
                }
                step => self.steps.push(step),
            }
        }
        if self.server.has(Quirk::CollectFirst) && !self.has_ended && !self.streamed_out {
            self.finish().await;
        }
    }

    async fn finish(&mut self) {
        if self.has_ended {
            return;
        }
        self.has_ended = true;
        if !self.streamed_out {
            let decision = self.decide(&self.steps);
            self.send(&decision).await;
        } else if !self.effects.is_empty() && !self.server.has(Quirk::LateEffectsLost) {
            let effects = std::mem::take(&mut self.effects);
            let mut decision = self.decide(&effects);
            decision.answer = None;
            self.send(&decision).await;
        }
        self.link.end(0, "", "");
    }
}
