// Cart: event sourced, a snapshot every 5 events.
const { EventSourcedEntity, replies } = require('@lightbend/akkaserverless-javascript-sdk');

const cart = new EventSourcedEntity(['cart.proto', 'key_value.proto'], 'peers.Cart', 'cart', {
  includeDirs: ['./protos'],
  snapshotEvery: 5,
});

const CartState = cart.lookupType('peers.CartState');
const ItemAdded = cart.lookupType('peers.ItemAdded');
const ItemRemoved = cart.lookupType('peers.ItemRemoved');
const CheckedOut = cart.lookupType('peers.CheckedOut');
const keyValueSet = cart.root.lookupService('peers.KeyValue').methods.Set;

cart.setInitial(() => CartState.create({ items: [], checkedOut: false }));

function emitAdded(item, context) {
  const { productId, name, quantity } = item;
  context.emit(ItemAdded.create({ item: { productId, name, quantity } }));
}

function addItem(request, state, context) {
  if (request.quantity <= 0) return replies.failure('quantity must be positive');
  emitAdded(request, context);
  return replies.message({});
}

function addItems(request, state, context) {
  if (request.items.some((item) => item.quantity <= 0)) {
    return replies.failure('quantity must be positive');
  }
  request.items.forEach((item) => emitAdded(item, context));
  return replies.message({});
}

function removeItem(request, state, context) {
  if (!state.items.some((item) => item.productId === request.productId)) {
    return replies.failure(`no item ${request.productId}`);
  }
  context.emit(ItemRemoved.create({ productId: request.productId }));
  return replies.message({});
}

function getCart(request, state) {
  return replies.message({ items: state.items, checkedOut: state.checkedOut });
}

function checkout(request, state, context) {
  if (state.checkedOut) return replies.failure('already checked out');
  context.emit(CheckedOut.create({}));
  return replies.message({});
}

function checkoutAndNote(request, state, context) {
  const note = { key: `cart-${request.cartId}`, value: 'checked out' };
  return checkout(request, state, context).addEffect(keyValueSet, note, true);
}

function addItemThenFail(request, state, context) {
  emitAdded(request, context);
  return replies.failure('failed after the event');
}

function crash() {
  throw new Error('cart crashed');
}

function itemAdded({ item }, state) {
  const known = state.items.find((other) => other.productId === item.productId);
  if (known) known.quantity += item.quantity;
  else state.items.push(item);
  return state;
}

function itemRemoved({ productId }, state) {
  state.items = state.items.filter((item) => item.productId !== productId);
  return state;
}

function checkedOut(event, state) {
  state.checkedOut = true;
  return state;
}

cart.setBehavior(() => ({
  commandHandlers: {
    AddItem: addItem,
    AddItems: addItems,
    RemoveItem: removeItem,
    GetCart: getCart,
    Checkout: checkout,
    CheckoutAndNote: checkoutAndNote,
    AddItemThenFail: addItemThenFail,
    Crash: crash,
  },
  eventHandlers: {
    ItemAdded: itemAdded,
    ItemRemoved: itemRemoved,
    CheckedOut: checkedOut,
  },
}));

module.exports = cart;
