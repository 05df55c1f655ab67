// The steps of requests of the conformance kit's model services, for all JavaScript SDKs: what they do to
// text and count, and what they ask for. The SDKs differ in how it is said.

// A step that rejects the command.
class Failed extends Error {
  constructor({ code, message }) {
    super(message);
    this.code = code;
  }
}

// Bytes that tell their place.
function pad(length) {
  const bytes = Buffer.alloc(length);
  for (let place = 0; place < length; place++) bytes[place] = place % 251;
  return bytes;
}

// What the steps of one command have done so far.
class Work {
  // metadata: of the command, where the SDK has it.
  constructor(state, metadata) {
    this.state = { text: state.text, count: Number(state.count) };
    this.metadata = metadata;
    this.changed = false;
    this.deleted = false;
    this.appended = [];
    this.effects = [];
    this.headers = [];
    this.replyHeaders = [];
  }

  do(steps) {
    steps.forEach((step) => DOING[step.step](this, step[step.step]));
    return this;
  }

  // The reply.
  message() {
    return { ...this.state, headers: this.headers, pad: this.pad };
  }

  // What is to be said with the next reply, and not again.
  takeEffects() {
    return this.effects.splice(0);
  }

  takeReplyHeaders() {
    return this.replyHeaders.splice(0);
  }
}

// By the name of the step.
const DOING = {
  set: (work, text) => {
    work.state = { text, count: work.state.count + 1 };
    work.changed = true;
  },
  append: (work, text) => {
    DOING.set(work, work.state.text + text);
    work.appended.push(text);
  },
  delete: (work) => {
    work.state = { text: '', count: 0 };
    work.deleted = true;
  },
  fail: (work, failure) => {
    throw new Failed(failure);
  },
  crash: (work, text) => {
    throw new Error(text);
  },
  forward: (work, target) => {
    work.forwarded = target;
  },
  effect: (work, effect) => work.effects.push(effect),
  showHeader: (work, name) => {
    const values = work.metadata ? work.metadata.get(name) : [];
    values.forEach((value) => work.headers.push({ name, value: Buffer.from(value) }));
  },
  setHeader: (work, header) => work.replyHeaders.push(header),
  pad: (work, length) => {
    work.pad = pad(length);
  },
};

// The service of a target, without its package.
const serviceOf = ({ target }) => ({ value: 'ValueModel', two: 'ValueModelTwo' })[target];

// The request in a target.
const requestOf = (target) => target[target.target];

// The value of a header, as it is sent.
const headerValue = ({ name, value }) => (name.endsWith('-bin') ? Buffer.from(value) : value.toString());

module.exports = { Failed, Work, headerValue, requestOf, serviceOf };
