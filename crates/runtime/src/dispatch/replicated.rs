//! Calls of replicated entities: one answer, or a stream of them.

use std::sync::Arc;

use firn_model::call::CallHead;
use firn_model::contract::Component;
use firn_model::decision::Answer;
use firn_model::id::EntityKey;
use firn_model::status::{GrpcCode, Status};
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::oneshot;

use super::{Dispatcher, Refused, Request, Source, seen};
use crate::identity::{Occasion, entity_id};
use crate::lane::{Origin, Settled};
use crate::link::{ActionAnswer, AnswerStream, MessageStream};
use crate::refusal::Refusal;
use crate::replicated::driver::Caller;
use crate::replicated::told::{self, Listener, Told};
use crate::replicated::{CallId, Command};
use crate::trace::Trace;

impl Dispatcher {
    /// Sends a command to a replicated entity and waits for its settled answer.
    pub(super) async fn replicated(self: &Arc<Self>, request: Request) -> Result<Settled, Refused> {
        self.served_now().map_err(again)?;
        let component = request.method.component.clone();
        let origin = request.origin;
        let (command, key) = self.replica_command(request, false)?;
        if self.was_received(&key, origin).await? {
            return Ok(Settled::new(Answer::Nothing, Vec::new()));
        }
        let (caller, answer) = oneshot::channel();
        let stopped = || again(Refusal::ShuttingDown.status(&component));
        if !self.replicas.send(command, Caller::One(caller)).await {
            return Err(stopped());
        }
        match answer.await {
            Ok(Ok(settled)) => Ok(settled),
            Ok(Err(refusal)) => Err(Refused {
                status: refusal.status(&component),
                again: refusal.delays_delivery() || self.served_now().is_err(),
            }),
            Err(_) => Err(stopped()),
        }
    }

    /// Sends a command whose answers are a stream.
    pub(super) fn watch(self: Arc<Self>, head: CallHead, messages: MessageStream) -> AnswerStream {
        let component = head.method.component.clone();
        stream::once(self.begin_watching(head, messages))
            .flat_map(move |watching| match watching {
                Ok(watching) => answers(watching, component.clone()),
                Err(status) => stream::once(async { Err(status) }).boxed(),
            })
            .boxed()
    }

    /// Sends the command once its message is there.
    async fn begin_watching(
        self: Arc<Self>,
        head: CallHead,
        mut messages: MessageStream,
    ) -> Result<Watching, Status> {
        let Some(message) = messages.next().await else {
            let text = "the call has no request message";
            return Err(Status::chosen(GrpcCode::InvalidArgument, text));
        };
        let component = head.method.component.clone();
        let request = Request {
            method: head.method,
            message: message?,
            metadata: head.metadata,
            source: Source::Client,
            deadline: self.deadline(head.deadline),
            idempotency_key: None,
            origin: None,
            hops: 0,
            trace: Trace::default(),
            waiter: None,
            begun: None,
        };
        let (command, key) = self.replica_command(request, true)?;
        let call = command.call;
        let (teller, answers) = told::way();
        let caller = Caller::Many(teller, key.clone());
        if !self.replicas.send(command, caller).await {
            return Err(Refusal::ShuttingDown.status(&component));
        }
        Ok(Watching {
            dispatcher: self,
            key,
            call,
            answers,
        })
    }

    /// A request as a command for its entity.
    fn replica_command(
        &self,
        request: Request,
        streamed: bool,
    ) -> Result<(Command, EntityKey), Status> {
        let component = request.method.component.clone();
        let occasion = Occasion {
            effect: request.origin.map(|origin| origin.effect),
            idempotency_key: None,
        };
        let id = entity_id(&request.method, &request.message, occasion)?;
        let key = EntityKey::new(component.storage.clone(), id.stored().clone());
        let command = Command {
            call: self.replicas.call(),
            id,
            metadata: seen(&component, request.source, request.metadata),
            method: request.method,
            message: request.message,
            deadline: request.deadline,
            streamed,
            origin: request.origin,
            hops: request.hops,
        };
        Ok((command, key))
    }

    /// Whether an effect that comes again has done its work already.
    async fn was_received(&self, key: &EntityKey, origin: Option<Origin>) -> Result<bool, Refused> {
        let Some(origin) = origin.filter(|origin| origin.redelivered) else {
            return Ok(false);
        };
        let received = self
            .replicas
            .store
            .was_received(key.slot(), origin.effect)
            .await;
        received.map_err(|error| {
            let cause = error.to_string();
            again(Status::chosen(GrpcCode::Unavailable, cause))
        })
    }
}

fn again(status: Status) -> Refused {
    Refused {
        status,
        again: true,
    }
}

/// The caller of a streamed command. When it goes away the entity is told.
struct Watching {
    dispatcher: Arc<Dispatcher>,
    key: EntityKey,
    call: CallId,
    answers: Listener,
}

/// What a caller is told, up to the last word.
fn answers(watching: Watching, component: Arc<Component>) -> AnswerStream {
    stream::unfold(Some(watching), move |watching| {
        let component = component.clone();
        async move {
            let mut watching = watching?;
            let refusal = match watching.answers.next().await {
                Some(Told::Next(settled)) => {
                    let effects = settled.effects.into_iter().map(|it| it.effect).collect();
                    let answer = ActionAnswer {
                        answer: settled.answer,
                        effects,
                    };
                    return Some((Ok(answer), Some(watching)));
                }
                Some(Told::End(Ok(()))) => return None,
                Some(Told::End(Err(refusal))) => refusal,
                None => watching.why_cut_off(),
            };
            Some((Err(refusal.status(&component)), None))
        }
    })
    .boxed()
}

impl Watching {
    /// Why the answers ended without a last word.
    fn why_cut_off(&self) -> Refusal {
        if self.dispatcher.quiet.is_cancelled() || self.dispatcher.stop.is_cancelled() {
            Refusal::ShuttingDown
        } else {
            Refusal::CallerTooSlow
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.dispatcher
            .replicas
            .caller_gone(self.key.clone(), self.call);
    }
}
