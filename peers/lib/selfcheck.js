// What the self-checks of the JavaScript peers share: start the function, talk to it raw, compare.
const assert = require('assert');
const { spawn } = require('child_process');
const { createRequire } = require('module');
const net = require('net');
const path = require('path');

// How long a function may take from its start to its first answer.
const START_MS_MAX = 20000;
// How long one exchange may take.
const ANSWER_MS_MAX = 5000;
// How long to wait between looks for the function's port.
const LISTENS_MS = 50;

function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

const pause = (millis) => new Promise((resolve) => setTimeout(resolve, millis));

function within(millis, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: no answer in ${millis} ms`)), millis);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Whether somebody listens at the port.
function listens(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.end(() => resolve(true)));
    socket.on('error', () => resolve(false));
  });
}

// One open stream to an entity: sends, and hands out what comes back in order.
class Stream {
  constructor(call) {
    this.call = call;
    this.received = [];
    this.waiting = [];
    call.on('data', (message) => this.push({ message }));
    call.on('end', () => this.push({ end: true }));
    call.on('error', (error) => this.push({ error }));
  }

  push(item) {
    const waiter = this.waiting.shift();
    if (waiter) waiter(item);
    else this.received.push(item);
  }

  send(message) {
    this.call.write(message);
  }

  async next() {
    const item = this.received.length
      ? this.received.shift()
      : await within(ANSWER_MS_MAX, 'stream', new Promise((resolve) => this.waiting.push(resolve)));
    if (item.error) throw item.error;
    return item.end ? 'end' : item.message;
  }

  async exchange(message) {
    this.send(message);
    return this.next();
  }

  end() {
    this.call.end();
    return this.next();
  }
}

class Peer {
  // folder: of the peer. protoDir, protos: the SDK's protocol files, loaded for the raw clients.
  constructor(folder, protoDir, protos, grpcPackage = '@grpc/grpc-js') {
    const from = createRequire(path.join(folder, 'package.json'));
    this.grpc = from(grpcPackage);
    this.protobuf = from('protobufjs');
    this.folder = folder;
    this.package = 'peers';
    const loaded = from('@grpc/proto-loader').loadSync(protos, {
      includeDirs: [protoDir, path.join(protoDir, '..', 'protoc', 'include')],
      keepCase: true,
      longs: Number,
      oneofs: true,
    });
    this.packages = this.grpc.loadPackageDefinition(loaded);
  }

  async start() {
    this.port = await freePort();
    const env = { ...process.env, HOST: '127.0.0.1', PORT: String(this.port) };
    this.process = spawn('./start', { cwd: this.folder, env, stdio: 'inherit' });
    this.process.once('exit', () => (this.exited = true));
  }

  // Service: a client constructor out of `packages`.
  client(Service) {
    return new Service(`127.0.0.1:${this.port}`, this.grpc.credentials.createInsecure());
  }

  call(client, method, request) {
    return within(
      ANSWER_MS_MAX,
      method,
      new Promise((resolve, reject) => {
        client[method](request, (error, reply) => (error ? reject(error) : resolve(reply)));
      }),
    );
  }

  stream(client, method) {
    return new Stream(client[method]());
  }

  // The peer's own message types, to fill and to read payloads.
  types(...roots) {
    const type = (name) => {
      const found = roots.map((root) => root.lookup(`${this.package}.${name}`, this.protobuf.Type));
      return found.find((one) => one) || assert.fail(`no type ${name}`);
    };
    return {
      pack: (name, fields) => ({
        type_url: `type.googleapis.com/${this.package}.${name}`,
        value: type(name).encode(type(name).create(fields)).finish(),
      }),
      unpack: (name, any) => {
        assert.strictEqual(any.type_url, `type.googleapis.com/${this.package}.${name}`);
        const value = any.value || Buffer.alloc(0);
        return type(name).toObject(type(name).decode(value), { longs: Number, defaults: true });
      },
    };
  }
}

// Runs `check(peer)` on a started function, stops the function, and sets the exit code.
async function run(peer, Discovery, check) {
  try {
    await peer.start();
    const deadline = new Date(Date.now() + START_MS_MAX);
    // Clients of grpc-js 1.8 that are refused once may never connect.
    while (!(await listens(peer.port)) && Date.now() < deadline) await pause(LISTENS_MS);
    const discovery = peer.client(Discovery);
    await new Promise((resolve, reject) => {
      discovery.waitForReady(deadline, (error) => (error ? reject(error) : resolve()));
    });
    await check(discovery);
    console.log('selfcheck: ok');
  } catch (error) {
    console.error('selfcheck: failed:', error);
    process.exitCode = 1;
  } finally {
    if (!peer.exited) peer.process.kill('SIGKILL');
  }
  process.exit();
}

module.exports = { Peer, assert, run };
