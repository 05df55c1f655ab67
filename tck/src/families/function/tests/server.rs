//! A function of these families that does what the README says, or makes one mistake.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use prost::Message as _;

use super::entity::Entity;
use super::quirk::Quirk;
use crate::families::dialect::{Dialect, Family, Kind};
use crate::families::wire::ProxyInfo;
use crate::families::{answer, contract};
use crate::proto::model::Reply;
use crate::proto::v1::{Decision, decision};
use crate::record::Record;
use crate::service::Service;
use crate::wire::{Incoming, Link, Port, Read};

/// What all calls share.
pub(super) struct Server {
    pub(super) dialect: Dialect,
    pub(super) quirk: Quirk,
    /// Answers to discovery so far.
    asked: Cell<u32>,
    /// Replies so far.
    pub(super) replies: Cell<u32>,
    /// For mistakes that mix things up.
    pub(super) last: RefCell<Option<Record>>,
    pub(super) is_stuck: Cell<bool>,
    pub(super) busy: tokio::sync::Mutex<()>,
}

/// Serves at a path until it is dropped.
pub(super) async fn serve(path: &str, dialect: Dialect, quirk: Quirk) {
    let port = Port::listen(&format!("unix:{path}")).await;
    let mut port = port.expect("an address");
    let server = Rc::new(Server {
        dialect,
        quirk,
        asked: Cell::new(0),
        replies: Cell::new(0),
        last: RefCell::new(None),
        is_stuck: Cell::new(false),
        busy: tokio::sync::Mutex::new(()),
    });
    let mut calls = tokio::task::JoinSet::new();
    while let Some(call) = port.next().await {
        let server = Rc::clone(&server);
        calls.spawn_local(async move { server.call(call).await });
    }
}

impl Server {
    pub(super) fn has(&self, quirk: Quirk) -> bool {
        self.quirk == quirk
    }

    async fn call(&self, incoming: Incoming) {
        let path = incoming.path.clone();
        let mut link = incoming.take();
        let family = self.dialect.family();
        let kinds = [Kind::Value, Kind::Events, Kind::Data];
        let entity = kinds
            .into_iter()
            .find(|kind| self.dialect.stream(*kind) == path);
        let shapes = [(false, false), (true, false), (false, true), (true, true)];
        let is_action = shapes
            .iter()
            .any(|shape| self.dialect.action(*shape) == path);
        if path == family.discovery("Discover") {
            self.discover(&mut link).await;
        } else if path == family.discovery("ReportError") {
            if self.has(Quirk::ReportsChangeIt) {
                self.asked.set(100);
            }
            link.send(&[]).await.expect("the kit listens");
            link.end(0, "", "");
        } else if path == family.discovery("HealthCheck") && family != Family::Cloudstate {
            if self.has(Quirk::NoHealth) {
                return link.end(12, "no such method", "");
            }
            link.send(&[]).await.expect("the kit listens");
            link.end(0, "", "");
        } else if let Some(kind) = entity {
            Entity::new(self, kind, link).run().await;
        } else if is_action {
            self.action(link).await;
        } else {
            link.end(12, "no such method", "");
        }
    }

    async fn discover(&self, link: &mut Link) {
        let Read::Message(message) = link.read().await else {
            return link.end(3, "no request", "");
        };
        let info = ProxyInfo::decode(message.clone()).expect("a ProxyInfo");
        if self.has(Quirk::RefusesUnknownFields) && info.encoded_len() != message.len() {
            return link.end(3, "what is that?", "");
        }
        let count = self.asked.get();
        self.asked.set(count + 1);
        let mut spec = answer::spec(self.dialect);
        let info = spec.service_info.as_mut().expect("it has one");
        match self.quirk {
            Quirk::OtherVersion => info.protocol_major_version = 9,
            Quirk::OtherStorage => {
                let mut two = contract::Declared::of(self.dialect, Service::Two);
                let two = two.as_mut().expect("it has it");
                two.storage = "tck-other".into();
                spec.components[2] = two.component(self.dialect);
            }
            Quirk::ServiceMissing => {
                let files = prost_types::FileDescriptorSet::decode(spec.proto.clone());
                let mut files = files.expect("descriptors");
                for file in &mut files.file {
                    file.service
                        .retain(|service| service.name() != "ValueModelTwo");
                }
                spec.proto = files.encode_to_vec().into();
            }
            Quirk::OtherEachTime if count > 0 => info.service_name = format!("tck-{count}"),
            Quirk::ReportsChangeIt if count >= 100 => spec.components.truncate(1),
            _ => {}
        }
        if self.dialect == Dialect::AkkaServerlessA {
            // Its annotations know nothing of replicated entities.
            let files = prost_types::FileDescriptorSet::decode(spec.proto.clone());
            let mut files = files.expect("descriptors");
            files
                .file
                .retain(|file| !file.name().starts_with("akkaserverless/"));
            spec.proto = files.encode_to_vec().into();
        }
        // The kit may have gone.
        let _ = link.send(&spec.encode_to_vec()).await;
        link.end(0, "", "");
    }

    /// Whether the next reply is the one that goes wrong.
    fn is_odd(&self) -> bool {
        let count = self.replies.get() + 1;
        self.replies.set(count);
        self.has(Quirk::OddReply) && count.is_multiple_of(40)
    }
}

impl Server {
    /// Makes the mistake that answers of all kinds can have.
    pub(super) fn spoil(&self, decision: &mut Decision) {
        let is_odd = self.is_odd();
        match (self.quirk, &mut decision.answer) {
            (Quirk::PadShort, Some(decision::Answer::Reply(bytes))) => {
                let reply = Reply::decode(bytes.clone());
                if let Ok(mut reply) = reply
                    && !reply.pad.is_empty()
                {
                    reply.pad.truncate(reply.pad.len() - 1);
                    *bytes = reply.encode_to_vec().into();
                }
            }
            (Quirk::HeadersLost, _) => decision.metadata = None,
            (Quirk::EffectsReversed, _) => decision.effects.reverse(),
            (Quirk::ForwardsElsewhere, Some(decision::Answer::Forward(target))) => {
                target.service = Service::Value.name();
            }
            (Quirk::OtherFailureText, Some(decision::Answer::Failure(failure))) => {
                failure.message += "!";
            }
            (Quirk::OddReply, Some(decision::Answer::Reply(bytes))) if is_odd => {
                // A text where no text is, and a count that is none.
                let wrong = Reply {
                    text: "odd".into(),
                    count: 999_999,
                    ..Reply::default()
                };
                *bytes = wrong.encode_to_vec().into();
            }
            _ => {}
        }
    }
}
