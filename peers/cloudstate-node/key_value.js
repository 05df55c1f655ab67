// KeyValue: event sourced, because the SDK has no value entities.
const { EventSourced } = require('cloudstate');

const keyValue = new EventSourced(['key_value.proto'], 'peers.KeyValue', {
  includeDirs: ['./protos'],
  persistenceId: 'key-value',
});

const ValueState = keyValue.lookupType('peers.ValueState');
const ValueSet = keyValue.lookupType('peers.ValueSet');
const ValueDeleted = keyValue.lookupType('peers.ValueDeleted');

keyValue.setInitial(() => ValueState.create({ value: '', found: false }));

function set({ value }, state, context) {
  context.emit(ValueSet.create({ value }));
  return {};
}

function get(request, { value, found }) {
  return { value, found };
}

function remove(request, state, context) {
  context.emit(ValueDeleted.create({}));
  return {};
}

function fail({ description }, state, context) {
  context.fail(description);
}

function setThenFail(request, state, context) {
  set(request, state, context);
  context.fail('failed after the update');
}

function crash() {
  throw new Error('value crashed');
}

function setAndCopy(request, state, context) {
  const { key, value } = request;
  context.effect({ path: '/peers.KeyValue/Set' }, { key: `${key}.sync`, value }, true);
  context.effect({ path: '/peers.KeyValue/Set' }, { key: `${key}.async`, value }, false);
  return set(request, state, context);
}

function getOther({ other }, state, context) {
  context.thenForward({ path: '/peers.KeyValue/Get' }, { key: other });
}

keyValue.setBehavior(() => ({
  commandHandlers: {
    Set: set,
    Get: get,
    Delete: remove,
    Fail: fail,
    SetThenFail: setThenFail,
    Crash: crash,
    SetAndCopy: setAndCopy,
    GetOther: getOther,
  },
  eventHandlers: {
    ValueSet: ({ value }) => ValueState.create({ value, found: true }),
    ValueDeleted: () => ValueState.create({ value: '', found: false }),
  },
}));

module.exports = keyValue;
