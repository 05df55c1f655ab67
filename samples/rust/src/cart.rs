//! The shopping cart: what happened to it is stored, and what is in it follows from that.

use firn_sdk::Component;
// region: cart
use firn_sdk::{Context, EventSourced, Failure};

use crate::shop::{
    AddItemRequest, CheckedOut, CheckoutRequest, Contents, GetCartRequest, ItemAdded, ItemRemoved,
    LineItem, RemoveItemRequest, cart,
};

type Cart = EventSourced<Contents>;

/// A command looks at the state, and lets events happen or fails.
fn add_item(request: AddItemRequest, cart: &mut Context<Cart>) -> Result<(), Failure> {
    still_open(cart)?;
    if request.quantity <= 0 {
        let text = format!("the quantity must be positive, not {}", request.quantity);
        return Err(Failure::invalid_argument(text));
    }
    let item = LineItem {
        product_id: request.product_id,
        name: request.name,
        quantity: request.quantity,
    };
    cart.emit(ItemAdded { item: Some(item) });
    Ok(())
}

/// An event changes the state: when it happens, and whenever the cart is read again.
fn item_added(contents: &mut Contents, event: ItemAdded) {
    let added = event.item.unwrap_or_default();
    let mut items = contents.items.iter_mut();
    match items.find(|item| item.product_id == added.product_id) {
        Some(item) => item.quantity = item.quantity.saturating_add(added.quantity),
        None => contents.items.push(added),
    }
}

/// Which function handles which command, and folds which event.
pub fn component() -> Component {
    Cart::component(cart::SERVICE)
        .id("cart_id")
        .snapshot_every(10)
        .event(item_added)
        .event(item_removed)
        .event(checked_out)
        .on(cart::ADD_ITEM, add_item)
        .on(cart::REMOVE_ITEM, remove_item)
        .on(cart::GET_CART, get_cart)
        .on(cart::CHECKOUT, checkout)
        .into()
}
// endregion: cart

fn remove_item(request: RemoveItemRequest, cart: &mut Context<Cart>) -> Result<(), Failure> {
    still_open(cart)?;
    let product_id = request.product_id;
    let mut items = cart.state().items.iter();
    if !items.any(|item| item.product_id == product_id) {
        let text = format!("product {product_id:?} is not in the cart");
        return Err(Failure::not_found(text));
    }
    cart.emit(ItemRemoved { product_id });
    Ok(())
}

fn get_cart(_: GetCartRequest, cart: &mut Context<Cart>) -> Result<Contents, Failure> {
    Ok(cart.state().clone())
}

fn checkout(_: CheckoutRequest, cart: &mut Context<Cart>) -> Result<Contents, Failure> {
    still_open(cart)?;
    if cart.state().items.is_empty() {
        return Err(Failure::failed_precondition("the cart is empty"));
    }
    cart.emit(CheckedOut {});
    Ok(cart.state().clone())
}

fn still_open(cart: &Context<Cart>) -> Result<(), Failure> {
    if cart.state().checked_out {
        let text = "the cart is checked out already";
        return Err(Failure::failed_precondition(text));
    }
    Ok(())
}

fn item_removed(contents: &mut Contents, event: ItemRemoved) {
    contents
        .items
        .retain(|item| item.product_id != event.product_id);
}

fn checked_out(contents: &mut Contents, _: CheckedOut) {
    contents.checked_out = true;
}
