// KeyValue: a value entity.
const { ValueEntity, replies } = require('@lightbend/akkaserverless-javascript-sdk');

const keyValue = new ValueEntity('key_value.proto', 'peers.KeyValue', 'key-value', {
  includeDirs: ['./protos'],
  forwardHeaders: ['x-peer-one', 'x-peer-two'],
});

const ValueState = keyValue.lookupType('peers.ValueState');

keyValue.setInitial(() => ValueState.create({ value: '', found: false }));

const reply = ({ value, found }) => replies.message({ value, found });

function set(request, state, context) {
  context.updateState(ValueState.create({ value: request.value, found: true }));
  return replies.message({});
}

function get(request, state) {
  return reply(state);
}

function remove(request, state, context) {
  context.deleteState();
  return replies.message({});
}

function fail(request) {
  return replies.failure(request.description);
}

function setThenFail(request, state, context) {
  context.updateState(ValueState.create({ value: request.value, found: true }));
  return replies.failure('failed after the update');
}

function crash() {
  throw new Error('value crashed');
}

function setAndCopy(request, state, context) {
  const { key, value } = request;
  return set(request, state, context)
    .addEffect(keyValue.service.methods.Set, { key: `${key}.sync`, value }, true)
    .addEffect(keyValue.service.methods.Set, { key: `${key}.async`, value }, false);
}

function getOther(request) {
  return replies.forward(keyValue.service.methods.Get, { key: request.other });
}

function getHeaders(request, state, context) {
  const headers = context.metadata.entries.map(({ key, stringValue, bytesValue }) => ({
    key,
    value: stringValue || Buffer.from(bytesValue || []).toString('base64'),
  }));
  return replies.message({ headers });
}

async function slow(request, state) {
  await new Promise((resolve) => setTimeout(resolve, request.millis));
  return reply(state);
}

keyValue.setCommandHandlers({
  Set: set,
  Get: get,
  Delete: remove,
  Fail: fail,
  SetThenFail: setThenFail,
  Crash: crash,
  SetAndCopy: setAndCopy,
  GetOther: getOther,
  GetHeaders: getHeaders,
  Slow: slow,
});

module.exports = keyValue;
