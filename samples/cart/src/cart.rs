//! The domain: what a cart is and what may happen to it.
//!
//! Pure: a command is decided on the present state and gives an event or a refusal; the state changes
//! only by applying events, whether they are new or come from the store.

use crate::shop::{
    AddItemRequest, CheckedOut, Contents, ItemAdded, ItemRemoved, LineItem, RemoveItemRequest,
};

/// What a client asks for.
#[derive(Debug)]
pub(crate) enum Command {
    AddItem(AddItemRequest),
    RemoveItem(RemoveItemRequest),
    GetCart,
    Checkout,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    ItemAdded(ItemAdded),
    ItemRemoved(ItemRemoved),
    CheckedOut(CheckedOut),
}

/// Why a command is refused.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the quantity must be positive, not {0}")]
    Quantity(i32),
    #[error("product {0:?} is not in the cart")]
    NotInCart(String),
    #[error("the cart is empty")]
    Empty,
    #[error("the cart is checked out already")]
    CheckedOut,
}

/// The present state of one cart; a new one is empty.
#[derive(Debug, Default)]
pub(crate) struct Cart {
    contents: Contents,
}

impl Cart {
    /// The cart that a snapshot was taken of.
    pub(crate) fn restore(contents: Contents) -> Self {
        Self { contents }
    }

    /// What is in the cart; also its snapshot.
    pub(crate) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Decides a command: an event, or nothing for a command that only reads.
    pub(crate) fn decide(&self, command: Command) -> Result<Option<Event>, Refusal> {
        if matches!(command, Command::GetCart) {
            return Ok(None);
        }
        if self.contents.checked_out {
            return Err(Refusal::CheckedOut);
        }
        match command {
            Command::GetCart => Ok(None),
            Command::AddItem(request) if request.quantity <= 0 => {
                Err(Refusal::Quantity(request.quantity))
            }
            Command::AddItem(request) => Ok(Some(Event::ItemAdded(ItemAdded {
                item: Some(LineItem {
                    product_id: request.product_id,
                    name: request.name,
                    quantity: request.quantity,
                }),
            }))),
            Command::RemoveItem(RemoveItemRequest { product_id, .. }) => {
                match self.line(&product_id) {
                    Some(_) => Ok(Some(Event::ItemRemoved(ItemRemoved { product_id }))),
                    None => Err(Refusal::NotInCart(product_id)),
                }
            }
            Command::Checkout if self.contents.items.is_empty() => Err(Refusal::Empty),
            Command::Checkout => Ok(Some(Event::CheckedOut(CheckedOut {}))),
        }
    }

    /// Changes the state by an event.
    pub(crate) fn apply(&mut self, event: Event) {
        match event {
            Event::ItemAdded(ItemAdded { item }) => self.add(item.unwrap_or_default()),
            Event::ItemRemoved(ItemRemoved { product_id }) => {
                self.contents
                    .items
                    .retain(|line| line.product_id != product_id);
            }
            Event::CheckedOut(CheckedOut {}) => self.contents.checked_out = true,
        }
    }

    fn add(&mut self, item: LineItem) {
        match self.line(&item.product_id) {
            Some(index) => {
                let line = &mut self.contents.items[index];
                line.quantity = line.quantity.saturating_add(item.quantity);
            }
            None => self.contents.items.push(item),
        }
    }

    fn line(&self, product_id: &str) -> Option<usize> {
        let mut lines = self.contents.items.iter();
        lines.position(|line| line.product_id == product_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(product_id: &str, quantity: i32) -> Command {
        Command::AddItem(AddItemRequest {
            product_id: product_id.into(),
            quantity,
            ..AddItemRequest::default()
        })
    }

    fn run(cart: &mut Cart, command: Command) -> Result<(), Refusal> {
        if let Some(event) = cart.decide(command)? {
            cart.apply(event);
        }
        Ok(())
    }

    #[test]
    fn same_product_adds_up() {
        let mut cart = Cart::default();
        run(&mut cart, add("tea", 2)).unwrap();
        run(&mut cart, add("tea", 3)).unwrap();
        let quantities: Vec<i32> = cart.contents().items.iter().map(|it| it.quantity).collect();
        assert_eq!(quantities, [5]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mut cart = Cart::default();
        let remove = |product_id: &str| {
            Command::RemoveItem(RemoveItemRequest {
                product_id: product_id.into(),
                ..RemoveItemRequest::default()
            })
        };
        assert_eq!(run(&mut cart, add("tea", 0)), Err(Refusal::Quantity(0)));
        assert_eq!(
            run(&mut cart, remove("tea")),
            Err(Refusal::NotInCart("tea".into()))
        );
        assert_eq!(run(&mut cart, Command::Checkout), Err(Refusal::Empty));
        run(&mut cart, add("tea", 1)).unwrap();
        run(&mut cart, Command::Checkout).unwrap();
        assert_eq!(run(&mut cart, remove("tea")), Err(Refusal::CheckedOut));
        assert_eq!(run(&mut cart, Command::GetCart), Ok(()));
    }
}
