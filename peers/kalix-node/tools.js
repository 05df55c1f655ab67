// Tools: an action in every shape of call.
const { Action, Metadata, replies } = require('@kalix-io/kalix-javascript-sdk');

const tools = new Action(['tools.proto', 'cart.proto'], 'peers.Tools', {
  includeDirs: ['./protos'],
  forwardHeaders: ['x-peer-one', 'x-peer-two'],
});

const cart = tools.root.lookupService('peers.Cart').methods;
const keyValue = tools.root.lookupService('peers.KeyValue').methods;

const text = (value) => replies.message({ text: value });

function add({ left, right }) {
  return replies.message({ value: Number(left) + Number(right) });
}

function sum(context) {
  let total = 0;
  context.on('data', ({ value }) => (total += Number(value)));
  context.on('end', () => replies.message({ value: total }));
}

function count(request, context) {
  for (let value = 1; value <= Number(request.value); value++) {
    context.reply(replies.message({ value }));
  }
  context.end();
}

function echo(context) {
  context.on('data', (message) => context.reply(text(message.text)));
  context.on('end', () => context.end());
}

function countThenFail(request, context) {
  for (let value = 1; value <= Number(request.value); value++) {
    context.reply(replies.message({ value }));
  }
  context.reply(replies.failure('failed after counting'));
  context.end();
}

function addItemVia({ cartId, productId, name, quantity }) {
  return replies.forward(cart.AddItem, { cartId, productId, name, quantity });
}

function getVia({ key }) {
  return replies.forward(keyValue.Get, { key });
}

async function getByClient({ key }) {
  const client = tools.clients.peers.KeyValue.createClient();
  return replies.message(await client.get({ key }));
}

function remember({ key, value, synchronous }) {
  return text(`remembered ${key}`).addEffect(keyValue.Set, { key, value }, synchronous);
}

function rememberTwice({ key, value }) {
  return text(`remembered ${key}`)
    .addEffect(keyValue.Set, { key: `${key}.sync`, value }, true)
    .addEffect(keyValue.Set, { key: `${key}.async`, value }, false);
}

function failAndRemember({ key, value }) {
  return replies.failure('failed with an effect').addEffect(keyValue.Set, { key, value }, true);
}

function fail({ description, code }) {
  return replies.failure(description, code || undefined);
}

function crash() {
  throw new Error('tools crashed');
}

function getHeaders(request, context) {
  const headers = context.metadata.entries.map(({ key, stringValue, bytesValue }) => ({
    key,
    value: stringValue || Buffer.from(bytesValue || []).toString('base64'),
  }));
  const metadata = new Metadata();
  metadata.set('x-peer-reply', 'seen');
  return replies.message({ headers }, metadata);
}

async function slow({ millis }) {
  await new Promise((resolve) => setTimeout(resolve, millis));
  return text(`slept ${millis} ms`);
}

tools.setCommandHandlers({
  Add: add,
  Sum: sum,
  Count: count,
  Echo: echo,
  CountThenFail: countThenFail,
  AddItemVia: addItemVia,
  GetVia: getVia,
  GetByClient: getByClient,
  Remember: remember,
  RememberTwice: rememberTwice,
  FailAndRemember: failAndRemember,
  Fail: fail,
  Crash: crash,
  GetHeaders: getHeaders,
  Slow: slow,
  Open: () => text('open'),
  Closed: () => text('closed'),
});

module.exports = tools;
