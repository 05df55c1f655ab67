"""A shopping cart: its events are stored, and what is in it is what they add up to."""

import firn
from google.protobuf.empty_pb2 import Empty
from shop import cart_pb2
from shop.cart_events_pb2 import CheckedOut, ItemAdded, ItemRemoved
from shop.cart_pb2 import (
    AddItemRequest,
    CheckoutRequest,
    Contents,
    GetCartRequest,
    LineItem,
    RemoveItemRequest,
)

Context = firn.EventSourcedContext[Contents]

cart = firn.EventSourcedEntity(
    cart_pb2.DESCRIPTOR.services_by_name["Cart"],
    id="cart_id",
    state=Contents,
    storage="shop-cart",
    snapshot_every=100,
)


@cart.event
def item_added(state: Contents, event: ItemAdded) -> Contents:
    """More of the same product adds up."""
    item = find(state, event.item.product_id)
    if item is None:
        state.items.append(event.item)
    else:
        item.quantity += event.item.quantity
    return state


@cart.event
def item_removed(state: Contents, event: ItemRemoved) -> Contents:
    """The product is gone."""
    item = find(state, event.product_id)
    if item is not None:
        state.items.remove(item)
    return state


@cart.event
def checked_out(state: Contents, event: CheckedOut) -> Contents:
    """The cart is closed."""
    state.checked_out = True
    return state


@cart.handler
def add_item(request: AddItemRequest, ctx: Context) -> Empty:
    """Puts a product into the cart."""
    if request.quantity <= 0:
        raise firn.Failure(
            firn.Code.INVALID_ARGUMENT, f"the quantity must be positive, not {request.quantity}"
        )
    check_open(ctx.state)
    item = LineItem(product_id=request.product_id, name=request.name, quantity=request.quantity)
    ctx.emit(ItemAdded(item=item))
    return Empty()


@cart.handler
def remove_item(request: RemoveItemRequest, ctx: Context) -> Empty:
    """Takes a product out."""
    check_open(ctx.state)
    if find(ctx.state, request.product_id) is None:
        raise firn.Failure(firn.Code.NOT_FOUND, f'product "{request.product_id}" is not in the cart')
    ctx.emit(ItemRemoved(product_id=request.product_id))
    return Empty()


@cart.handler
def get_cart(request: GetCartRequest, ctx: Context) -> Contents:
    """Shows what is in the cart."""
    return ctx.state


@cart.handler
def checkout(request: CheckoutRequest, ctx: Context) -> Contents:
    """Closes the cart."""
    check_open(ctx.state)
    if not ctx.state.items:
        raise firn.Failure(firn.Code.FAILED_PRECONDITION, "the cart is empty")
    ctx.emit(CheckedOut())
    return ctx.state


def find(state: Contents, product_id: str) -> LineItem | None:
    """The product's line in the cart."""
    return next((item for item in state.items if item.product_id == product_id), None)


def check_open(state: Contents) -> None:
    """Refuses changes of a cart that is closed."""
    if state.checked_out:
        raise firn.Failure(firn.Code.FAILED_PRECONDITION, "the cart is checked out already")
