//! Value entities: a state that is replaced as a whole.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::any::type_url;
use crate::component::{Behaviour, Declaration, Entity, Model, Timed};
use crate::context::{Conclusion, Context, OpenError, Undone, read};
use crate::method::Service;
use crate::wire::mutation::Mutation;
use crate::wire::{self, opening};
use crate::{Any, Storable};

/// An entity whose state is one message, which is replaced as a whole.
#[derive(Debug)]
pub struct ValueEntity<S> {
    state: PhantomData<fn() -> S>,
}

impl<S: Storable> ValueEntity<S> {
    /// Declares the value entity that serves a service.
    pub fn component(service: Service) -> Declaration<Self> {
        let mut declaration = Declaration::new(service, wire::Model::Value);
        declaration.declared.state = S::full_name();
        declaration
    }
}

/// The state, and whether this handler changed it.
#[derive(Debug)]
pub struct Value<S> {
    state: Option<S>,
    version: u64,
    /// The state before this handler, once it has changed it.
    before: Option<Option<S>>,
}

impl<S: Storable> Context<ValueEntity<S>> {
    /// The state; none if there is none.
    #[must_use]
    pub fn state(&self) -> Option<&S> {
        self.data.state.as_ref()
    }

    /// Replaces the state.
    pub fn set(&mut self, state: S) {
        self.data.replace(Some(state));
    }

    /// Removes the state: nothing of the entity remains but its timers.
    pub fn delete(&mut self) {
        self.data.replace(None);
    }
}

impl<S> Value<S> {
    fn replace(&mut self, state: Option<S>) {
        let before = std::mem::replace(&mut self.state, state);
        self.before.get_or_insert(before);
    }
}

impl<S: Storable> Model for ValueEntity<S> {}
impl<S: Storable> Entity for ValueEntity<S> {}
impl<S: Storable> Timed for ValueEntity<S> {}

impl<S: Storable> Behaviour for ValueEntity<S> {
    type Held = Value<S>;
    type Data = Value<S>;
    type Rules = ();

    fn open(
        _: &Arc<()>,
        version: u64,
        state: Option<opening::State>,
    ) -> Result<Value<S>, OpenError> {
        // R50
        let state = match &state {
            None => None,
            Some(opening::State::Value(state)) => read(Some(state))?,
            Some(_) => return Err(OpenError::OtherModel),
        };
        Ok(Value {
            state,
            version,
            before: None,
        })
    }

    fn lend(held: Box<Value<S>>, _: bool) -> (Option<Box<Value<S>>>, Box<Value<S>>) {
        (None, held)
    }

    fn give_back(data: Box<Value<S>>) -> Option<Box<Value<S>>> {
        Some(data)
    }

    fn conclude(data: &mut Value<S>) -> Conclusion {
        let mutation = data.before.take().map(|_| match &data.state {
            Some(state) => Mutation::Set(Any {
                type_url: type_url::<S>(),
                value: state.encode_to_vec().into(),
            }),
            None => Mutation::Delete(wire::Delete {}),
        });
        // R24
        data.version += u64::from(mutation.is_some());
        Conclusion {
            mutation,
            version: data.version,
        }
    }

    fn undo(data: &mut Value<S>) -> (Undone, u64) {
        if let Some(before) = data.before.take() {
            data.state = before;
        }
        (Undone::Whole, data.version)
    }
}
