// The steps of requests of the conformance kit's replicated models, for all JavaScript SDKs.
const { Failed } = require('./steps');

const byBytes = (left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right));

// The storage name of the model for this type of data.
const storageOf = (name) => `tck${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

// types: the SDK's classes by the kit's names. Text: the message that registers hold.
function data(types, Text) {
  const { Counter, CounterMap, Flag, GrowCounter, GrowSet, MultiMap, Register, RegisterMap, Vote } = types;
  const made = { 1: GrowCounter, 2: Counter, 3: GrowSet, 4: types.Set, 5: Flag, 7: types.Map, 8: Vote };
  const is = (value, ...classes) => classes.some((one) => one && value instanceof one);

  // By the name of the step. A place has the data, as `state`, or none yet.
  const doing = {
    change: ({ state }, amount) => state.increment(amount),
    add: ({ state }, element) => state.add(element),
    remove: ({ state }, key) => (is(state, MultiMap) ? state.deleteAll(key) : state.delete(key)),
    clear: ({ state }) => state.clear(),
    turnOn: ({ state }) => state.enable(),
    vote: ({ state }, vote) => {
      state.vote = vote;
    },
    write: (place, { text, clock, custom }) => {
      const value = Text.create({ text });
      if (place.state) place.state.setWithClock(value, clock, custom);
      else place.state = new Register(value, clock, custom);
    },
    at: ({ state }, { key, dataType, step }) => {
      if (is(state, CounterMap)) state.increment(key, step.change);
      else if (is(state, RegisterMap)) {
        const { text, clock, custom } = step.write;
        state.set(key, Text.create({ text }), clock, custom);
      } else if (is(state, MultiMap)) valuesOf(state, key)[step.step](step[step.step]);
      else atEntry(state, key, made[dataType], step);
    },
    fail: (place, failure) => {
      throw new Failed(failure);
    },
    crash: (place, text) => {
      throw new Error(text);
    },
    delete: (context) => context.delete(),
  };

  function atEntry(map, key, Type, step) {
    const entry = {
      get state() {
        return map.get(key);
      },
      set state(value) {
        map.set(key, value);
      },
    };
    // A register begins with its first write.
    if (!map.has(key) && Type) entry.state = new Type();
    doStep(entry, step);
  }

  const valuesOf = (map, key) => ({
    add: (element) => map.put(key, element),
    remove: (element) => map.delete(key, element),
    clear: () => map.deleteAll(key),
  });

  const doStep = (place, step) => doing[step.step](place, step[step.step]);

  const entries = (map, valueOf) => ({
    entries: Array.from(map.keys())
      .sort(byBytes)
      .map((key) => ({ key, value: valueOf(key) })),
  });

  const elements = (set) => ({ elements: Array.from(set).sort(byBytes) });

  // The value as the kit sees it.
  function show(state) {
    if (!state) return {};
    if (is(state, Counter, GrowCounter)) return { number: state.longValue };
    if (is(state, types.Set, GrowSet)) return elements(state);
    if (is(state, Flag)) return { on: state.value };
    if (is(state, Register)) return { text: state.value.text };
    if (is(state, Vote)) return { number: state.votesFor, on: state.vote, members: state.totalVoters };
    if (is(state, CounterMap)) return entries(state, (key) => ({ number: state.getLong(key) }));
    if (is(state, RegisterMap)) return entries(state, (key) => ({ text: state.get(key).text }));
    if (is(state, MultiMap)) return entries(state, (key) => elements(state.get(key)));
    return entries(state, (key) => show(state.get(key)));
  }

  // Does the steps of `Process`; what they lead to. A deleted entity has nothing.
  function process({ steps }, context) {
    steps.forEach((step) => doStep(context, step));
    return steps.some(({ step }) => step === 'delete') ? {} : show(context.state);
  }

  return { doStep, process, show };
}

module.exports = { data, storageOf };
