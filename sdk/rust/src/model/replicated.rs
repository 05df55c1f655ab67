//! Replicated entities: data that changes in several places at once.
//!
//! The live data of an incarnation is behind a lock, since several commands may be open. A plain
//! function gets the live data itself; it runs inline, so nobody else is there. An asynchronous
//! handler works on a copy, which is made anew, with its own changes on top, when others have changed
//! the data meanwhile; what it changed is brought to the live data when it has replied. So no handler
//! waits for another (R72), and each sees what others did between its command and its decision (R52).

use std::marker::PhantomData;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use prost::Message;
use tokio::sync::Notify;

use crate::Failure;
use crate::component::{Behaviour, Declaration, Entity, Model, OUT, decode, lock};
use crate::context::{Conclusion, Context, OpenError, Undone};
use crate::data::ReplicatedData;
use crate::handler::{Outcome, StreamHandler};
use crate::method::{Method, Service, StreamOut};
use crate::wire::change::Change;
use crate::wire::mutation::Mutation;
use crate::wire::{self, opening};

/// An entity of which every node that is asked has a replica. `D` is its data, for example
/// `CounterMap<Player>`.
#[derive(Debug)]
pub struct Replicated<D> {
    data: PhantomData<fn() -> D>,
}

/// How many replicas must hold a change before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// This node, in memory.
    #[default]
    Local,
    /// More than half of the members.
    Majority,
    /// All members.
    All,
}

impl Consistency {
    fn wire(self) -> wire::Consistency {
        match self {
            Self::Local => wire::Consistency::Local,
            Self::Majority => wire::Consistency::Majority,
            Self::All => wire::Consistency::All,
        }
    }
}

impl<D: ReplicatedData> Replicated<D> {
    /// Declares the replicated entity that serves a service.
    pub fn component(service: Service) -> Declaration<Self> {
        let mut declaration = Declaration::new(service, wire::Model::Replicated);
        declaration.declared.data = D::TYPE.wire().into();
        declaration
    }
}

impl<D: ReplicatedData> Declaration<Replicated<D>> {
    /// How many replicas must hold a change before it is answered.
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.declared.consistency = consistency.wire().into();
        self
    }

    /// Handles a method that streams replies: what the function shows of the data now, and again
    /// whenever it has changed, here or elsewhere. What was replaced before the caller could take it
    /// is left out. The call ends when the caller goes, or the entity is deleted.
    ///
    /// # Panics
    /// As [`Declaration::on`].
    pub fn watch<Req, Res, E>(
        self,
        method: Method<Req, Res, StreamOut>,
        show: impl Fn(&Req, &D) -> Result<Res, E> + Send + Sync + 'static,
    ) -> Self
    where
        Req: Message + Default + 'static,
        Res: Message + 'static,
        E: Into<Failure>,
    {
        let show = Arc::new(show);
        self.later(
            method.service,
            method.name,
            OUT,
            move |mut incoming, context| {
                let show = Arc::clone(&show);
                Box::pin(async move {
                    let request: Req = decode(incoming.message())?;
                    let replies = incoming.replies();
                    loop {
                        replies.ready().await?;
                        let Some(reply) = context.data.look(|data| show(&request, data)) else {
                            return Ok(Outcome::End);
                        };
                        replies.send_now(reply.map_err(Into::into)?.encode_to_vec().into())?;
                        if !context.until_changed().await {
                            return Ok(Outcome::End);
                        }
                    }
                })
            },
        )
    }

    /// Handles a method that streams replies with an `async fn` of its own: see
    /// [`Context::changed`].
    ///
    /// # Panics
    /// As [`Declaration::on`].
    pub fn on_stream_out<Req, Res, E, H>(
        self,
        method: Method<Req, Res, StreamOut>,
        handler: H,
    ) -> Self
    where
        Req: Message + Default + 'static,
        Res: Message + 'static,
        E: Into<Failure>,
        H: for<'a> StreamHandler<'a, Req, Res, Replicated<D>, Output = Result<(), E>>,
    {
        self.add_stream_out(method, handler)
    }
}

/// The live data of an incarnation.
#[derive(Debug)]
pub struct Live<D> {
    state: Mutex<State<D>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<D> {
    data: D,
    deleted: bool,
    /// Counts the changes, for those who watch.
    changes: u64,
}

impl<D> Live<D> {
    fn update<R>(&self, change: impl FnOnce(&mut State<D>) -> R) -> R {
        let result = {
            let mut state = lock(&self.state);
            state.changes += 1;
            change(&mut state)
        };
        self.changed.notify_waiters();
        result
    }
}

/// What a handler has of it: the live data itself, or a copy.
#[derive(Debug)]
pub struct Replica<D> {
    data: D,
    live: Arc<Live<D>>,
    kind: Kind,
    deleted: bool,
    consistency: Consistency,
    /// The changes that this handler has heard of.
    seen: u64,
}

/// What the data in a context is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The live data.
    Live,
    /// Nothing yet: a copy is made when the handler looks.
    Unmade,
    /// A copy, made after so many changes.
    Copy(u64),
}

impl<D: ReplicatedData> Replica<D> {
    /// Looks at the live data; none if the entity was deleted.
    fn look<R>(&mut self, show: impl FnOnce(&D) -> R) -> Option<R> {
        let state = lock(&self.live.state);
        self.seen = state.changes;
        (!state.deleted).then(|| show(&state.data))
    }

    /// The data as it is now, with this handler's changes.
    fn fresh(&mut self) -> &mut D {
        if self.kind != Kind::Live {
            let state = lock(&self.live.state);
            if self.kind != Kind::Copy(state.changes) {
                let own = self.data.take_delta();
                self.data.clone_from(&state.data);
                if let Some(own) = own {
                    self.data.redo(&own);
                }
                self.kind = Kind::Copy(state.changes);
                self.seen = state.changes;
            }
        }
        &mut self.data
    }
}

impl<D: ReplicatedData> Context<Replicated<D>> {
    /// The data, with this handler's changes. After a wait, also what others changed meanwhile is
    /// there.
    #[must_use]
    pub fn data(&mut self) -> &D {
        self.data.fresh()
    }

    /// The data, to be changed.
    pub fn data_mut(&mut self) -> &mut D {
        self.data.fresh()
    }

    /// Deletes the entity for ever.
    pub fn delete(&mut self) {
        self.data.deleted = true;
    }

    /// How many replicas must hold this handler's changes, if more than the component says.
    pub fn consistency(&mut self, consistency: Consistency) {
        self.data.consistency = consistency;
    }

    /// Waits until the data has changed, here or elsewhere, since this handler began, looked or last
    /// waited. False when the entity was deleted or nobody waits for the answer any more.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn changed(&mut self) -> bool {
        let changed = self.until_changed().await;
        self.data.seen = lock(&self.data.live.state).changes;
        changed
    }

    async fn until_changed(&self) -> bool {
        loop {
            let mut notified = pin!(self.data.live.changed.notified());
            // Registered first, so that nothing told in between is missed.
            notified.as_mut().enable();
            let (deleted, changes) = {
                let state = lock(&self.data.live.state);
                (state.deleted, state.changes)
            };
            if deleted || self.request.cancelled.is_cancelled() {
                return false;
            }
            if changes != self.data.seen {
                return true;
            }
            tokio::select! {
                biased;
                () = self.request.cancelled.wait() => return false,
                () = notified => {}
            }
        }
    }
}

impl<D: ReplicatedData> Model for Replicated<D> {}
impl<D: ReplicatedData> Entity for Replicated<D> {}

impl<D: ReplicatedData> Behaviour for Replicated<D> {
    type Held = Arc<Live<D>>;
    type Data = Replica<D>;
    type Rules = ();

    fn open(_: &Arc<()>, _: u64, state: Option<opening::State>) -> Result<Arc<Live<D>>, OpenError> {
        let mut data = D::default();
        match state {
            None => {}
            Some(opening::State::Data(delta)) => {
                if let Some(delta) = delta.delta {
                    data.apply(delta)?;
                }
            }
            Some(_) => return Err(OpenError::OtherModel),
        }
        let state = State {
            data,
            deleted: false,
            changes: 0,
        };
        Ok(Arc::new(Live {
            state: Mutex::new(state),
            changed: Notify::new(),
        }))
    }

    fn lend(held: Box<Arc<Live<D>>>, now: bool) -> (Option<Box<Arc<Live<D>>>>, Box<Replica<D>>) {
        let live = Arc::clone(&held);
        let (data, seen) = {
            let mut state = lock(&live.state);
            let data = if now {
                std::mem::take(&mut state.data)
            } else {
                D::default()
            };
            (data, state.changes)
        };
        let replica = Replica {
            data,
            live,
            kind: if now { Kind::Live } else { Kind::Unmade },
            deleted: false,
            consistency: Consistency::Local,
            seen,
        };
        (Some(held), Box::new(replica))
    }

    fn give_back(_: Box<Replica<D>>) -> Option<Box<Arc<Live<D>>>> {
        None
    }

    fn conclude(replica: &mut Replica<D>) -> Conclusion {
        let mutation = if replica.deleted {
            replica.live.update(|state| {
                state.data = D::default();
                state.deleted = true;
            });
            Some(Mutation::Delete(wire::Delete {}))
        } else {
            // An older copy's changes are made on top of what is there now.
            let delta = replica.data.take_delta();
            replica.bring_back(delta.as_ref());
            delta.map(|delta| {
                Mutation::Update(wire::Update {
                    delta: Some(wire::Delta { delta: Some(delta) }),
                    consistency: replica.consistency.wire().into(),
                })
            })
        };
        Conclusion {
            mutation,
            version: 0,
        }
    }

    fn undo(replica: &mut Replica<D>) -> (Undone, u64) {
        replica.data.undo();
        replica.bring_back(None);
        (Undone::Whole, 0)
    }

    fn whole(held: &Arc<Live<D>>) -> Option<wire::Delta> {
        let delta = Some(lock(&held.state).data.whole());
        Some(wire::Delta { delta })
    }

    fn change(held: &mut Arc<Live<D>>, change: Change) -> Result<(), OpenError> {
        held.update(|state| match change {
            Change::Delta(wire::Delta { delta: Some(delta) }) => state.data.apply(delta),
            Change::Delta(_) => Ok(()),
            Change::Deleted(_) => {
                state.data = D::default();
                state.deleted = true;
                Ok(())
            }
        })
    }
}

impl<D: ReplicatedData> Replica<D> {
    /// Brings the data back to where others see it, with what changed.
    fn bring_back(&mut self, delta: Option<&wire::delta::Delta>) {
        match (self.kind, delta) {
            (Kind::Live, None) => {
                let data = std::mem::take(&mut self.data);
                lock(&self.live.state).data = data;
            }
            (Kind::Live, Some(_)) => {
                let data = std::mem::take(&mut self.data);
                self.live.update(|state| state.data = data);
            }
            (_, None) => {}
            (_, Some(delta)) => self.live.update(|state| {
                state.data.redo(delta);
                // It is decided.
                state.data.take_delta();
            }),
        }
    }
}
