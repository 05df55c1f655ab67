/** The SDK with a real Firn, which FIRN_BIN names. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { create, fromBinary, toBinary, type DescMessage, type DescMethod } from "@bufbuild/protobuf";
import { Client, credentials } from "@grpc/grpc-js";
import {
  action,
  client,
  Code,
  data,
  eventSourcedEntity,
  Failure,
  FirnFunction,
  replicatedEntity,
  valueEntity,
  type FunctionOptions,
} from "../src/index.js";
import { bytes, Empty, int64, message, rpc, service, string, uint32 } from "../src/schema.js";
import { startFirn, type LocalFirn } from "../src/testing.js";

const Ask = message("Ask", { id: string(), text: string() });
const Answer = message("Answer", { text: string(), count: int64() });
const Note = message("Note", { text: string(), count: int64() });
const Added = message("Added", { text: string() });
const Blob = message("Blob", { size: uint32(), data: bytes() });

const Values = service("live.Values", {
  set: rpc(Ask, Answer),
  get: rpc(Ask, Answer),
  delete: rpc(Ask, Answer),
});
const Events = service("live.Events", { add: rpc(Ask, Answer), get: rpc(Ask, Answer) });
const Counters = service("live.Counters", {
  change: rpc(Ask, Answer),
  watch: rpc(Ask, Answer, { kind: "server_streaming" }),
});
const Actions = service("live.Actions", {
  forward: rpc(Ask, Answer),
  effects: rpc(Ask, Empty),
  fail: rpc(Ask, Empty),
  circle: rpc(Ask, Answer),
  blob: rpc(Blob, Blob),
  converse: rpc(Ask, Answer, { kind: "bidi_streaming" }),
});

const onValues = client(Values);
const onEvents = client(Events);
const onCounters = client(Counters);
const onActions = client(Actions);

const values = valueEntity(Values, {
  id: "id",
  state: Note,
  handlers: {
    set({ text }, context) {
      context.set({ text, count: (context.state?.count ?? 0n) + 1n });
      return { text, count: context.state?.count ?? 0n };
    },
    get: (_, { state }) => ({ text: state?.text ?? "", count: state?.count ?? -1n }),
    delete(_, context) {
      context.delete();
    },
  },
});

const events = eventSourcedEntity(Events, {
  id: "id",
  state: Note,
  events: [Added],
  snapshotEvery: 4,
  apply: (state, { text }) => ({ text: state.text + text, count: state.count + 1n }),
  handlers: {
    add({ text }, context) {
      context.emit(Added, { text });
      if (text === "!") throw new Failure(Code.Aborted, "after emit");
      return context.state;
    },
    get: (_, context) => context.state,
  },
});

const counters = replicatedEntity(Counters, {
  id: "id",
  data: data.counter(),
  handlers: {
    change({ text }, context) {
      context.data.increment(BigInt(text));
      return { count: context.data.value };
    },
    async *watch(_, context) {
      for await (const counter of context.changes()) yield { count: counter.value };
    },
  },
});

const actions = action(Actions, {
  headers: ["*"],
  handlers: {
    forward: ({ id }, context) => context.forward(onValues.get({ id })),
    effects({ id, text }, context) {
      context.effect(onValues.set({ id, text }), { wait: true });
      context.effect(onEvents.add({ id, text }));
    },
    fail() {
      throw new Failure(Code.DataLoss, "lost");
    },
    async circle({ id }, context) {
      const first = await context.call(onValues.set({ id, text: "called" }));
      return { text: first.text, count: first.count };
    },
    blob: ({ size, data: sent }) => ({ size: sent.length, data: new Uint8Array(size).fill(1) }),
    async *converse(requests) {
      for await (const { text } of requests) yield { text: `${text}?` };
    },
  },
});

let firn: LocalFirn;
let fn: FirnFunction;
let clients: Client;

before(async () => {
  assert.ok(process.env["FIRN_BIN"], "FIRN_BIN does not name the firn binary: build it first");
  firn = await startFirn();
  fn = functionFor(firn);
  await fn.start();
  await firn.untilServing();
  clients = new Client(firn.clientAddress, credentials.createInsecure(), { "grpc.max_receive_message_length": -1 });
});

after(async () => {
  clients?.close();
  await fn?.stop();
  await firn?.stop();
});

function functionFor(it: LocalFirn, options: FunctionOptions = {}): FirnFunction {
  const made = new FirnFunction("live", { address: it.functionAddress, ...options });
  for (const component of [values, events, counters, actions]) made.add(component);
  return made;
}

/** Repeats a call until its answer is as wanted; the test's own time limit bounds it. */
async function until<T>(ask: () => Promise<T>, isWanted: (answer: T) => boolean): Promise<T> {
  for (;;) {
    const answer = await ask();
    if (isWanted(answer)) return answer;
  }
}

function stream(method: DescMethod) {
  const path = `/${method.parent.typeName}/${method.name}`;
  return clients.makeBidiStreamRequest(
    path,
    (it: object) => Buffer.from(toBinary(method.input, create(method.input, it as never))),
    (it: Buffer) => fromBinary(method.output as DescMessage, it) as unknown as { text: string; count: bigint },
  );
}

test("a value entity sets, shows and deletes", async () => {
  const id = "v";
  assert.equal((await fn.call(onValues.set({ id, text: "a" }))).count, 1n);
  assert.equal((await fn.call(onValues.set({ id, text: "b" }))).count, 2n);
  assert.equal((await fn.call(onValues.get({ id }))).text, "b");
  await fn.call(onValues.delete({ id }));
  assert.equal((await fn.call(onValues.get({ id }))).count, -1n);
});

test("an event sourced entity goes on after a handler failed behind an event", async () => {
  const id = "e";
  for (const text of "abcde") await fn.call(onEvents.add({ id, text }));
  await assert.rejects(fn.call(onEvents.add({ id, text: "!" })), (error: Failure) => error.code === Code.Aborted);
  assert.equal((await fn.call(onEvents.add({ id, text: "f" }))).text, "abcdef");
});

// Not more than may wait for one entity (the setting `mailbox`).
test("many commands of one entity run one after another", async () => {
  const id = "hot";
  const all = await Promise.all(Array.from({ length: 200 }, (_, i) => fn.call(onEvents.add({ id, text: String(i % 10) }))));
  const counts = all.map((it) => Number(it.count)).sort((a, b) => a - b);
  assert.deepEqual(counts, Array.from({ length: 200 }, (_, i) => i + 1));
});

test("a replicated counter is watched", async () => {
  const watch = stream(Counters.method.watch);
  watch.end({ id: "c" });
  const [first] = (await once(watch, "data")) as [{ count: bigint }];
  assert.equal(first.count, 0n);
  // It may come before the reply to the change.
  const next = once(watch, "data");
  await fn.call(onCounters.change({ id: "c", text: "5" }));
  const [second] = (await next) as [{ count: bigint }];
  assert.equal(second.count, 5n);
  watch.on("error", () => {});
  watch.cancel();
});

test("an action forwards, fails, calls, and causes effects", async () => {
  await fn.call(onValues.set({ id: "f", text: "forwarded" }));
  assert.equal((await fn.call(onActions.forward({ id: "f" }))).text, "forwarded");
  await assert.rejects(fn.call(onActions.fail({})), (error: Failure) => error.code === Code.DataLoss && error.message === "lost");
  assert.equal((await fn.call(onActions.circle({ id: "g" }))).text, "called");
  await fn.call(onActions.effects({ id: "h", text: "x" }));
  assert.equal((await fn.call(onValues.get({ id: "h" }))).text, "x");
  await until(() => fn.call(onEvents.get({ id: "h" })), (it) => it.text === "x");
});

test("both sides of a call stream", async () => {
  const converse = stream(Actions.method.converse);
  const answers: string[] = [];
  converse.on("data", (it: { text: string }) => answers.push(it.text));
  for (let i = 0; i < 50; i++) converse.write({ text: String(i) });
  converse.end();
  await once(converse, "end");
  assert.deepEqual(answers, Array.from({ length: 50 }, (_, i) => `${i}?`));
});

test("large messages travel both ways", async () => {
  const sent = new Uint8Array(2_000_000).fill(2);
  const reply = await fn.call(onActions.blob({ size: 3_000_000, data: sent }));
  assert.equal(reply.size, 2_000_000);
  assert.equal(reply.data.length, 3_000_000);
});

test("a function that keeps one entity serves many", async () => {
  await fn.stop();
  const small = functionFor(firn, { incarnationsMax: 1 });
  await small.start();
  await firn.untilServing();
  for (let round = 1; round <= 3; round++) {
    const all = await Promise.all(
      Array.from({ length: 20 }, (_, i) => small.call(onEvents.add({ id: `many-${i}`, text: "a" }))),
    );
    assert.ok(all.every((it) => it.count === BigInt(round)));
  }
  await small.stop();
  fn = functionFor(firn);
  await fn.start();
  await firn.untilServing();
});

test("a token and a unix socket", async () => {
  const other = await startFirn({ functionToken: "secret", unixSocket: true });
  try {
    const messages: string[] = [];
    const keep = (text: string, fields?: Record<string, unknown>): void => void messages.push(`${text} ${String(fields?.["code"])}`);
    const logger = { debug: keep, info: keep, warn: keep, error: keep };
    const wrong = functionFor(other, { token: "wrong", logger });
    const started = wrong.start().catch(() => {});
    await until(() => new Promise((resolve) => setImmediate(resolve)), () => messages.some((it) => it.includes("FIRN-2025")));
    await wrong.stop();
    await started;
    const right = functionFor(other, { token: "secret", logger });
    await right.start();
    await other.untilServing();
    assert.equal((await right.call(onValues.set({ id: "a", text: "b" }))).count, 1n);
    await right.stop();
  } finally {
    await other.stop();
  }
});

test("Firn that stops ends the connection, and the function dials on", async () => {
  const other = await startFirn();
  const served = functionFor(other, { stopGrace: 0 });
  await served.start();
  await other.stop();
  await until(
    () => served.call(onValues.get({ id: "a" })).then(() => "served", (error: Failure) => error.code),
    (it) => it === Code.Unavailable,
  );
  await served.stop();
});
