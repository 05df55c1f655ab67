//! Places: the numbers that a function's components and methods have on its connection.
//!
//! The engine names them by the contract that it serves. That one may be older or newer than the
//! contract of a connection: a command that waited while its function was replaced comes here with
//! the places of the function before. So a place is looked up by name, and what is there must still
//! be the same thing: an entity that was loaded from one storage is not given to another.

use std::sync::Arc;

use firn_model::contract::{Component, Method};
use firn_wire::v1::contract::Place;

/// What a function declares, by place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Arc<[Place]>);

impl FromIterator<Place> for Places {
    fn from_iter<T: IntoIterator<Item = Place>>(places: T) -> Self {
        Self(places.into_iter().collect())
    }
}

impl Places {
    /// The component that the engine means, as the function declares it.
    pub(crate) fn component(&self, meant: &Component) -> Option<&Place> {
        let is_meant = |place: &&Place| is_component(&place.component, meant);
        let at_its_place = self.0.get(meant.place as usize).filter(is_meant);
        at_its_place.or_else(|| self.0.iter().find(is_meant))
    }

    /// The method that the engine means, as the function declares it.
    pub(crate) fn method(&self, meant: &Method) -> Option<&Arc<Method>> {
        let methods = &self.component(&meant.component)?.methods;
        let is_meant = |method: &&Arc<Method>| is_method(method, meant);
        let at_its_place = methods.get(meant.place as usize).filter(is_meant);
        at_its_place.or_else(|| methods.iter().find(is_meant))
    }
}

fn is_component(declared: &Component, meant: &Component) -> bool {
    std::ptr::eq(declared, meant)
        || declared.service == meant.service
            && declared.kind == meant.kind
            && declared.storage == meant.storage
}

/// The entity was found with the key that is meant, and the caller gets the reply that is meant.
fn is_method(declared: &Method, meant: &Method) -> bool {
    std::ptr::eq(declared, meant)
        || declared.name == meant.name
            && declared.key == meant.key
            && declared.input_url == meant.input_url
            && declared.output_url == meant.output_url
            && declared.streams_in() == meant.streams_in()
            && declared.streams_out() == meant.streams_out()
}
