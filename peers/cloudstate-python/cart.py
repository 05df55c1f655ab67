"""Cart: event sourced, a snapshot every 5 events (by the SDK's count, which only replayed events advance)."""

from cloudstate.entity_pb2 import SideEffect
from cloudstate.evensourced_servicer import pack
from cloudstate.event_sourced_context import EventSourcedCommandContext
from cloudstate.event_sourced_entity import EventSourcedEntity
from google.protobuf.empty_pb2 import Empty

import cart_pb2 as pb
import key_value_pb2

cart = EventSourcedEntity(
    pb.DESCRIPTOR.services_by_name["Cart"],
    [pb.DESCRIPTOR],
    init_state=lambda entity_id: pb.CartState(),
    persistence_id="cart",
    snapshot_every=5,
)


def emit_added(item, context):
    added = pb.Item(product_id=item.product_id, name=item.name, quantity=item.quantity)
    context.emit(pb.ItemAdded(item=added))


@cart.command_handler("AddItem")
def add_item(command: pb.AddItemRequest, context: EventSourcedCommandContext):
    if command.quantity <= 0:
        return context.fail("quantity must be positive")
    emit_added(command, context)
    return Empty()


@cart.command_handler("AddItems")
def add_items(command: pb.AddItemsRequest, context: EventSourcedCommandContext):
    if any(item.quantity <= 0 for item in command.items):
        return context.fail("quantity must be positive")
    for item in command.items:
        emit_added(item, context)
    return Empty()


@cart.command_handler("RemoveItem")
def remove_item(state: pb.CartState, command: pb.RemoveItemRequest, context: EventSourcedCommandContext):
    if all(item.product_id != command.product_id for item in state.items):
        return context.fail(f"no item {command.product_id}")
    context.emit(pb.ItemRemoved(product_id=command.product_id))
    return Empty()


@cart.command_handler("GetCart")
def get_cart(state: pb.CartState):
    return pb.CartContents(items=state.items, checked_out=state.checked_out)


@cart.command_handler("Checkout")
def checkout(state: pb.CartState, command: pb.CartRequest, context: EventSourcedCommandContext):
    if state.checked_out:
        return context.fail("already checked out")
    context.emit(pb.CheckedOut())
    return Empty()


@cart.command_handler("CheckoutAndNote")
def checkout_and_note(state: pb.CartState, command: pb.CartRequest, context: EventSourcedCommandContext):
    note = key_value_pb2.SetRequest(key=f"cart-{command.cart_id}", value="checked out")
    context.effects.append(
        SideEffect(service_name="peers.KeyValue", command_name="Set", payload=pack(note), synchronous=True)
    )
    return checkout(state, command, context)


@cart.command_handler("AddItemThenFail")
def add_item_then_fail(command: pb.AddItemRequest, context: EventSourcedCommandContext):
    emit_added(command, context)
    context.fail("failed after the event")


@cart.command_handler("Crash")
def crash(command: pb.CartRequest):
    raise RuntimeError("cart crashed")


@cart.event_handler(pb.ItemAdded)
def item_added(state: pb.CartState, event: pb.ItemAdded):
    for item in state.items:
        if item.product_id == event.item.product_id:
            item.quantity += event.item.quantity
            return state
    state.items.append(event.item)
    return state


@cart.event_handler(pb.ItemRemoved)
def item_removed(state: pb.CartState, event: pb.ItemRemoved):
    kept = [item for item in state.items if item.product_id != event.product_id]
    del state.items[:]
    state.items.extend(kept)
    return state


@cart.event_handler(pb.CheckedOut)
def checked_out(state: pb.CartState, event: pb.CheckedOut):
    state.checked_out = True
    return state


@cart.snapshot()
def snapshot(state: pb.CartState):
    return state


# Never reached: the SDK breaks the stream of an entity that is initialised with a snapshot.
@cart.snapshot_handler()
def load_snapshot(snapshot: pb.CartState):
    return snapshot
