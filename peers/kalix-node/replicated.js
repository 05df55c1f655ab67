// Replicated entities: one for each data type of the SDK.
const { replies, replicatedentity } = require('@kalix-io/kalix-javascript-sdk');
const keyValue = require('./key_value');

const {
  ReplicatedCounter,
  ReplicatedCounterMap,
  ReplicatedEntity,
  ReplicatedMap,
  ReplicatedMultiMap,
  ReplicatedRegister,
  ReplicatedRegisterMap,
  ReplicatedSet,
  Vote,
} = replicatedentity;

function entity(service, entityType, defaultValue) {
  const made = new ReplicatedEntity('replicated.proto', `peers.${service}`, entityType, {
    includeDirs: ['./protos'],
    entityPassivationStrategy: { timeout: 300 },
  });
  if (defaultValue) made.defaultValue = defaultValue;
  return made;
}

function remove(request, context) {
  context.delete();
  return {};
}

const counters = entity('Counters', 'counters', () => new ReplicatedCounter());

const amount = ({ state }) => ({ amount: state.longValue });

function add(request, context) {
  context.state.increment(request.amount);
  return amount(context);
}

function addThenFail(request, context) {
  context.state.increment(request.amount);
  return replies.failure('failed after the update');
}

function addAndNote(request, context) {
  const note = { key: `counter-${request.id}`, value: String(add(request, context).amount) };
  return replies.message(amount(context)).addEffect(keyValue.service.methods.Set, note, true);
}

function getNote({ id }) {
  return replies.forward(keyValue.service.methods.Get, { key: `counter-${id}` });
}

counters.commandHandlers = {
  Add: add,
  Get: (request, context) => amount(context),
  Delete: remove,
  AddThenFail: addThenFail,
  AddAndNote: addAndNote,
  GetNote: getNote,
};

const sets = entity('Sets', 'sets', () => new ReplicatedSet());

const elements = (set) => ({ elements: Array.from(set).sort() });

sets.commandHandlers = {
  Add: (request, { state }) => {
    request.elements.forEach((element) => state.add(element));
    return elements(state);
  },
  Remove: (request, { state }) => {
    request.elements.forEach((element) => state.delete(element));
    return elements(state);
  },
  Replace: (request, { state }) => {
    state.clear();
    request.elements.forEach((element) => state.add(element));
    return elements(state);
  },
  Get: (request, { state }) => elements(state),
  Delete: remove,
};

// Without a default value: that would be a write of its own.
const registers = entity('Registers', 'registers');
const Note = registers.lookupType('peers.Note');

// With a clock only where the request asks for one.
function register({ text, clock, clockValue }) {
  const note = Note.create({ text });
  return clock ? new ReplicatedRegister(note, clock, clockValue) : new ReplicatedRegister(note);
}

function rewrite(written, { text, clock, clockValue }) {
  const note = Note.create({ text });
  if (clock) written.setWithClock(note, clock, clockValue);
  else written.value = note;
}

const written = ({ state }) => (state ? { text: state.value.text, found: true } : {});

registers.commandHandlers = {
  Write: (request, context) => {
    if (context.state) rewrite(context.state, request);
    else context.state = register(request);
    return written(context);
  },
  Get: (request, context) => written(context),
  Delete: remove,
};

const maps = entity('Maps', 'maps', () => new ReplicatedMap());

// What is under the key, added when it is missing.
function under(map, key, make) {
  if (!map.has(key)) map.set(key, make());
  return map.get(key);
}

function entries(map) {
  const found = { counters: {}, sets: {}, registers: {}, votes: {}, maps: {} };
  map.forEach((value, key) => {
    if (value instanceof ReplicatedCounter) found.counters[key] = value.longValue;
    else if (value instanceof ReplicatedSet) found.sets[key] = elements(value);
    else if (value instanceof ReplicatedRegister) found.registers[key] = value.value.text;
    else if (value instanceof Vote) found.votes[key] = ballot(value);
    else found.maps[key] = entries(value);
  });
  return found;
}

function ballot({ vote, votesFor, totalVoters }) {
  return { vote, votesFor, voters: totalVoters };
}

maps.commandHandlers = {
  Count: ({ key, amount }, { state }) => {
    under(state, key, () => new ReplicatedCounter()).increment(amount);
    return entries(state);
  },
  Recount: ({ key, amount }, { state }) => entries(state.set(key, new ReplicatedCounter().increment(amount))),
  Collect: (request, { state }) => {
    const set = under(state, request.key, () => new ReplicatedSet());
    request.elements.forEach((element) => set.add(element));
    return entries(state);
  },
  Write: (request, { state }) => {
    if (state.has(request.key)) rewrite(state.get(request.key), request);
    else state.set(request.key, register(request));
    return entries(state);
  },
  Vote: ({ key, vote }, { state }) => {
    under(state, key, () => new Vote()).vote = vote;
    return entries(state);
  },
  Nest: ({ key, inner, amount }, { state }) => {
    const map = under(state, key, () => new ReplicatedMap());
    under(map, inner, () => new ReplicatedCounter()).increment(amount);
    return entries(state);
  },
  Remove: ({ key }, { state }) => entries(state.delete(key)),
  Clear: (request, { state }) => entries(state.clear()),
  Get: (request, { state }) => entries(state),
  Delete: remove,
};

const votes = entity('Votes', 'votes', () => new Vote());

votes.commandHandlers = {
  Vote: (request, { state }) => {
    state.vote = request.vote;
    return ballot(state);
  },
  Get: (request, { state }) => ballot(state),
  Delete: remove,
};

// An object with what `read` finds under each key.
function each(map, read) {
  return Object.fromEntries(Array.from(map.keys(), (key) => [key, read(key)]));
}

const counterMaps = entity('CounterMaps', 'counter-maps', () => new ReplicatedCounterMap());

const counts = (state) => ({ counters: each(state, (key) => state.getLong(key)) });

counterMaps.commandHandlers = {
  Count: ({ key, amount }, { state }) => counts(state.increment(key, amount)),
  Remove: ({ key }, { state }) => counts(state.delete(key)),
  Clear: (request, { state }) => counts(state.clear()),
  Get: (request, { state }) => counts(state),
  Delete: remove,
};

const registerMaps = entity('RegisterMaps', 'register-maps', () => new ReplicatedRegisterMap());

const notes = (state) => ({ registers: each(state, (key) => state.get(key).text) });

registerMaps.commandHandlers = {
  Write: ({ key, text, clock, clockValue }, { state }) =>
    notes(state.set(key, Note.create({ text }), clock, clockValue)),
  Remove: ({ key }, { state }) => notes(state.delete(key)),
  Clear: (request, { state }) => notes(state.clear()),
  Get: (request, { state }) => notes(state),
  Delete: remove,
};

const multiMaps = entity('MultiMaps', 'multi-maps', () => new ReplicatedMultiMap());

const collections = (state) => ({ sets: each(state, (key) => elements(state.get(key))) });

multiMaps.commandHandlers = {
  Collect: (request, { state }) => collections(state.putAll(request.key, request.elements)),
  Discard: (request, { state }) => {
    request.elements.forEach((element) => state.delete(request.key, element));
    return collections(state);
  },
  Remove: ({ key }, { state }) => collections(state.deleteAll(key)),
  Clear: (request, { state }) => collections(state.clear()),
  Get: (request, { state }) => collections(state),
  Delete: remove,
};

module.exports = [counters, sets, registers, maps, votes, counterMaps, registerMaps, multiMaps];
