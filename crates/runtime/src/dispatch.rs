//! The dispatcher: routes a call to its entity or action, and runs forwards and effects in the
//! request's context.
//!
//! # How it works
//! [`Dispatcher::unary`] finds the entity a message is for, sends a command to its lane and waits
//! for the settled decision. Then, in the order the protocols fix: effects in list order, waiting
//! for the synchronous ones, then the answer: a reply to the caller, or a forward, which is the
//! same again with another method. By then the entity serves its next command, so a forward or an
//! effect back to the same entity cannot wait for itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;
use firn_model::call::{Call, CallHead, Reply};
use firn_model::code::Code;
use firn_model::contract::{Component, Finding, Kind, Method, Weight};
use firn_model::decision::{Answer, Effect, Forward};
use firn_model::id::{EntityKey, Replica, Slot};
use firn_model::limit::HOPS_MAX;
use firn_model::metadata::Metadata;
use firn_model::payload::Payload;
use firn_model::policy::{Headers, ReplyType};
use firn_model::status::{GrpcCode, Status};
use firn_store::Clock;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use xxhash_rust::xxh3::xxh3_128;

use crate::calls::OwnCall;
use crate::driver::{Message, ReplyTo};
use crate::engine::Served;
use crate::identity::{Occasion, entity_id};
use crate::lane::{Caused, Command, Idempotency, Input, Origin, Rests, Settled};
use crate::link::{ActionAnswer, ActionCall, MessageStream};
use crate::refusal::Refusal;
use crate::replicated::driver::Handle as Replicas;
use crate::reply::{chosen, nothing, type_name, typed};
use crate::timers::Alarm;
use crate::trace::{Trace, Way};
use crate::waits::{Wait, Waiter, Waits};

/// Routes calls. Cheap to share.
pub struct Dispatcher {
    pub(crate) replicas: Replicas,
    pub(crate) commands: Vec<mpsc::Sender<Command<ReplyTo>>>,
    pub(crate) inboxes: Arc<[mpsc::UnboundedSender<Message>]>,
    pub(crate) served: watch::Receiver<Option<Arc<Served>>>,
    /// Where tasks run, also those that a caller leaves behind as it goes.
    pub(crate) runtime: Handle,
    pub(crate) tasks: TaskTracker,
    /// No delivery is tried again once this is cancelled.
    pub(crate) quiet: CancellationToken,
    /// Everything ends once this is cancelled.
    pub(crate) stop: CancellationToken,
    pub(crate) command_timeout: Duration,
    pub(crate) waits: Waits,
    /// The number of the last call of an action.
    pub(crate) last_action: AtomicU64,
    /// This node in this run.
    pub(crate) me: Replica,
    pub(crate) clock: Clock,
    pub(crate) alarm: Alarm,
}

mod effects;
mod replicated;

/// Why a command could not be carried out, and whether an effect is to be tried again.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: Status,
    pub(crate) again: bool,
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self {
            status,
            again: false,
        }
    }
}

/// One message on its way to a method.
struct Request {
    method: Arc<Method>,
    message: Bytes,
    metadata: Metadata,
    source: Source,
    deadline: Instant,
    idempotency_key: Option<ByteString>,
    origin: Option<Origin>,
    hops: u32,
    trace: Trace,
    /// Whose handler waits for it.
    waiter: Option<Waiter>,
    /// Dropped once its command stands in the mailbox of its entity.
    begun: Option<Begun>,
}

/// Held until a command stands in the mailbox of its entity, or it is known that it will not.
pub(crate) type Begun = oneshot::Sender<()>;

/// Who made a request: decides which of its headers the function sees.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A client; its headers are filtered.
    Client,
    /// The function itself, by a forward or effect; it chose the headers.
    Function,
}

impl Dispatcher {
    /// Serves a call of one message and one reply.
    ///
    /// # Errors
    /// The status for the caller: the function's own failure, or Firn's with its code.
    pub async fn unary(self: Arc<Self>, call: Call) -> Result<Reply, Status> {
        let Call { head, message } = call;
        let CallHead {
            method,
            metadata,
            deadline,
            idempotency_key,
        } = head;
        if idempotency_key.is_some() && !method.component.kind.keeps_records() {
            return Err(key_refused());
        }
        let request = Request {
            method,
            message,
            metadata,
            source: Source::Client,
            deadline: self.deadline(deadline),
            idempotency_key,
            origin: None,
            hops: 0,
            trace: Trace::default(),
            waiter: None,
            begun: None,
        };
        self.run(request).await.map_err(|refused| refused.status)
    }

    /// Serves a call that streams, of an action or a replicated entity. Ends after the first error.
    pub fn streamed(
        self: Arc<Self>,
        head: CallHead,
        messages: MessageStream,
    ) -> BoxStream<'static, Result<Reply, Status>> {
        if head.idempotency_key.is_some() {
            return one_error(key_refused());
        }
        let served = match self.served_now() {
            Ok(served) => served,
            Err(status) => return one_error(status),
        };
        let (method, asked) = (head.method.clone(), head.deadline);
        let answers = match method.component.kind {
            Kind::Replicated => self.clone().watch(head, messages),
            _ => {
                let component = &method.component;
                let metadata = seen(component, Source::Client, head.metadata).unwrap_or_default();
                let method = method.clone();
                let call = ActionCall {
                    method,
                    metadata,
                    deadline: asked,
                    number: self.next_action(),
                    hops: 0,
                };
                served.link.act_streamed(call, messages)
            }
        };
        let replies = answers.filter_map(move |answer| {
            let (dispatcher, method) = (self.clone(), method.clone());
            async move {
                let ActionAnswer { answer, effects } = match answer {
                    Ok(answer) => answer,
                    Err(status) => return Some(Err(status)),
                };
                let effects = without_origin(effects);
                let after = After::of_call(method, dispatcher.deadline(asked));
                if answer == Answer::Nothing {
                    let effects = match dispatcher.keep_delayed(effects, &after).await {
                        Ok(effects) => effects,
                        Err(refused) => return Some(Err(refused.status)),
                    };
                    dispatcher.effects(effects, &after).await;
                    return None;
                }
                let settled = Settled::new(answer, effects);
                let settled = dispatcher.settle(settled, after).await;
                Some(settled.map_err(|refused| refused.status))
            }
        });
        until_error(replies.boxed())
    }

    /// Runs one request to its end, through all its forwards.
    fn run(self: Arc<Self>, request: Request) -> BoxFuture<'static, Result<Reply, Refused>> {
        Box::pin(async move {
            if request.hops > HOPS_MAX {
                return Err(Status::refused(
                    GrpcCode::FailedPrecondition,
                    Code::HopLimit,
                    format!("more than {HOPS_MAX} forwards and effects followed from one request"),
                )
                .into());
            }
            let after = After {
                method: request.method.clone(),
                deadline: request.deadline,
                idempotency_key: request.idempotency_key.clone(),
                hops: request.hops,
                trace: request.trace.clone(),
                waiter: request.waiter.clone(),
            };
            let settled = match request.method.component.kind {
                Kind::Action => self.act(request).await?,
                Kind::Value | Kind::EventSourced | Kind::Actor => self.command(request).await?,
                Kind::Replicated => self.replicated(request).await?,
            };
            self.settle(settled, after).await
        })
    }

    /// Sends a command to an entity and waits for its settled decision.
    async fn command(self: &Arc<Self>, request: Request) -> Result<Settled, Refused> {
        let Request {
            method,
            message,
            metadata,
            source,
            deadline,
            origin,
            hops,
            waiter,
            begun,
            ..
        } = request;
        self.served_now().map_err(|status| Refused {
            status,
            again: true,
        })?;
        let component = method.component.clone();
        let occasion = Occasion {
            effect: origin.map(|origin| origin.effect),
            idempotency_key: request.idempotency_key.as_deref(),
        };
        let id = entity_id(&method, &message, occasion)?;
        let key = EntityKey::new(component.storage.clone(), id.stored().clone());
        let slot = key.slot();
        let _wait = self.wait(waiter, || Waiter::Entity(key))?;
        let idempotency = request.idempotency_key.map(|key| Idempotency {
            key,
            request_hash: xxh3_128(&message),
        });
        let (caller, answer) = oneshot::channel();
        let mut waiting = Waiting {
            answer,
            dispatcher: self.clone(),
            hops,
        };
        let command = Command {
            id,
            metadata: seen(&component, source, metadata),
            method,
            message,
            deadline: Some(deadline),
            idempotency,
            origin,
            hops,
            reply: ReplyTo { caller, hops },
        };
        let stopped = || Refused {
            status: Refusal::ShuttingDown.status(&component),
            again: true,
        };
        self.commands[self.lane_of(slot)]
            .send(command)
            .await
            .map_err(|_| stopped())?;
        drop(begun);
        match (&mut waiting.answer).await {
            Ok(Ok(settled)) => self.still_owned(slot, &component, settled).await,
            Ok(Err(refusal)) => Err(Refused {
                status: refusal.status(&component),
                // Nothing that a function was doing when it went away was an answer.
                again: refusal.delays_delivery() || self.served_now().is_err(),
            }),
            Err(_) => Err(stopped()),
        }
    }

    /// Lets an answer go that rests on what this node knows of a slot, once it is sure that nobody
    /// else has gone on with the slot meanwhile.
    ///
    /// One that a landed commit carries goes at once: the fence has compared the owner with the
    /// commit, and what was true then may be said later. What is not let go has committed nothing,
    /// so its effects end with it; only what is written behind may land yet.
    async fn still_owned(
        &self,
        slot: Slot,
        component: &Component,
        settled: Settled,
    ) -> Result<Settled, Refused> {
        let store = &self.replicas.store;
        if settled.rests == Rests::Landed || store.is_sure() {
            return Ok(settled);
        }
        let refusal = match (store.holds(slot).await, settled.rests) {
            (Ok(true), _) => return Ok(settled),
            (_, Rests::UnderWay) => Refusal::CommitUnknown,
            (Ok(false), _) => Refusal::CommitRefused,
            (Err(_), _) => Refusal::OwnerUnsure,
        };
        Err(Refused {
            status: refusal.status(component),
            again: true,
        })
    }

    /// Calls an action with one message.
    async fn act(&self, request: Request) -> Result<Settled, Refused> {
        let again = |status| Refused {
            status,
            again: true,
        };
        let served = self.served_now().map_err(again)?;
        let Request {
            method,
            message,
            metadata,
            source,
            deadline,
            hops,
            waiter,
            begun,
            ..
        } = request;
        // Calls of actions have no order.
        drop(begun);
        let metadata = seen(&method.component, source, metadata).unwrap_or_default();
        let component = method.component.clone();
        let number = self.next_action();
        let _wait = self.wait(waiter, || Waiter::Action {
            number,
            path: method.path().into(),
        })?;
        let call = ActionCall {
            method,
            metadata,
            deadline: Some(deadline),
            number,
            hops,
        };
        let call = served.link.act(call, message);
        match tokio::time::timeout_at(deadline.into(), call).await {
            Ok(Ok(ActionAnswer { answer, effects })) => {
                Ok(Settled::new(answer, without_origin(effects)))
            }
            Ok(Err(status)) => Err(Refused {
                // What the function chose comes as an answer, what it did wrong counts as one.
                again: status.code == GrpcCode::Unavailable,
                status,
            }),
            Err(_) => Err(again(Refusal::Timeout.status(&component))),
        }
    }

    /// Runs the effects of a decision, then answers or forwards.
    async fn settle(self: Arc<Self>, settled: Settled, after: After) -> Result<Reply, Refused> {
        let effects = self.keep_delayed(settled.effects, &after).await?;
        self.effects(effects, &after).await;
        let method = after.method.clone();
        let reply = match settled.answer {
            Answer::Reply(reply) => typed(&method, reply),
            Answer::Failure(failure) => return Err(chosen(failure).into()),
            Answer::Nothing => return Ok(nothing(&method)?),
            Answer::Forward(forward) => self.clone().forward(forward, after).await?,
        };
        self.as_declared(&method, reply)
    }

    /// Lets another method answer.
    async fn forward(self: Arc<Self>, forward: Forward, after: After) -> Result<Reply, Refused> {
        let trace = after.trace.then(Way::Forward, &after.method);
        let method = self.target(&forward, &trace)?;
        // An action cannot keep a record; what it forwards to has none either.
        let key = after
            .idempotency_key
            .filter(|_| method.component.kind.keeps_records());
        let request = Request {
            method,
            message: forward.payload.bytes,
            metadata: forward.metadata,
            source: Source::Function,
            deadline: after.deadline,
            idempotency_key: key.map(|key| format!("{key}/forward").into()),
            origin: None,
            hops: after.hops + 1,
            trace,
            waiter: after.waiter,
            begun: None,
        };
        self.run(request).await
    }

    /// A reply, judged by whether it is of the method's output type.
    fn as_declared(&self, method: &Method, reply: Reply) -> Result<Reply, Refused> {
        let Payload { type_url, bytes } = &reply.payload;
        let nothing = type_url.is_empty() && bytes.is_empty();
        if nothing || type_name(type_url) == type_name(&method.output_url) {
            return Ok(reply);
        }
        let text = format!(
            "{} replied with {:?}, but its output is {}",
            method.path(),
            reply.payload.type_url,
            method.descriptor.output().full_name()
        );
        let (weight, result) = match method.component.policies.reply_type {
            ReplyType::Warn => (Weight::Warning, Ok(reply)),
            ReplyType::Refuse => {
                let status = Status::refused(GrpcCode::Internal, Code::ReplyType, text.as_str());
                (Weight::Error, Err(status.into()))
            }
        };
        self.report(weight, Code::ReplyType, &method.component.service, text);
        result
    }

    /// Tells the operator and the function what the function did.
    fn report(&self, weight: Weight, code: Code, service: &str, text: String) {
        if let Some(served) = self.served.borrow().clone() {
            let finding = Finding {
                code,
                text,
                service: Some(service.to_owned()),
                location: None,
            };
            served.link.report(weight, finding);
        }
    }

    /// When a call that begins now must have ended, with all that it is forwarded to.
    fn deadline(&self, asked: Option<Instant>) -> Instant {
        let longest = tokio::time::Instant::now().into_std() + self.command_timeout;
        asked.map_or(longest, |asked| asked.min(longest))
    }

    /// Carries out a call of the function.
    pub(crate) async fn called(self: Arc<Self>, call: OwnCall) -> Result<Reply, Status> {
        let OwnCall {
            target,
            timeout,
            within,
        } = call;
        let (waiter, hops) = match within {
            Some(within) => (Some(within.waiter), within.hops + 1),
            None => (None, 0),
        };
        let trace = Trace::default();
        let method = self.target(&target, &trace)?;
        if method.streams_in() || method.streams_out() {
            return Err(Status::refused(
                GrpcCode::Unimplemented,
                Code::TargetUnknown,
                format!(
                    "{} streams; a function can call unary methods only",
                    method.path()
                ),
            ));
        }
        let until = timeout.map(|timeout| tokio::time::Instant::now().into_std() + timeout);
        let request = Request {
            method,
            message: target.payload.bytes,
            metadata: target.metadata,
            source: Source::Function,
            deadline: self.deadline(until),
            idempotency_key: None,
            origin: None,
            hops,
            trace,
            waiter,
            begun: None,
        };
        self.run(request).await.map_err(|refused| refused.status)
    }

    /// Notes who waits for whom, as long as what this gives is held.
    fn wait(
        &self,
        waiter: Option<Waiter>,
        target: impl FnOnce() -> Waiter,
    ) -> Result<Option<Wait>, Status> {
        let Some(waiter) = waiter else {
            return Ok(None);
        };
        self.waits
            .enter(waiter, target())
            .map(Some)
            .map_err(|circle| {
                Status::refused(
                    GrpcCode::FailedPrecondition,
                    Code::CallCircle,
                    format!("the call would wait for itself: {circle}"),
                )
            })
    }

    fn next_action(&self) -> u64 {
        self.last_action.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The method that a forward or effect names.
    fn target(&self, forward: &Forward, trace: &Trace) -> Result<Arc<Method>, Status> {
        let served = self.served_now()?;
        let path = forward.path();
        served.contract.method(&path).cloned().ok_or_else(|| {
            let status = unknown_target(forward);
            self.report(
                Weight::Error,
                Code::TargetUnknown,
                &forward.service,
                format!("{}{trace}", status.message),
            );
            status
        })
    }

    /// What is served now, if the function is connected.
    fn served_now(&self) -> Result<Arc<Served>, Status> {
        let served = self.served.borrow().clone();
        served.filter(|served| served.link.is_up()).ok_or_else(|| {
            Status::refused(
                GrpcCode::Unavailable,
                Code::FunctionUnavailable,
                "the function is not connected; not applied",
            )
        })
    }

    pub(crate) fn lane_of(&self, slot: Slot) -> usize {
        slot.share_of(self.commands.len())
    }

    /// Gives an input to the lane of a slot.
    pub(crate) fn tell(&self, slot: Slot, input: Input<ReplyTo>) {
        // A lane that has ended has nothing left to be told.
        let _ = self.inboxes[self.lane_of(slot)].send(Message::Input(input));
    }

    /// Starts a task that the engine waits for when it stops.
    pub(crate) fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        let stop = self.stop.clone();
        let task = async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = task => {}
            }
        };
        self.tasks.spawn_on(task, &self.runtime)
    }
}

/// What is needed of a request after its command is settled.
struct After {
    method: Arc<Method>,
    deadline: Instant,
    idempotency_key: Option<ByteString>,
    hops: u32,
    trace: Trace,
    waiter: Option<Waiter>,
}

impl After {
    /// What is needed of a call that streams.
    fn of_call(method: Arc<Method>, deadline: Instant) -> Self {
        Self {
            method,
            deadline,
            idempotency_key: None,
            hops: 0,
            trace: Trace::default(),
            waiter: None,
        }
    }
}

/// Waits for the answer to a command. If the caller goes away in between, what the command caused
/// runs all the same.
struct Waiting {
    answer: oneshot::Receiver<Result<Settled, Refusal>>,
    dispatcher: Arc<Dispatcher>,
    hops: u32,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // From here on the driver finds nobody to answer and sees to the effects itself.
        self.answer.close();
        if let Ok(Ok(settled)) = self.answer.try_recv() {
            self.dispatcher.orphaned(settled.effects, self.hops);
        }
    }
}

/// The headers that the function may see.
fn seen(component: &Component, source: Source, metadata: Metadata) -> Option<Metadata> {
    match (&component.policies.headers, source) {
        (Headers::None, _) => None,
        (Headers::Listed(listed), Source::Client) => Some(metadata.only(listed)),
        (Headers::All, _) | (Headers::Listed(_), Source::Function) => Some(metadata),
    }
}

fn unknown_target(forward: &Forward) -> Status {
    let text = format!("forward or effect to an unknown method: {}", forward.path());
    Status::refused(GrpcCode::Internal, Code::TargetUnknown, text)
}

fn key_refused() -> Status {
    Status::refused(
        GrpcCode::InvalidArgument,
        Code::IdempotencyKeyRefused,
        "idempotency keys work on unary commands to entities only",
    )
}

fn without_origin(effects: Vec<Effect>) -> Vec<Caused> {
    effects
        .into_iter()
        .map(|effect| Caused {
            effect,
            origin: None,
        })
        .collect()
}

fn one_error(status: Status) -> BoxStream<'static, Result<Reply, Status>> {
    futures_util::stream::once(async { Err(status) }).boxed()
}

/// The stream up to and with its first error.
fn until_error(
    replies: BoxStream<'static, Result<Reply, Status>>,
) -> BoxStream<'static, Result<Reply, Status>> {
    futures_util::stream::unfold(Some(replies), |replies| async move {
        let mut replies = replies?;
        let next = replies.next().await?;
        let rest = next.is_ok().then_some(replies);
        Some((next, rest))
    })
    .boxed()
}
