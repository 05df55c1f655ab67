// The conformance kit's model services on the SDKs of Akka Serverless and Kalix, which are alike.
const { data, storageOf } = require('./data');
const { Failed, Work, headerValue, requestOf, serviceOf } = require('./steps');

// The types of data, as the kit names them, of those that the SDK has.
const DATA = {
  Counter: 'ReplicatedCounter',
  Set: 'ReplicatedSet',
  Register: 'ReplicatedRegister',
  Map: 'ReplicatedMap',
  Vote: 'Vote',
  CounterMap: 'ReplicatedCounterMap',
  RegisterMap: 'ReplicatedRegisterMap',
  MultiMap: 'ReplicatedMultiMap',
};

const pause = (millis) => new Promise((resolve) => setTimeout(resolve, millis));

// family: as the kit's contracts name it. sdk: what the SDK exports, all at one level.
module.exports = function components(family, sdk) {
  const { Action, EventSourcedEntity, Metadata, ReplicatedEntity, ValueEntity, replies } = sdk;
  const proto = `firn/tck/${family}/v1/model.proto`;
  const named = (name) => `firn.tck.${family}.v1.${name}`;
  const includeDirs = ['../../tck/proto'];
  const forwardHeaders = ['x-tck', 'x-tck-bin'];
  const passivated = { entityPassivationStrategy: { timeout: 500 } };

  const action = new Action(proto, named('ActionModel'), { includeDirs, forwardHeaders });
  const methodOf = (target) => action.root.lookupService(named(serviceOf(target))).methods.Process;

  function metadata(headers) {
    if (!headers.length) return undefined;
    return headers.reduce((all, header) => all.set(header.name, headerValue(header)), new Metadata());
  }

  function withEffects(reply, effects) {
    effects.forEach(({ target, wait }) => reply.addEffect(methodOf(target), requestOf(target), wait));
    return reply;
  }

  function replyOf(work) {
    const { forwarded } = work;
    const reply = forwarded
      ? replies.forward(methodOf(forwarded), requestOf(forwarded))
      : replies.message(work.message(), metadata(work.takeReplyHeaders()));
    return withEffects(reply, work.takeEffects());
  }

  // What the handler replies, or the failure that it ends with.
  function answer(handler) {
    try {
      return handler();
    } catch (error) {
      if (error instanceof Failed) return replies.failure(error.message, error.code);
      throw error;
    }
  }

  function value(service, storage, options) {
    const entity = new ValueEntity(proto, named(service), storage, { includeDirs, ...options });
    const State = entity.lookupType(named('State'));
    entity.setInitial(() => State.create({ text: '', count: 0 }));
    return entity.setCommandHandlers({
      Process: ({ steps }, state, context) =>
        answer(() => {
          const work = new Work(state, context.metadata).do(steps);
          if (work.changed) context.updateState(State.create(work.state));
          if (work.deleted) context.deleteState();
          return replyOf(work);
        }),
    });
  }

  function eventSourced() {
    const entity = new EventSourcedEntity(proto, named('EventSourcedModel'), 'tck-events', {
      includeDirs,
      snapshotEvery: 5,
    });
    const Appended = entity.lookupType(named('Appended'));
    const State = entity.lookupType(named('State'));
    entity.setInitial(() => State.create({ text: '', count: 0 }));
    return entity.setBehavior(() => ({
      commandHandlers: {
        Process: ({ steps }, state, context) =>
          answer(() => {
            const work = new Work(state, context.metadata).do(steps);
            work.appended.forEach((text) => context.emit(Appended.create({ text })));
            return replyOf(work);
          }),
      },
      eventHandlers: {
        Appended: ({ text }, { text: before, count }) =>
          State.create({ text: before + text, count: Number(count) + 1 }),
      },
    }));
  }

  function replicated(name, options) {
    const entity = new ReplicatedEntity(proto, named(`${name}Model`), storageOf(name), { includeDirs, ...options });
    const { process } = data(types, entity.lookupType(named('Text')));
    // A default register would be a write.
    if (name !== 'Register') entity.defaultValue = () => new types[name]();
    entity.commandHandlers = {
      Process: (request, context) => answer(() => replies.message(process(request, context))),
    };
    return entity;
  }

  const newWork = ({ metadata: given }) => new Work({ text: '', count: 0 }, given);

  // A handler that is async: what one throws at once, the SDKs answer twice.
  const unary = async ({ steps }, context) => answer(() => replyOf(newWork(context).do(steps)));

  function collect(context) {
    const work = newWork(context);
    let broken = false;
    context.on('data', ({ steps }) => {
      if (broken) return;
      try {
        work.do(steps);
      } catch (error) {
        broken = true;
        if (!(error instanceof Failed)) throw error;
        context.fail(error.message, error.code);
      }
    });
    // A reply to a call that was cancelled would end the process.
    context.on('end', () => (broken || context.cancelled ? undefined : replyOf(work)));
  }

  // Answers requests one after the other, however long they take, and ends the call when it is told to.
  function talk(context) {
    const work = newWork(context);
    let turn = Promise.resolve();
    let over = false;
    let sent = 0;

    async function send({ text, times, pauseMs }) {
      for (let left = times; left > 0; left--) {
        if (pauseMs) await pause(pauseMs);
        if (context.cancelled) return;
        const reply = replies.message({ text, count: ++sent }, metadata(work.takeReplyHeaders()));
        context.reply(withEffects(reply, work.takeEffects()));
      }
    }

    async function answerTo({ steps }) {
      for (const step of steps) {
        if (step.step === 'send') await send(step.send);
        else work.do([step]);
      }
    }

    function end() {
      const effects = work.takeEffects();
      effects.forEach(({ target, wait }) => context.effect(methodOf(target), requestOf(target), wait));
      // A reply without message would be an empty message.
      if (effects.length) context.write(null);
    }

    // Nobody but this sees what is thrown when the SDK's call of the handler is over.
    function then(next) {
      turn = turn.then(async () => {
        if (over || context.cancelled) return;
        try {
          await next();
        } catch (error) {
          over = true;
          context.fail(error.message, error.code);
          context.end();
        }
      });
    }

    return {
      request: (request) => then(() => answerTo(request)),
      end: () =>
        then(() => {
          end();
          context.end();
        }),
    };
  }

  function spread(request, context) {
    const talking = talk(context);
    talking.request(request);
    talking.end();
  }

  function converse(context) {
    const talking = talk(context);
    context.on('data', talking.request);
    context.on('end', talking.end);
  }

  action.commandHandlers = { Unary: unary, Collect: collect, Spread: spread, Converse: converse };

  const has = Object.entries(DATA).filter(([, type]) => sdk[type]);
  const types = Object.fromEntries(has.map(([name, type]) => [name, sdk[type]]));
  const options = {
    Counter: { replicatedWriteConsistency: sdk.ReplicatedWriteConsistency.MAJORITY },
    Set: passivated,
  };
  return [
    action,
    value('ValueModel', 'tck-value'),
    value('ValueModelTwo', 'tck-two', passivated),
    eventSourced(),
    ...Object.keys(types).map((name) => replicated(name, options[name])),
  ];
};
