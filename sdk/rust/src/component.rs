//! Components: what a function declares, and how a command reaches its handler.
//!
//! A [`Declaration`] is typed; a [`Component`] is the same with its types forgotten, as the session
//! holds it. What differs between the models is in [`Behaviour`].

use std::any::Any as Anything;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use prost::Message;

use crate::Failure;
use crate::context::{Conclusion, Context, OpenError, Pending, RequestInfo, Undone};
use crate::handler::{AsyncHandler, Handled, Outcome, StreamHandler};
use crate::method::{Answer, Method, Service, StreamBoth, StreamIn, StreamOut, duration};
use crate::streams::{RawReplies, RawRequests, Replies, Requests};
use crate::wire::{self, decision, opening};

/// A state model: `Action`, `ValueEntity<S>`, `EventSourced<S>`, `Replicated<D>` or `Actor<S>`.
///
/// Sealed: the models are those of the protocol.
pub trait Model: Behaviour {}

/// A model whose entities have timers.
pub trait Timed: Model {}

/// An entity between commands.
pub(crate) type Held = Box<dyn Anything + Send>;

/// What a model does. An entity is *held* between commands, and *lent* to a handler's context as
/// data.
pub trait Behaviour: Sized + Send + Sync + 'static {
    /// An entity between commands.
    type Held: Send + 'static;
    /// What a context has of it.
    type Data: Send + 'static;
    /// What the declaration says of the model.
    type Rules: Default + Send + Sync + 'static;

    /// Reads the state that opens an incarnation.
    #[doc(hidden)]
    fn open(
        rules: &Arc<Self::Rules>,
        version: u64,
        state: Option<opening::State>,
    ) -> Result<Self::Held, OpenError>;

    /// Lends the entity to a handler that runs `now`, or later. What is left behind can serve others.
    #[doc(hidden)]
    fn lend(held: Box<Self::Held>, now: bool) -> (Option<Box<Self::Held>>, Box<Self::Data>);

    /// The entity after its handler, unless it was left behind.
    #[doc(hidden)]
    fn give_back(data: Box<Self::Data>) -> Option<Box<Self::Held>>;

    /// The handler has replied: what changes.
    #[doc(hidden)]
    fn conclude(data: &mut Self::Data) -> Conclusion;

    /// The handler has failed: nothing changes.
    #[doc(hidden)]
    fn undo(data: &mut Self::Data) -> (Undone, u64);

    /// All of a replicated entity's data.
    #[doc(hidden)]
    fn whole(_held: &Self::Held) -> Option<wire::Delta> {
        None
    }

    /// The entity has changed elsewhere. Only replicated ones do.
    #[doc(hidden)]
    fn change(_held: &mut Self::Held, _change: wire::change::Change) -> Result<(), OpenError> {
        Err(OpenError::OtherModel)
    }
}

type Now<M> = Box<dyn Fn(Bytes, &mut Context<M>) -> Handled + Send + Sync>;
type Later<M> =
    Arc<dyn for<'a> Fn(Incoming, &'a mut Context<M>) -> BoxFuture<'a, Handled> + Send + Sync>;

/// A handler with its types forgotten.
enum Run<M: Model> {
    /// Runs inline: nothing is made for it.
    Now(Now<M>),
    /// Runs as a future beside others.
    Later(Later<M>),
}

/// What a handler that runs later gets.
pub(crate) struct Incoming {
    message: Bytes,
    requests: Option<RawRequests>,
    replies: Option<RawReplies>,
}

impl Incoming {
    fn requests(&mut self) -> RawRequests {
        self.requests.take().expect("this method streams requests")
    }

    pub(crate) fn replies(&mut self) -> RawReplies {
        self.replies.take().expect("this method streams replies")
    }

    pub(crate) fn message(&mut self) -> Bytes {
        std::mem::take(&mut self.message)
    }
}

/// How a method is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) now: bool,
    pub(crate) requests: bool,
    pub(crate) replies: bool,
}

struct Handler<M: Model> {
    name: &'static str,
    shape: Shape,
    run: Run<M>,
}

/// A component that is being declared: options, then a handler for each method.
#[must_use = "add it to a function"]
pub struct Declaration<M: Model> {
    pub(crate) service: Service,
    pub(crate) declared: wire::Component,
    handlers: Vec<Handler<M>>,
    pub(crate) rules: M::Rules,
}

impl<M: Model> Declaration<M> {
    pub(crate) fn new(service: Service, model: wire::Model) -> Self {
        Self {
            service,
            declared: wire::Component {
                service: service.name.to_owned(),
                model: model.into(),
                ..wire::Component::default()
            },
            handlers: Vec::new(),
            rules: M::Rules::default(),
        }
    }

    /// Which headers of callers reach the handlers: names in lower case, or `"*"` for all.
    pub fn headers<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.declared.headers = names.into_iter().map(Into::into).collect();
        self
    }

    /// Handles a unary method with a plain function, which runs at once, before anything else on this
    /// connection. It must not block; one that waits for something is for [`Declaration::on_async`].
    ///
    /// # Panics
    /// If the method is of another service, or has a handler already.
    pub fn on<Req, Res, A, E, H>(self, method: Method<Req, Res>, handler: H) -> Self
    where
        Req: Message + Default + 'static,
        Res: Message + 'static,
        A: Into<Answer<Res>>,
        E: Into<Failure>,
        H: Fn(Req, &mut Context<M>) -> Result<A, E> + Send + Sync + 'static,
    {
        let run: Now<M> =
            Box::new(move |message, context| answer(handler(decode(message)?, context)));
        self.add(method.service, method.name, ONE, Run::Now(run))
    }

    /// Handles a unary method with an `async fn`. Commands of other entities go on meanwhile.
    ///
    /// # Panics
    /// As [`Declaration::on`].
    pub fn on_async<Req, Res, A, E, H>(self, method: Method<Req, Res>, handler: H) -> Self
    where
        Req: Message + Default + 'static,
        Res: Message + 'static,
        A: Into<Answer<Res>>,
        E: Into<Failure>,
        H: for<'a> AsyncHandler<'a, Req, M, Output = Result<A, E>>,
    {
        let handler = Arc::new(handler);
        self.later(
            method.service,
            method.name,
            ONE,
            move |mut incoming, context| {
                let handler = Arc::clone(&handler);
                Box::pin(async move {
                    let request = decode(incoming.message())?;
                    answer(handler.call(request, context).await)
                })
            },
        )
    }

    pub(crate) fn add_stream_out<Req, Res, E, H>(
        self,
        method: Method<Req, Res, StreamOut>,
        handler: H,
    ) -> Self
    where
        Req: Message + Default + 'static,
        Res: Message + 'static,
        E: Into<Failure>,
        H: for<'a> StreamHandler<'a, Req, Res, M, Output = Result<(), E>>,
    {
        let handler = Arc::new(handler);
        self.later(
            method.service,
            method.name,
            OUT,
            move |mut incoming, context| {
                let handler = Arc::clone(&handler);
                Box::pin(async move {
                    let request = decode(incoming.message())?;
                    let replies = Replies::new(incoming.replies());
                    end(handler.call(request, context, replies).await)
                })
            },
        )
    }

    pub(crate) fn add_stream_in<Req, Res, A, E, H>(
        self,
        method: Method<Req, Res, StreamIn>,
        handler: H,
    ) -> Self
    where
        Req: Message + Default + 'static,
        Res: Message + 'static,
        A: Into<Answer<Res>>,
        E: Into<Failure>,
        H: for<'a> AsyncHandler<'a, Requests<Req>, M, Output = Result<A, E>>,
    {
        let handler = Arc::new(handler);
        self.later(
            method.service,
            method.name,
            IN,
            move |mut incoming, context| {
                let handler = Arc::clone(&handler);
                Box::pin(async move {
                    let requests = Requests::new(incoming.requests());
                    answer(handler.call(requests, context).await)
                })
            },
        )
    }

    pub(crate) fn add_stream_both<Req, Res, E, H>(
        self,
        method: Method<Req, Res, StreamBoth>,
        handler: H,
    ) -> Self
    where
        Req: Message + Default + 'static,
        Res: Message + 'static,
        E: Into<Failure>,
        H: for<'a> StreamHandler<'a, Requests<Req>, Res, M, Output = Result<(), E>>,
    {
        let handler = Arc::new(handler);
        self.later(
            method.service,
            method.name,
            BOTH,
            move |mut incoming, context| {
                let handler = Arc::clone(&handler);
                Box::pin(async move {
                    let requests = Requests::new(incoming.requests());
                    let replies = Replies::new(incoming.replies());
                    end(handler.call(requests, context, replies).await)
                })
            },
        )
    }

    pub(crate) fn later(
        self,
        service: &'static str,
        name: &'static str,
        shape: Shape,
        run: impl for<'a> Fn(Incoming, &'a mut Context<M>) -> BoxFuture<'a, Handled>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let shape = Shape {
            now: false,
            ..shape
        };
        self.add(service, name, shape, Run::Later(Arc::new(run)))
    }

    fn add(mut self, service: &'static str, name: &'static str, shape: Shape, run: Run<M>) -> Self {
        let own = self.service.name;
        assert!(service == own, "{service}/{name} is no method of {own}");
        let known = self.handlers.iter().any(|handler| handler.name == name);
        assert!(!known, "{own}/{name} has a handler already");
        self.declared.methods.push(wire::Method {
            name: name.to_owned(),
            id: Vec::new(),
        });
        self.handlers.push(Handler { name, shape, run });
        self
    }
}

/// Options of components that have entities.
impl<M: Model + Entity> Declaration<M> {
    /// The field of every request that names its entity; nested ones with dots. Called again, the id
    /// has several parts.
    pub fn id(mut self, field: &str) -> Self {
        self.declared.id.push(field.to_owned());
        self
    }

    /// Where the requests of one method name their entity, if otherwise than [`Declaration::id`]
    /// says. Comes after the method's handler.
    ///
    /// # Panics
    /// If the method has no handler yet.
    pub fn id_of<Req, Res, Shape>(
        mut self,
        method: Method<Req, Res, Shape>,
        fields: &[&str],
    ) -> Self {
        let mut methods = self.declared.methods.iter_mut();
        let declared = methods.find(|declared| declared.name == method.name);
        let declared = declared.unwrap_or_else(|| panic!("{method:?} has no handler yet"));
        declared.id = fields.iter().map(|field| (*field).to_owned()).collect();
        self
    }

    /// The name under which the entities' data is kept; the service's name if not said.
    pub fn storage(mut self, name: &str) -> Self {
        name.clone_into(&mut self.declared.storage);
        self
    }

    /// How long an entity may be idle in Firn's memory.
    pub fn passivate_after(mut self, idle: Duration) -> Self {
        self.declared.passivate_after = Some(duration(idle));
        self
    }
}

/// A model that has entities: all but actions.
pub trait Entity: Model {}

const ONE: Shape = Shape {
    now: true,
    requests: false,
    replies: false,
};
pub(crate) const OUT: Shape = Shape {
    replies: true,
    ..ONE
};
const IN: Shape = Shape {
    requests: true,
    ..ONE
};
const BOTH: Shape = Shape {
    requests: true,
    replies: true,
    ..ONE
};

pub(crate) fn decode<Req: Message + Default>(message: Bytes) -> Result<Req, Failure> {
    Req::decode(message).map_err(|error| {
        Failure::invalid_argument(format!("the request cannot be decoded: {error}"))
    })
}

fn answer<Res: Message>(result: Result<impl Into<Answer<Res>>, impl Into<Failure>>) -> Handled {
    match result.map(Into::into) {
        Ok(Answer::Reply(reply)) => Ok(Outcome::Reply(reply.encode_to_vec().into())),
        Ok(Answer::Forward(target)) => Ok(Outcome::Forward(target.into_wire())),
        Err(failure) => Err(failure.into()),
    }
}

fn end(result: Result<(), impl Into<Failure>>) -> Handled {
    result.map(|()| Outcome::End).map_err(Into::into)
}

/// A declared component, ready to be added to a function.
#[derive(Clone)]
pub struct Component {
    pub(crate) serve: Arc<dyn Serve>,
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component")
            .field("service", &self.serve.service().name)
            .finish_non_exhaustive()
    }
}

impl<M: Model> From<Declaration<M>> for Component {
    fn from(declaration: Declaration<M>) -> Self {
        Self {
            serve: Arc::new(Definition {
                service: declaration.service,
                declared: declaration.declared,
                handlers: declaration.handlers,
                rules: Arc::new(declaration.rules),
            }),
        }
    }
}

/// A command on its way to its handler.
pub(crate) struct Input {
    pub(crate) request: RequestInfo,
    pub(crate) message: Bytes,
    pub(crate) requests: Option<RawRequests>,
    pub(crate) replies: Option<RawReplies>,
}

/// What comes of a command: its decision, without its number.
pub(crate) struct Finish {
    pub(crate) decision: wire::Decision,
    pub(crate) undone: Undone,
    /// What the handler panicked with.
    pub(crate) crash: Option<String>,
}

/// A command that has begun.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the frequent one, and moved once"
)]
pub(crate) enum Started {
    Done(Option<Held>, Finish),
    /// What stays here, and the future that brings the rest back.
    Running(Option<Held>, BoxFuture<'static, (Option<Held>, Finish)>),
}

/// A component as the session sees it.
pub(crate) trait Serve: Send + Sync {
    fn service(&self) -> Service;
    fn declared(&self) -> &wire::Component;
    fn shape(&self, method: usize) -> Option<(Shape, &'static str)>;
    fn open(&self, opening: Option<wire::Opening>) -> Result<Held, OpenError>;
    fn start(&self, method: usize, held: Held, input: Input) -> Started;
    fn change(&self, held: &mut Held, change: wire::change::Change) -> Result<(), OpenError>;
    fn whole(&self, held: &Held) -> Option<wire::Delta>;
}

struct Definition<M: Model> {
    service: Service,
    declared: wire::Component,
    handlers: Vec<Handler<M>>,
    rules: Arc<M::Rules>,
}

impl<M: Model> Serve for Definition<M> {
    fn service(&self) -> Service {
        self.service
    }

    fn declared(&self) -> &wire::Component {
        &self.declared
    }

    fn shape(&self, method: usize) -> Option<(Shape, &'static str)> {
        let handler = self.handlers.get(method)?;
        Some((handler.shape, handler.name))
    }

    fn open(&self, opening: Option<wire::Opening>) -> Result<Held, OpenError> {
        let opening = opening.unwrap_or_default();
        let held = M::open(&self.rules, opening.version, opening.state)?;
        Ok(Box::new(held))
    }

    fn start(&self, method: usize, held: Held, input: Input) -> Started {
        let held = held
            .downcast::<M::Held>()
            .expect("entities stay with their component");
        let run = &self.handlers[method].run;
        let now = matches!(run, Run::Now(_));
        let (left, data) = M::lend(held, now);
        let left = left.map(|held| held as Held);
        let context = Context {
            request: input.request,
            pending: Pending::default(),
            shared: input.replies.as_ref().map(|it| Arc::clone(&it.sendable)),
            data,
        };
        match run {
            Run::Now(run) => {
                let mut context: Context<M> = context;
                let handling = AssertUnwindSafe(|| run(input.message, &mut context));
                let result = catch_unwind(handling);
                let finish = finish(&mut context, result);
                let back = M::give_back(context.data).map(|held| held as Held);
                Started::Done(left.or(back), finish)
            }
            Run::Later(run) => {
                let incoming = Incoming {
                    message: input.message,
                    requests: input.requests,
                    replies: input.replies,
                };
                Started::Running(
                    left,
                    Box::pin(run_later(Arc::clone(run), incoming, context)),
                )
            }
        }
    }

    fn whole(&self, held: &Held) -> Option<wire::Delta> {
        let held = held
            .downcast_ref::<M::Held>()
            .expect("entities stay with their component");
        M::whole(held)
    }

    fn change(&self, held: &mut Held, change: wire::change::Change) -> Result<(), OpenError> {
        let held = held
            .downcast_mut::<M::Held>()
            .expect("entities stay with their component");
        M::change(held, change)
    }
}

async fn run_later<M: Model>(
    run: Later<M>,
    incoming: Incoming,
    mut context: Context<M>,
) -> (Option<Held>, Finish) {
    // Within, so that a handler that panics before its first wait is caught too.
    let handling = async { run(incoming, &mut context).await };
    let result = AssertUnwindSafe(handling).catch_unwind().await;
    let finish = finish(&mut context, result);
    (M::give_back(context.data).map(|held| held as Held), finish)
}

/// The decision on what a handler made of its command.
fn finish<M: Model>(
    context: &mut Context<M>,
    result: Result<Handled, Box<dyn Anything + Send>>,
) -> Finish {
    let (failure, crash) = match result {
        Ok(Ok(outcome)) => return concluded(context, outcome),
        Ok(Err(failure)) => (failure, None),
        Err(panic) => {
            let failure = Failure::internal("the handler failed: the function's log says why");
            (failure, Some(panic_text(&*panic)))
        }
    };
    // R23: nothing of the decision counts.
    let (undone, version) = M::undo(&mut context.data);
    Finish {
        decision: wire::Decision {
            answer: Some(decision::Answer::Failure(failure.into_wire())),
            version,
            ..wire::Decision::default()
        },
        undone,
        crash,
    }
}

fn concluded<M: Model>(context: &mut Context<M>, outcome: Outcome) -> Finish {
    let Conclusion { mutation, version } = M::conclude(&mut context.data);
    let mut pending = std::mem::take(&mut context.pending);
    if let Some(shared) = &context.shared {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        pending.sendable = std::mem::take(&mut *shared);
    }
    let answer = match outcome {
        Outcome::Reply(reply) => Some(decision::Answer::Reply(reply)),
        Outcome::Forward(target) => Some(decision::Answer::Forward(target)),
        Outcome::End => None,
    };
    Finish {
        decision: wire::Decision {
            command: 0,
            answer,
            metadata: pending.sendable.metadata.into_wire(),
            mutation: mutation.map(|mutation| wire::Mutation {
                mutation: Some(mutation),
            }),
            effects: pending.sendable.effects,
            timers: pending.timers,
            version,
        },
        undone: Undone::Whole,
        crash: None,
    }
}

/// The text of a panic.
pub(crate) fn panic_text(panic: &(dyn Anything + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without text").to_owned()
}

/// Locks what no handler can leave broken.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
