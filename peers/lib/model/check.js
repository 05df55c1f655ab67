// The self-check of a function with the conformance kit's model services: discovery, and one command for
// an entity of each kind. What the steps mean is the kit's to check.
const fs = require('fs');
const path = require('path');
const { Peer, assert, run } = require('../selfcheck');

const CONTRACTS = path.join(__dirname, '../../../tck/proto');

function contractOf(family, protobuf, protoDir) {
  const folders = [CONTRACTS, protoDir, path.join(protoDir, '../protoc/include')];
  const root = new protobuf.Root();
  root.resolvePath = (origin, file) => folders.map((folder) => path.join(folder, file)).find(fs.existsSync);
  return root.loadSync(`firn/tck/${family}/v1/model.proto`);
}

// The function in a folder, as a proxy sees it.
class ModelPeer {
  constructor(folder, { family, protoDir, protos, grpcPackage }) {
    process.chdir(folder);
    this.peer = new Peer(folder, protoDir, protos, grpcPackage);
    this.peer.package = `firn.tck.${family}.v1`;
    this.types = this.peer.types(contractOf(family, this.peer.protobuf, protoDir));
    this.packages = this.peer.packages;
  }

  named(model) {
    return `${this.peer.package}.${model}`;
  }

  // The reply to one command `Process` on a new stream.
  async process(Service, handle, model, request, init) {
    const stream = this.peer.stream(this.peer.client(Service), handle);
    stream.send({ init: { service_name: this.named(model), entity_id: 'e', ...init } });
    const payload = this.types.pack(request.type, { id: 'e', steps: request.steps });
    const { reply } = await stream.exchange({ command: { entity_id: 'e', id: 1, name: 'Process', payload } });
    stream.call.end();
    return reply;
  }

  // The message in a reply.
  shown(type, { client_action: action }) {
    return this.types.unpack(type, action.reply.payload);
  }

  async eventSourced(Service, handle) {
    const request = { type: 'Request', steps: [{ append: 'a' }] };
    const reply = await this.process(Service, handle, 'EventSourcedModel', request);
    assert.strictEqual(this.types.unpack('Appended', reply.events[0]).text, 'a');
    assert.strictEqual(this.shown('Reply', reply).text, 'a');
  }

  async value(Service, handle) {
    const request = { type: 'Request', steps: [{ set: 'a' }] };
    const reply = await this.process(Service, handle, 'ValueModel', request, { state: {} });
    assert.strictEqual(this.types.unpack('State', reply.state_action.update.value).text, 'a');
    assert.strictEqual(this.shown('Reply', reply).count, 1);
  }

  async counter(Service, handle) {
    const request = { type: 'DataRequest', steps: [{ change: 3 }] };
    const reply = await this.process(Service, handle, 'CounterModel', request);
    assert.ok(reply.state_action);
    assert.strictEqual(this.shown('Value', reply).number, 3);
  }

  async action(Service, handle) {
    const payload = this.types.pack('Request', { steps: [{ set: 'a' }] });
    const request = { service_name: this.named('ActionModel'), name: 'Unary', payload };
    const { reply } = await this.peer.call(this.peer.client(Service), handle, request);
    assert.strictEqual(this.types.unpack('Reply', reply.payload).text, 'a');
  }
}

// The check of the families that have value entities.
async function checkAll(model, { component, protocol }, version, types) {
  await run(model.peer, protocol.Discovery, async (client) => {
    const spec = await model.peer.call(client, 'Discover', { ...version, proxy_name: 'selfcheck', dev_mode: true });
    const models = ['ActionModel', 'ValueModel', 'ValueModelTwo', 'EventSourcedModel'];
    const names = [...models, ...types.map((type) => `${type}Model`)].map((name) => model.named(name));
    assert.deepStrictEqual(spec.components.map(({ service_name: name }) => name), names);
    await model.action(component.action.Actions, 'HandleUnary');
    await model.value(component.valueentity.ValueEntities, 'Handle');
    await model.eventSourced(component.eventsourcedentity.EventSourcedEntities, 'Handle');
    await model.counter(component.replicatedentity.ReplicatedEntities, 'Handle');
  });
}

module.exports = { ModelPeer, assert, checkAll, run };
