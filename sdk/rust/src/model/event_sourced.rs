//! Event sourced entities: a state that is what events add up to.

use std::any::{Any as Anything, TypeId};
use std::marker::PhantomData;
use std::sync::Arc;

use crate::component::{Behaviour, Declaration, Entity, Model, Timed};
use crate::context::{Conclusion, Context, OpenError, Undone, read};
use crate::method::Service;
use crate::wire::mutation::Mutation;
use crate::wire::{self, opening};
use crate::{Any, Storable, UnpackError};

/// An entity whose state is folded from events. The state is the snapshot as well; it begins as its
/// default.
#[derive(Debug)]
pub struct EventSourced<S> {
    state: PhantomData<fn() -> S>,
}

impl<S: Storable> EventSourced<S> {
    /// Declares the event sourced entity that serves a service.
    pub fn component(service: Service) -> Declaration<Self> {
        let mut declaration = Declaration::new(service, wire::Model::EventSourced);
        declaration.declared.state = S::full_name();
        declaration
    }
}

impl<S: Storable> Declaration<EventSourced<S>> {
    /// Declares a type of event, and how it changes the state. The function must be pure: it runs for
    /// a new event as well as for one that is read again.
    ///
    /// # Panics
    /// If the type has been declared already.
    pub fn event<E: Storable>(mut self, apply: impl Fn(&mut S, E) + Send + Sync + 'static) -> Self {
        let name = E::full_name();
        let known = self.rules.events.iter().any(|rule| rule.name == name);
        assert!(!known, "the event {name} is declared already");
        let apply: Apply<S, E> = Arc::new(apply);
        let typed = Arc::clone(&apply);
        self.declared.events.push(name.clone());
        self.rules.events.push(EventRule {
            name,
            of: TypeId::of::<E>(),
            stored: Box::new(move |state, event| {
                apply(state, event.decode()?);
                Ok(())
            }),
            typed: Box::new(typed),
        });
        self
    }

    /// After how many events a snapshot is kept, so that an entity is read quickly; never if not
    /// said.
    pub fn snapshot_every(mut self, events: u32) -> Self {
        self.declared.snapshot_every = events;
        self.rules.snapshot_every = events;
        self
    }
}

type ApplyStored<S> = Box<dyn Fn(&mut S, &Any) -> Result<(), UnpackError> + Send + Sync>;
type Apply<S, E> = Arc<dyn Fn(&mut S, E) + Send + Sync>;

struct EventRule<S> {
    name: String,
    of: TypeId,
    /// For an event whose name is this one's.
    stored: ApplyStored<S>,
    /// An `Apply<S, E>`.
    typed: Box<dyn Anything + Send + Sync>,
}

/// How events are folded.
pub struct EventRules<S> {
    events: Vec<EventRule<S>>,
    snapshot_every: u32,
}

impl<S> Default for EventRules<S> {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            snapshot_every: 0,
        }
    }
}

impl<S> EventRules<S> {
    /// Folds events that were stored. They come by the thousand, and mostly of one type, so a rule is
    /// only looked for when the type changes.
    fn fold(&self, state: &mut S, events: &[Any]) -> Result<(), OpenError> {
        let same_type = events.chunk_by(|one, next| one.type_url == next.type_url);
        for events in same_type {
            let rule = self.rule(events[0].name())?;
            for event in events {
                (rule.stored)(state, event)?;
            }
        }
        Ok(())
    }

    fn rule(&self, name: &str) -> Result<&EventRule<S>, OpenError> {
        let rule = self.events.iter().find(|rule| rule.name == name);
        rule.ok_or_else(|| OpenError::UnknownEvent(name.to_owned()))
    }
}

/// The folded state, and what this handler emitted.
pub struct Events<S> {
    rules: Arc<EventRules<S>>,
    state: S,
    version: u64,
    emitted: Vec<Any>,
    deleted: bool,
}

impl<S: Storable> Context<EventSourced<S>> {
    /// The state, with what this handler has emitted.
    #[must_use]
    pub fn state(&self) -> &S {
        &self.data.state
    }

    /// Lets an event happen: it is folded at once, and stored when the handler has replied.
    ///
    /// # Panics
    /// If its type was not declared with `event`; the caller gets INTERNAL then. After
    /// [`Context::delete`], since a decision does one or the other.
    pub fn emit<E: Storable>(&mut self, event: E) {
        let data = &mut *self.data;
        assert!(!data.deleted, "an event was emitted after a delete");
        let mut rules = data.rules.events.iter();
        let apply = rules
            .find(|rule| rule.of == TypeId::of::<E>())
            .and_then(|rule| rule.typed.downcast_ref::<Apply<S, E>>());
        let apply = apply.unwrap_or_else(|| {
            let name = E::full_name();
            panic!("the event {name} is not declared: add `.event(…)` for it to the component")
        });
        data.emitted.push(Any::pack(&event));
        apply(&mut data.state, event);
    }

    /// Removes everything: nothing of the entity remains but its timers.
    ///
    /// # Panics
    /// After [`Context::emit`], since a decision does one or the other.
    pub fn delete(&mut self) {
        let data = &mut *self.data;
        assert!(
            data.emitted.is_empty(),
            "a delete after an event was emitted"
        );
        data.deleted = true;
        data.state = S::default();
    }
}

impl<S: Storable> Model for EventSourced<S> {}
impl<S: Storable> Entity for EventSourced<S> {}
impl<S: Storable> Timed for EventSourced<S> {}

impl<S: Storable> Behaviour for EventSourced<S> {
    type Held = Events<S>;
    type Data = Events<S>;
    type Rules = EventRules<S>;

    fn open(
        rules: &Arc<EventRules<S>>,
        version: u64,
        state: Option<opening::State>,
    ) -> Result<Events<S>, OpenError> {
        // R51
        let history = match state {
            None => wire::History::default(),
            Some(opening::State::History(history)) => history,
            Some(_) => return Err(OpenError::OtherModel),
        };
        let mut state = read(history.snapshot.as_ref())?.unwrap_or_default();
        rules.fold(&mut state, &history.events)?;
        Ok(Events {
            rules: Arc::clone(rules),
            state,
            version,
            emitted: Vec::new(),
            deleted: false,
        })
    }

    fn lend(held: Box<Events<S>>, _: bool) -> (Option<Box<Events<S>>>, Box<Events<S>>) {
        (None, held)
    }

    fn give_back(data: Box<Events<S>>) -> Option<Box<Events<S>>> {
        Some(data)
    }

    fn conclude(data: &mut Events<S>) -> Conclusion {
        let mutation = if std::mem::take(&mut data.deleted) {
            data.version = 0; // R24
            Some(Mutation::Delete(wire::Delete {}))
        } else if data.emitted.is_empty() {
            None
        } else {
            let events = std::mem::take(&mut data.emitted);
            let before = data.version;
            data.version += events.len() as u64;
            let every = u64::from(data.rules.snapshot_every);
            let due = every > 0 && before / every < data.version / every; // R51
            Some(Mutation::Append(wire::Append {
                events,
                snapshot: due.then(|| Any::pack(&data.state)),
            }))
        };
        Conclusion {
            mutation,
            version: data.version,
        }
    }

    fn undo(data: &mut Events<S>) -> (Undone, u64) {
        let ahead = !data.emitted.is_empty() || data.deleted;
        let undone = if ahead { Undone::Ahead } else { Undone::Whole };
        (undone, data.version)
    }
}
