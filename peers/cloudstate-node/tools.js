// Tools: a stateless function.
const { Stateless } = require('cloudstate');

const tools = new Stateless(['tools.proto'], 'peers.Tools', { includeDirs: ['./protos'] });

function count(stream, request) {
  for (let value = 1; value <= Number(request.value); value++) stream.write({ value });
  stream.end();
}

tools.commandHandlers = {
  Add: ({ left, right }) => ({ value: Number(left) + Number(right) }),
  Count: count,
  Sum: ({ value }) => ({ value }),
  Echo: (stream, { text }) => stream.write({ text }),
  Crash: () => {
    throw new Error('tools crashed');
  },
};

module.exports = tools;
