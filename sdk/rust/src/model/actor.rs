//! Actors: a state with tags and timers.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::component::{Behaviour, Declaration, Entity, Model, Timed};
use crate::context::{Conclusion, Context, OpenError, Undone, read};
use crate::method::Service;
use crate::wire::mutation::Mutation;
use crate::wire::{self, opening};
use crate::{Any, Storable};

/// An entity with a state, tags and timers.
#[derive(Debug)]
pub struct Actor<S> {
    state: PhantomData<fn() -> S>,
}

/// When an actor's state becomes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Before its command is answered.
    #[default]
    Commit,
    /// Later: the answer does not wait. What was not written when Firn is killed is lost.
    WriteBehind,
}

impl<S: Storable + Clone> Actor<S> {
    /// Declares the actor that serves a service.
    pub fn component(service: Service) -> Declaration<Self> {
        let mut declaration = Declaration::new(service, wire::Model::Actor);
        declaration.declared.state = S::full_name();
        declaration
    }
}

impl<S: Storable + Clone> Declaration<Actor<S>> {
    /// When the state becomes durable.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.declared.durability = match durability {
            Durability::Commit => wire::Durability::Commit.into(),
            Durability::WriteBehind => wire::Durability::WriteBehind.into(),
        };
        self
    }
}

/// State and tags.
#[derive(Debug, Clone, PartialEq)]
struct Inside<S> {
    state: Option<S>,
    tags: BTreeMap<String, String>,
}

/// An actor, and whether this handler changed it.
#[derive(Debug)]
pub struct ActorData<S> {
    inside: Inside<S>,
    version: u64,
    /// As it was before this handler, once it has changed it.
    before: Option<Inside<S>>,
    deleted: bool,
}

impl<S: Storable + Clone> Context<Actor<S>> {
    /// The state; none if there is none.
    #[must_use]
    pub fn state(&self) -> Option<&S> {
        self.data.inside.state.as_ref()
    }

    /// Replaces the state.
    pub fn set(&mut self, state: S) {
        self.data.change().state = Some(state);
    }

    /// The tags.
    #[must_use]
    pub fn tags(&self) -> &BTreeMap<String, String> {
        &self.data.inside.tags
    }

    /// Replaces the tags: at most 64, of at most 1 KiB each.
    pub fn set_tags(&mut self, tags: BTreeMap<String, String>) {
        self.data.change().tags = tags;
    }

    /// Removes state and tags: nothing of the actor remains but its timers.
    pub fn delete(&mut self) {
        *self.data.change() = Inside {
            state: None,
            tags: BTreeMap::new(),
        };
        self.data.deleted = true;
    }
}

impl<S: Clone> ActorData<S> {
    fn change(&mut self) -> &mut Inside<S> {
        if self.before.is_none() {
            self.before = Some(self.inside.clone());
        }
        self.deleted = false;
        &mut self.inside
    }
}

impl<S: Storable + Clone> Model for Actor<S> {}
impl<S: Storable + Clone> Entity for Actor<S> {}
impl<S: Storable + Clone> Timed for Actor<S> {}

impl<S: Storable + Clone> Behaviour for Actor<S> {
    type Held = ActorData<S>;
    type Data = ActorData<S>;
    type Rules = ();

    fn open(
        _: &Arc<()>,
        version: u64,
        state: Option<opening::State>,
    ) -> Result<ActorData<S>, OpenError> {
        // R54
        let actor = match state {
            None => wire::Actor::default(),
            Some(opening::State::Actor(actor)) => actor,
            Some(_) => return Err(OpenError::OtherModel),
        };
        Ok(ActorData {
            inside: Inside {
                state: read(actor.state.as_ref())?,
                tags: actor.tags,
            },
            version,
            before: None,
            deleted: false,
        })
    }

    fn lend(held: Box<ActorData<S>>, _: bool) -> (Option<Box<ActorData<S>>>, Box<ActorData<S>>) {
        (None, held)
    }

    fn give_back(data: Box<ActorData<S>>) -> Option<Box<ActorData<S>>> {
        Some(data)
    }

    fn conclude(data: &mut ActorData<S>) -> Conclusion {
        let deleted = std::mem::take(&mut data.deleted);
        let mutation = data.before.take().map(|_| {
            if deleted {
                return Mutation::Delete(wire::Delete {});
            }
            Mutation::Actor(wire::Actor {
                state: data.inside.state.as_ref().map(Any::pack),
                tags: data.inside.tags.clone(),
            })
        });
        // R24
        data.version += u64::from(mutation.is_some());
        Conclusion {
            mutation,
            version: data.version,
        }
    }

    fn undo(data: &mut ActorData<S>) -> (Undone, u64) {
        data.deleted = false;
        if let Some(before) = data.before.take() {
            data.inside = before;
        }
        (Undone::Whole, data.version)
    }
}
