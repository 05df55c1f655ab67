// Replicated entities: one for each data type of the SDK.
const { Crdt, Flag, GCounter, GSet, LWWRegister, ORMap, ORSet, PNCounter, Vote } = require('cloudstate').crdt;

function entity(service, persistenceId, defaultValue) {
  const made = new Crdt(['replicated.proto'], `peers.${service}`, { includeDirs: ['./protos'], persistenceId });
  if (defaultValue) made.defaultValue = defaultValue;
  return made;
}

function remove(request, context) {
  context.delete();
  return {};
}

const counters = entity('Counters', 'counters', () => new PNCounter());

const amount = ({ state }) => ({ amount: state.longValue });

function add(request, context) {
  context.state.increment(request.amount);
  return amount(context);
}

function addThenFail(request, context) {
  context.state.increment(request.amount);
  context.fail('failed after the update');
}

function addAndNote(request, context) {
  const note = { key: `counter-${request.id}`, value: String(add(request, context).amount) };
  context.effect({ path: '/peers.KeyValue/Set' }, note, true);
  return amount(context);
}

function getNote({ id }, context) {
  context.thenForward({ path: '/peers.KeyValue/Get' }, { key: `counter-${id}` });
}

counters.commandHandlers = {
  Add: add,
  Get: (request, context) => amount(context),
  Delete: remove,
  AddThenFail: addThenFail,
  AddAndNote: addAndNote,
  GetNote: getNote,
};

const sets = entity('Sets', 'sets', () => new ORSet());

const elements = (set) => ({ elements: Array.from(set).sort() });

function addElements(request, { state }) {
  request.elements.forEach((element) => state.add(element));
  return elements(state);
}

sets.commandHandlers = {
  Add: addElements,
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
  return clock ? new LWWRegister(note, clock, clockValue) : new LWWRegister(note);
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

const maps = entity('Maps', 'maps', () => new ORMap());

// What is under the key, added when it is missing.
function under(map, key, make) {
  if (!map.has(key)) map.set(key, make());
  return map.get(key);
}

function entries(map) {
  const found = { counters: {}, sets: {}, registers: {}, votes: {}, maps: {}, flags: {} };
  map.forEach((value, key) => {
    if (value instanceof PNCounter) found.counters[key] = value.longValue;
    else if (value instanceof ORSet) found.sets[key] = elements(value);
    else if (value instanceof LWWRegister) found.registers[key] = value.value.text;
    else if (value instanceof Vote) found.votes[key] = ballot(value);
    else if (value instanceof Flag) found.flags[key] = value.value;
    else found.maps[key] = entries(value);
  });
  return found;
}

function ballot({ vote, votesFor, totalVoters }) {
  return { vote, votesFor, voters: totalVoters };
}

maps.commandHandlers = {
  Count: ({ key, amount }, { state }) => {
    under(state, key, () => new PNCounter()).increment(amount);
    return entries(state);
  },
  Recount: ({ key, amount }, { state }) => entries(state.set(key, new PNCounter().increment(amount))),
  Collect: (request, { state }) => {
    const set = under(state, request.key, () => new ORSet());
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
    const map = under(state, key, () => new ORMap());
    under(map, inner, () => new PNCounter()).increment(amount);
    return entries(state);
  },
  Raise: ({ key }, { state }) => {
    under(state, key, () => new Flag()).enable();
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

const gCounters = entity('GCounters', 'g-counters', () => new GCounter());

gCounters.commandHandlers = {
  Add: add,
  Get: (request, context) => amount(context),
  Delete: remove,
};

const gSets = entity('GSets', 'g-sets', () => new GSet());

gSets.commandHandlers = {
  Add: addElements,
  Get: (request, { state }) => elements(state),
  Delete: remove,
};

const flags = entity('Flags', 'flags', () => new Flag());

flags.commandHandlers = {
  Raise: (request, { state }) => ({ raised: state.enable().value }),
  Get: (request, { state }) => ({ raised: state.value }),
  Delete: remove,
};

module.exports = [counters, sets, registers, maps, votes, gCounters, gSets, flags];
