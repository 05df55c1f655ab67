// The action: a stateless function. The SDK's can neither fail nor forward nor have effects: such steps
// throw. Those with streamed requests work in no call.
const { Stateless } = require('cloudstate');
const { INCLUDE_DIRS, PROTO, named } = require('./contract');
const { Work } = require('../lib/model/steps');

const pause = (millis) => new Promise((resolve) => setTimeout(resolve, millis));

function done(steps) {
  const work = new Work({ text: '', count: 0 }).do(steps);
  if (work.forwarded || work.effects.length) throw new Error('stateless functions cannot call others');
  return work.message();
}

async function talk(stream, steps) {
  let sent = 0;
  for (const step of steps) {
    if (step.step === 'send') {
      const { text, times, pauseMs } = step.send;
      for (let left = times; left > 0; left--) {
        if (pauseMs) await pause(pauseMs);
        stream.write({ text, count: ++sent });
      }
    } else done([step]);
  }
}

const action = new Stateless([PROTO], named('ActionModel'), { includeDirs: INCLUDE_DIRS });

action.commandHandlers = {
  Unary: ({ steps }) => done(steps),
  Collect: ({ steps }) => done(steps),
  // What breaks after the handler has returned is seen by nobody, and would end the process.
  Spread: (stream, { steps }) => {
    talk(stream, steps)
      .catch(console.error)
      .finally(() => stream.end());
  },
  Converse: (stream, { steps }) => {
    talk(stream, steps).catch(console.error);
  },
};

module.exports = action;
