// Plays the proxy of replicated entities: what each command of the services in `replicated.proto` sends.
const { assert } = require('./selfcheck');

const isObject = (value) => typeof value === 'object' && value !== null && !Buffer.isBuffer(value);

// Names of oneofs, which the loader adds.
const ONEOFS = ['action', 'delta', 'state'];

class Replicas {
  // open: opens a stream. root: with the peer's own types. strings: type URL of the SDK's strings.
  constructor(peer, { open, root, strings }) {
    Object.assign(this, { peer, open, root, strings });
    this.any = peer.types(root);
  }

  // A string as the SDK would send it, as an element or a key.
  text(string) {
    const value = this.peer.protobuf.Writer.create().uint32(10).string(string).finish();
    return { type_url: this.strings, value };
  }

  // A value of a register.
  note(text) {
    return this.any.pack('Note', { text });
  }

  // A message with elements, keys and values in plain sight, and without defaults.
  plain(message) {
    if (Array.isArray(message)) return message.map((item) => this.plain(item));
    if (!isObject(message)) return message;
    if ('type_url' in message) return this.unpacked(message);
    const kept = Object.entries(message)
      .filter(([name, value]) => !(ONEOFS.includes(name) && typeof value === 'string'))
      .map(([name, value]) => [name, this.plain(value)])
      .filter(([, value]) => (Array.isArray(value) ? value.length > 0 : Boolean(value)));
    return Object.fromEntries(kept);
  }

  unpacked(any) {
    if (any.type_url === 'type.googleapis.com/google.protobuf.Empty') return {};
    if (any.type_url !== this.strings) return this.plain(this.any.unpack(any.type_url.split('.').pop(), any));
    if (!any.value) return '';
    const reader = this.peer.protobuf.Reader.create(any.value);
    assert.strictEqual(reader.uint32(), 10);
    return reader.string();
  }

  // Opens a stream to an entity of `service`, with `init` beside its name, and takes the steps. A step is
  // a message of a proxy, or `[method, request, reply, change]`: a command, its reply (a text stands for a
  // failure), and the state action that comes with it. Maps of a reply that are empty are left out.
  async tell(service, init, ...steps) {
    const stream = this.open();
    stream.send({ init: { service_name: `peers.${service}`, entity_id: 'e', ...init } });
    for (const [index, step] of steps.entries()) {
      if (Array.isArray(step)) await this.command(stream, service, index, step);
      else stream.send(step);
    }
    stream.call.end();
  }

  async command(stream, service, id, [name, request, reply, change]) {
    const { requestType } = this.root.lookupService(`peers.${service}`).methods[name];
    const payload = this.any.pack(requestType, { id: 'e', ...request });
    const answer = await stream.exchange({ command: { entity_id: 'e', id, name, payload } });
    const { client_action, state_action } = answer.reply;
    const { reply: replied, failure } = client_action;
    const said = replied ? unfilled(this.plain(replied.payload)) : failure.description;
    const what = `${service}.${name} ${JSON.stringify(request)}`;
    assert.deepStrictEqual(said, reply, what);
    assert.deepStrictEqual(state_action && this.plain(state_action), change, what);
  }
}

// A reply without the maps that are empty.
function unfilled(reply) {
  const kept = Object.entries(reply)
    .map(([name, value]) => [name, isObject(value) && !Array.isArray(value) ? unfilled(value) : value])
    .filter(([, value]) => !isObject(value) || Object.keys(value).length > 0);
  return Object.fromEntries(kept);
}

const update = (delta) => ({ update: delta });

// The numbers of the clocks.
const REVERSE = 1;
const CUSTOM = 2;

// What the SDKs of Akka Serverless and Kalix have in common.
async function tellShared(replicas) {
  await tellCounters(replicas);
  await tellSets(replicas);
  await tellRegisters(replicas);
  await tellMaps(replicas);
  await tellVotes(replicas);
}

async function tellCounters(replicas) {
  const changed = (change) => update({ counter: { change } });
  await replicas.tell(
    'Counters',
    {},
    ['Get', {}, {}],
    ['Add', { amount: 5 }, { amount: 5 }, changed(5)],
    ['Add', { amount: 0 }, { amount: 5 }],
    // The SDK keeps the change of a failed command and never sends it.
    ['AddThenFail', { amount: -9 }, 'failed after the update'],
    ['Add', { amount: 1 }, { amount: -3 }, changed(1)],
    { delta: { counter: { change: 10 } } },
    ['Get', {}, { amount: 7 }],
    ['Delete', {}, {}, { delete: {} }],
  );
  // Nobody has an entity that was only looked at, and yet the SDK deletes it.
  await replicas.tell('Counters', {}, ['Delete', {}, {}], ['Get', {}, {}], ['Delete', {}, {}, { delete: {} }]);
}

async function tellSets(replicas) {
  const changed = (delta) => update({ replicated_set: delta });
  await replicas.tell(
    'Sets',
    { delta: { replicated_set: { added: [replicas.text('a')] } } },
    ['Add', { elements: ['a', 'c', 'b'] }, { elements: ['a', 'b', 'c'] }, changed({ added: ['c', 'b'] })],
    ['Add', { elements: ['a'] }, { elements: ['a', 'b', 'c'] }],
    ['Remove', { elements: ['b'] }, { elements: ['a', 'c'] }, changed({ removed: ['b'] })],
    ['Replace', { elements: ['c', 'd'] }, { elements: ['c', 'd'] }, changed({ cleared: true, added: ['c', 'd'] })],
    { delta: { replicated_set: { removed: [replicas.text('c')], added: [replicas.text('')] } } },
    ['Get', {}, { elements: ['', 'd'] }],
    ['Remove', { elements: ['d', ''] }, {}, changed({ cleared: true })],
  );
}

async function tellRegisters(replicas) {
  const written = (text) => ({ text, found: true });
  const changed = (text, clock) => update({ register: { value: { text }, ...clock } });
  await replicas.tell(
    'Registers',
    {},
    ['Get', {}, {}],
    ['Write', { text: 'one' }, written('one'), changed('one')],
    ['Write', { text: 'one' }, written('one'), changed('one')],
    ['Write', { text: 'two', clock: REVERSE }, written('two'), changed('two', { clock: REVERSE })],
    { delta: { register: { value: replicas.note('one') } } },
    ['Get', {}, written('one')],
    [
      'Write',
      { text: 'three', clock: CUSTOM, clockValue: 7 },
      written('three'),
      changed('three', { clock: CUSTOM, custom_clock_value: 7 }),
    ],
  );
}

async function tellMaps(replicas) {
  const changed = (delta) => update({ replicated_map: delta });
  const counter = (change) => ({ counter: { change } });
  const added = (key, delta) => ({ added: [{ key, delta }] });
  const updated = (key, delta) => ({ updated: [{ key, delta }] });
  const replaced = (key, delta) => ({ removed: [key], ...added(key, delta) });
  const set = { replicated_set: { added: ['x'] } };
  const register = { register: { value: { text: 't' } } };
  const both = { counters: { s: 7 }, registers: { r: 't' } };
  await replicas.tell(
    'Maps',
    { delta: { replicated_map: added(replicas.text('c'), counter(1)) } },
    ['Count', { key: 'c', amount: 2 }, { counters: { c: 3 } }, changed(updated('c', counter(2)))],
    ['Recount', { key: 'c', amount: 7 }, { counters: { c: 7 } }, changed(replaced('c', counter(7)))],
    ['Clear', {}, {}, changed({ cleared: true })],
    ['Collect', { key: 's', elements: ['x'] }, { sets: { s: { elements: ['x'] } } }, changed(added('s', set))],
    ['Recount', { key: 's', amount: 7 }, { counters: { s: 7 } }, changed(replaced('s', counter(7)))],
    ['Write', { key: 'r', text: 't' }, both, changed(added('r', register))],
    ['Remove', { key: 'r' }, { counters: { s: 7 } }, changed({ removed: ['r'] })],
  );
  const nested = (delta) => changed(delta('m', { replicated_map: delta('i', counter(2)) }));
  await replicas.tell(
    'Maps',
    {},
    ['Nest', { key: 'm', inner: 'i', amount: 2 }, inner({ i: 2 }), nested(added)],
    ['Nest', { key: 'm', inner: 'i', amount: 2 }, inner({ i: 4 }), nested(updated)],
  );
}

// Counters in a map in a map.
const inner = (counters) => ({ maps: { m: { counters } } });

async function tellVotes(replicas) {
  const changed = (self_vote) => update({ vote: self_vote ? { self_vote } : {} });
  await replicas.tell(
    'Votes',
    {},
    ['Get', {}, { voters: 1 }],
    ['Vote', { vote: false }, { voters: 1 }],
    ['Vote', { vote: true }, { vote: true, votesFor: 1, voters: 1 }, changed(true)],
    ['Vote', { vote: true }, { vote: true, votesFor: 1, voters: 1 }],
    { delta: { vote: { self_vote: true, votes_for: 2, total_voters: 3 } } },
    ['Vote', { vote: false }, { votesFor: 1, voters: 3 }, changed(false)],
  );
}

module.exports = { Replicas, update, tellShared };
