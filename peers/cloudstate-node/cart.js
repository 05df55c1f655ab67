// Cart: event sourced, a snapshot every 5 events.
const { EventSourced } = require('cloudstate');

const cart = new EventSourced(['cart.proto'], 'peers.Cart', {
  includeDirs: ['./protos'],
  persistenceId: 'cart',
  snapshotEvery: 5,
});

const CartState = cart.lookupType('peers.CartState');
const ItemAdded = cart.lookupType('peers.ItemAdded');
const ItemRemoved = cart.lookupType('peers.ItemRemoved');
const CheckedOut = cart.lookupType('peers.CheckedOut');

cart.setInitial(() => CartState.create({ items: [], checkedOut: false }));

function emitAdded(item, context) {
  const { productId, name, quantity } = item;
  context.emit(ItemAdded.create({ item: { productId, name, quantity } }));
}

function addItem(request, state, context) {
  if (request.quantity <= 0) context.fail('quantity must be positive');
  emitAdded(request, context);
  return {};
}

function addItems(request, state, context) {
  if (request.items.some((item) => item.quantity <= 0)) context.fail('quantity must be positive');
  request.items.forEach((item) => emitAdded(item, context));
  return {};
}

function removeItem(request, state, context) {
  if (!state.items.some((item) => item.productId === request.productId)) {
    context.fail(`no item ${request.productId}`);
  }
  context.emit(ItemRemoved.create({ productId: request.productId }));
  return {};
}

function getCart(request, state) {
  return { items: state.items, checkedOut: state.checkedOut };
}

function checkout(request, state, context) {
  if (state.checkedOut) context.fail('already checked out');
  context.emit(CheckedOut.create({}));
  return {};
}

function checkoutAndNote(request, state, context) {
  // By path, because the SDK looks a protobufjs method up by the short name of its service.
  const set = { path: '/peers.KeyValue/Set' };
  context.effect(set, { key: `cart-${request.cartId}`, value: 'checked out' }, true);
  return checkout(request, state, context);
}

function addItemThenFail(request, state, context) {
  emitAdded(request, context);
  context.fail('failed after the event');
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
