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

function writer(stream) {
  let sent = 0;
  return ({ text }) => stream.write({ text, count: ++sent });
}

// Does the steps before the first pause; the others.
function now(write, steps) {
  const paused = steps.findIndex(({ send }) => send && send.pauseMs);
  const first = paused < 0 ? steps : steps.slice(0, paused);
  first.forEach((step) => {
    if (step.send) for (let left = step.send.times; left > 0; left--) write(step.send);
    else done([step]);
  });
  return steps.slice(first.length);
}

async function later(write, [step, ...rest]) {
  if (!step) return;
  for (let left = step.send.times; left > 0; left--) {
    await pause(step.send.pauseMs);
    write(step.send);
  }
  await later(write, now(write, rest));
}

// What breaks after the handler has returned is seen by nobody, and would end the process.
function talk(stream, { steps }) {
  const write = writer(stream);
  return later(write, now(write, steps)).catch(console.error);
}

const action = new Stateless([PROTO], named('ActionModel'), { includeDirs: INCLUDE_DIRS });

action.commandHandlers = {
  Unary: ({ steps }) => done(steps),
  Collect: ({ steps }) => done(steps),
  Spread: (stream, request) => {
    talk(stream, request).then(() => stream.end());
  },
  Converse: talk,
};

module.exports = action;
