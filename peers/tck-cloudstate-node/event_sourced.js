// The event sourced models. The value models are such too, because the SDK has no value entities.
const { EventSourced } = require('cloudstate');
const { INCLUDE_DIRS, PROTO, named } = require('./contract');
const { Failed, Work, requestOf, serviceOf } = require('../lib/model/steps');

function entity(service, persistenceId, snapshotEvery) {
  return new EventSourced([PROTO], named(service), { includeDirs: INCLUDE_DIRS, persistenceId, snapshotEvery });
}

// By path, because the SDK looks a protobufjs method up by the short name of its service.
const methodOf = (target) => ({ path: `/${named(serviceOf(target))}/Process` });

function eventSourced() {
  const model = entity('EventSourcedModel', 'tck-events', 5);
  const Appended = model.lookupType(named('Appended'));
  const State = model.lookupType(named('State'));

  function process({ steps }, state, context) {
    const work = new Work(state);
    try {
      work.do(steps);
    } catch (error) {
      if (error instanceof Failed) context.fail(error.message);
      throw error;
    }
    work.appended.forEach((text) => context.emit(Appended.create({ text })));
    work.effects.forEach(({ target, wait }) => context.effect(methodOf(target), requestOf(target), wait));
    if (work.forwarded) context.thenForward(methodOf(work.forwarded), requestOf(work.forwarded));
    return work.message();
  }

  const appended = ({ text }, { text: before, count }) =>
    State.create({ text: before + text, count: Number(count) + 1 });

  return model
    .setInitial(() => State.create({ text: '', count: 0 }))
    .setBehavior(() => ({ commandHandlers: { Process: process }, eventHandlers: { Appended: appended } }));
}

// Where forwards and effects lead.
function target(service, persistenceId) {
  const model = entity(service, persistenceId, 100);
  const State = model.lookupType(named('State'));
  return model
    .setInitial(() => State.create({ text: '', count: 0 }))
    .setBehavior(() => ({ commandHandlers: { Process: () => ({}) }, eventHandlers: {} }));
}

module.exports = { eventSourced, target };
