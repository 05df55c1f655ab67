// The replicated models. The write consistency of a change cannot be chosen.
const crdt = require('cloudstate').crdt;
const { INCLUDE_DIRS, PROTO, named } = require('./contract');
const { data, storageOf } = require('../lib/model/data');
const { Failed } = require('../lib/model/steps');

const TYPES = {
  GrowCounter: crdt.GCounter,
  Counter: crdt.PNCounter,
  GrowSet: crdt.GSet,
  Set: crdt.ORSet,
  Flag: crdt.Flag,
  Register: crdt.LWWRegister,
  Map: crdt.ORMap,
  Vote: crdt.Vote,
};

function failing(handler, context) {
  try {
    return handler();
  } catch (error) {
    if (error instanceof Failed) context.fail(error.message);
    throw error;
  }
}

function model(name) {
  const options = { includeDirs: INCLUDE_DIRS, persistenceId: storageOf(name) };
  const entity = new crdt.Crdt([PROTO], named(`${name}Model`), options);
  const { doStep, process, show } = data(TYPES, entity.lookupType(named('Text')));

  function watch({ steps }, context) {
    const [first] = steps;
    if (first && ['fail', 'crash'].includes(first.step)) doStep(context, first);
    context.onStateChange = (state, { end }) => {
      if (state instanceof crdt.ORSet && state.size === 0) end();
      return show(state);
    };
    context.onStreamCancel = (state, cancelled) => steps.forEach((step) => doStep(cancelled, step));
    return show(context.state);
  }

  // A default register would be a write.
  if (name !== 'Register') entity.defaultValue = () => new TYPES[name]();
  entity.commandHandlers = {
    Process: (request, context) => failing(() => process(request, context), context),
    Watch: (request, context) => failing(() => watch(request, context), context),
  };
  return entity;
}

module.exports = Object.keys(TYPES).map(model);
