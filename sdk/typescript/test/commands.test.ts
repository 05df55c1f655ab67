/** Commands and decisions over a real connection to a fake Firn: exact sequences. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import type { FirnFunction } from "../src/index.js";
import { Added, Answer, any, Ask, At, decoded, encoded, functionOf, Gates, Records, Total } from "./support/fixtures.js";
import { FakeFirn, type FakeConnection, type FirnFrameInit } from "./support/fake-firn.js";

let firn: FakeFirn;
let fn: FirnFunction;
let gates: Gates;
let connection: FakeConnection;

beforeEach(async () => {
  firn = await FakeFirn.start();
  gates = new Gates();
  fn = functionOf(firn.address, gates, { stopGrace: 0, incarnationsMax: 3 });
  const started = fn.start();
  connection = await firn.connection();
  await connection.welcome();
  await started;
});

afterEach(async () => {
  await fn.stop();
  firn.stop();
});

interface CommandInit {
  component: number;
  method?: number;
  incarnation?: number;
  opening?: object;
  text?: string;
  message?: Uint8Array;
}

function command(id: number, init: CommandInit): FirnFrameInit {
  const { component, method = 0, incarnation = 0, opening, text = "" } = init;
  const message = init.message ?? encoded(Ask, { id: "a", text });
  return {
    case: "command",
    value: {
      id: BigInt(id),
      component,
      method,
      incarnation: BigInt(incarnation),
      message,
      timeoutMs: 1000n,
      ...(opening === undefined ? {} : { opening: { entityId: "a", ...opening } }),
    },
  };
}

async function decision() {
  const it = await connection.next("decision");
  const reply = it.answer.case === "reply" ? decoded(Answer, it.answer.value) : undefined;
  return { ...it, id: Number(it.command), answered: reply };
}

test("Hello has the contract, with all messages and options", async () => {
  const { components, descriptors } = fn.contract();
  assert.deepEqual(
    components.map((it) => [it.service, it.model]),
    [
      ["test.Values", 2],
      ["test.Events", 3],
      ["test.Actors", 5],
      ["test.Counters", 4],
      ["test.Actions", 1],
    ],
  );
  const [values, events, actors, counters, actions] = components;
  assert.deepEqual(values?.id, ["id"]);
  assert.equal(values?.state, "test.Total");
  assert.equal(values?.passivateAfter?.seconds, 1n);
  assert.equal(values?.passivateAfter?.nanos, 500_000_000);
  assert.deepEqual(events?.events, ["test.Added"]);
  assert.equal(events?.snapshotEvery, 3);
  assert.equal(actors?.durability, 1);
  assert.equal(counters?.data, 2);
  assert.equal(counters?.consistency, 1);
  assert.deepEqual(actions?.headers, ["x-one"]);
  const files = fromBinary(FileDescriptorSetSchema, descriptors).file;
  const names = files.flatMap((file) => file.messageType.map((it) => it.name));
  assert.ok(names.includes("Added") && names.includes("Total") && names.includes("Ask"));
});

test("a value entity keeps its state between commands", async () => {
  const c = At.values;
  connection.send(
    command(1, { component: c, incarnation: 7, opening: { version: 4n, state: { case: "value", value: any(Total, { text: "old", count: 4n }) } }, text: "new" }),
    command(2, { component: c, incarnation: 7, method: 1 }),
  );
  const first = await decision();
  assert.equal(first.id, 1);
  assert.equal(first.version, 5n);
  assert.equal(first.answered?.count, 5n);
  assert.ok(first.mutation?.mutation.case === "set");
  assert.deepEqual(decoded(Total, first.mutation.mutation.value.value).text, "new");
  const second = await decision();
  assert.equal(second.answered?.text, "new");
  assert.equal(second.version, 5n);
  assert.equal(second.mutation, undefined);
  // Both came in one batch, and so did the answers.
  assert.equal(connection.batches.at(-1)?.frames, 2);
});

test("a value entity is deleted, and the next command finds nothing", async () => {
  const c = At.values;
  connection.send(
    command(1, { component: c, incarnation: 7, opening: { version: 1n, state: { case: "value", value: any(Total, {}) } }, text: "delete" }),
    command(2, { component: c, incarnation: 7, method: 1 }),
  );
  const first = await decision();
  assert.equal(first.mutation?.mutation.case, "delete");
  assert.equal(first.version, 2n);
  assert.equal((await decision()).answered?.count, -1n);
});

test("a failure changes nothing, and travels with code and details", async () => {
  const c = At.values;
  connection.send(
    command(1, { component: c, incarnation: 7, opening: { version: 0n }, text: "fail" }),
    command(2, { component: c, incarnation: 7, method: 1 }),
  );
  const first = await decision();
  assert.ok(first.answer.case === "failure");
  assert.equal(first.answer.value.code, 10);
  assert.equal(first.answer.value.message, "no");
  assert.equal(decoded(Added, first.answer.value.details[0]?.value).text, "why");
  assert.equal(first.mutation, undefined);
  assert.equal(first.version, 0n);
  assert.equal((await decision()).answered?.count, -1n);
});

test("a mistake in a handler is INTERNAL without its text", async () => {
  connection.send(command(1, { component: At.values, incarnation: 7, opening: {}, text: "crash" }));
  const { answer } = await decision();
  assert.ok(answer.case === "failure");
  assert.equal(answer.value.code, 13);
  assert.doesNotMatch(answer.value.message, /secret/);
});

test("a request that cannot be decoded is INVALID_ARGUMENT", async () => {
  connection.send(command(1, { component: At.values, incarnation: 7, opening: {}, message: Uint8Array.of(0x0a, 9, 1) }));
  const { answer } = await decision();
  assert.ok(answer.case === "failure");
  assert.equal(answer.value.code, 3);
});

test("a method or component that is not there is UNIMPLEMENTED", async () => {
  connection.send(command(1, { component: 99 }), command(2, { component: At.actions, method: 99 }));
  for (let i = 0; i < 2; i++) {
    const { answer } = await decision();
    assert.ok(answer.case === "failure");
    assert.equal(answer.value.code, 12);
  }
});

test("commands of an incarnation wait for each other, those of others do not", async () => {
  const c = At.values;
  connection.send(
    command(1, { component: c, incarnation: 7, opening: {}, method: 2, text: "first" }),
    command(2, { component: c, incarnation: 7, method: 0, text: "second" }),
    command(3, { component: c, incarnation: 7, method: 1 }),
    command(4, { component: c, incarnation: 8, opening: {}, method: 0, text: "other" }),
    command(5, { component: At.actions, method: 0, text: "later" }),
    command(6, { component: At.actions, method: 1 }),
  );
  assert.equal((await decision()).id, 4);
  assert.equal((await decision()).id, 6);
  gates.of("first").open();
  assert.deepEqual([(await decision()).id, (await decision()).id], [1, 2]);
  const third = await decision();
  assert.equal(third.answered?.text, "second");
  assert.equal(third.answered?.count, 2n);
  gates.of("later").open();
  assert.equal((await decision()).id, 5);
});

test("an event sourced entity folds snapshot and events, and adds a snapshot when it is due", async () => {
  const c = At.events;
  const history = {
    snapshot: any(Total, { text: "s", count: 1n }),
    snapshotVersion: 1n,
    events: [any(Added, { text: "a" })],
  };
  connection.send(
    command(1, { component: c, incarnation: 7, opening: { version: 2n, state: { case: "history", value: history } }, method: 1 }),
    command(2, { component: c, incarnation: 7, text: "b,c" }),
    command(3, { component: c, incarnation: 7, text: "d" }),
    command(4, { component: c, incarnation: 7, text: "e" }),
    command(5, { component: c, incarnation: 7, text: "delete" }),
    command(6, { component: c, incarnation: 7, text: "f" }),
  );
  assert.equal((await decision()).answered?.text, "sa");
  const second = await decision(); // events 3 and 4 pass 3
  assert.equal(second.version, 4n);
  assert.ok(second.mutation?.mutation.case === "append");
  assert.equal(second.mutation.mutation.value.events.length, 2);
  assert.equal(decoded(Total, second.mutation.mutation.value.snapshot?.value).text, "sabc");
  const third = await decision();
  assert.ok(third.mutation?.mutation.case === "append");
  assert.equal(third.mutation.mutation.value.snapshot, undefined);
  const fourth = await decision(); // event 6 reaches 6
  assert.ok(fourth.mutation?.mutation.case === "append");
  assert.ok(fourth.mutation.mutation.value.snapshot !== undefined);
  const fifth = await decision();
  assert.equal(fifth.mutation?.mutation.case, "delete");
  assert.equal(fifth.version, 0n);
  const sixth = await decision();
  assert.equal(sixth.version, 1n);
  assert.equal(sixth.answered?.text, "f");
});

test("a handler that fails after it emitted lets go of the incarnation, with what waits", async () => {
  const c = At.events;
  connection.send(command(1, { component: c, incarnation: 7, opening: { version: 0n }, method: 2, text: "x" }));
  connection.send(command(2, { component: c, incarnation: 7, method: 1 }));
  gates.of("x").open();
  const first = await decision();
  assert.equal(first.answer.case, "failure");
  assert.equal(first.version, 0n);
  assert.equal((await connection.next("closed")).incarnation, 7n);
  // What crossed the Closed is ignored; a new incarnation begins anew.
  connection.send(
    command(3, { component: c, incarnation: 7, method: 1 }),
    command(4, { component: c, incarnation: 8, opening: {}, method: 1 }),
  );
  const next = await decision();
  assert.equal(next.id, 4);
  assert.equal(next.answered?.text, "");
});

test("a state that cannot be read is a failure and lets go", async () => {
  const history = { events: [any(Added, { text: "poison" })] };
  connection.send(
    command(1, { component: At.events, incarnation: 7, opening: { version: 1n, state: { case: "history", value: history } } }),
  );
  const { answer, version } = await decision();
  assert.ok(answer.case === "failure");
  assert.equal(answer.value.code, 13);
  assert.equal(version, 1n);
  assert.equal((await connection.next("closed")).incarnation, 7n);
});

test("Close is answered with Closed, and what runs is void", async () => {
  const c = At.values;
  connection.send(
    command(1, { component: c, incarnation: 7, opening: {}, method: 2, text: "stuck" }),
    command(2, { component: c, incarnation: 7, method: 1 }),
    { case: "close", value: { incarnation: 7n } },
  );
  assert.equal((await connection.next("closed")).incarnation, 7n);
  gates.of("stuck").open();
  connection.send(
    command(3, { component: c, incarnation: 7, method: 1 }),
    command(4, { component: c, incarnation: 8, opening: {}, method: 1 }),
  );
  assert.equal((await decision()).id, 4);
  assert.equal(connection.unseen, 0);
});

test("those idle longest give way", async () => {
  const c = At.values;
  const open = (id: number, incarnation: number) => command(id, { component: c, incarnation, opening: {}, text: "x" });
  connection.send(open(1, 1), open(2, 2), open(3, 3), command(4, { component: c, incarnation: 1, method: 1 }), open(5, 4));
  for (let id = 1; id <= 4; id++) assert.equal((await decision()).id, id);
  assert.equal((await connection.next("closed")).incarnation, 2n);
  assert.equal((await decision()).id, 5);
});

test("an actor has tags beside its state", async () => {
  const c = At.actors;
  const state = { case: "actor", value: { tags: { old: "on" } } };
  connection.send(
    command(1, { component: c, incarnation: 7, opening: { version: 3n, state }, text: "tag:new" }),
    command(2, { component: c, incarnation: 7, text: "state" }),
    command(3, { component: c, incarnation: 7, text: "delete" }),
  );
  const first = await decision();
  assert.ok(first.mutation?.mutation.case === "actor");
  assert.deepEqual(first.mutation.mutation.value.tags, { old: "on", new: "on" });
  assert.equal(first.mutation.mutation.value.state, undefined);
  assert.equal(first.version, 4n);
  const second = await decision();
  assert.equal(second.answered?.text, "state old new");
  const third = await decision();
  assert.equal(third.mutation?.mutation.case, "delete");
  assert.equal(third.version, 6n);
});

test("a replicated entity derives deltas, takes changes, and is watched", async () => {
  const c = At.counters;
  connection.send(
    command(1, { component: c, incarnation: 7, opening: { state: { case: "data", value: { delta: { case: "counter", value: 5n } } } }, method: 2 }),
    command(2, { component: c, incarnation: 7, text: "3" }),
  );
  const second = await decision();
  assert.equal(second.id, 2);
  assert.equal(second.answered?.count, 8n);
  assert.ok(second.mutation?.mutation.case === "update");
  assert.deepEqual(second.mutation.mutation.value.delta?.delta, { case: "counter", value: 3n });
  assert.equal(second.mutation.mutation.value.consistency, 2);
  const counts = [decoded(Answer, (await connection.next("reply")).message).count];
  connection.send({ case: "change", value: { incarnation: 7n, change: { case: "delta", value: { delta: { case: "counter", value: 10n } } } } });
  counts.push(decoded(Answer, (await connection.next("reply")).message).count);
  assert.deepEqual(counts, [8n, 18n]);
  connection.send({ case: "cancel", value: { id: 1n } });
  const end = await decision();
  assert.equal(end.id, 1);
  assert.equal(end.answer.case, undefined);
});

test("what a failed handler did to replicated data is taken back", async () => {
  const c = At.counters;
  connection.send(
    command(1, { component: c, incarnation: 7, opening: {}, text: "3fail" }),
    command(2, { component: c, incarnation: 7, text: "0" }),
  );
  assert.equal((await decision()).answer.case, "failure");
  const second = await decision();
  assert.equal(second.answered?.count, 0n);
  assert.equal(second.mutation, undefined);
  // Others changed it meanwhile: the incarnation is let go of instead.
  connection.send(
    command(3, { component: c, incarnation: 7, method: 1, text: "fail" }),
    command(4, { component: c, incarnation: 7, text: "1" }),
  );
  assert.equal((await decision()).id, 4);
  gates.of("fail").open();
  assert.equal((await decision()).answer.case, "failure");
  assert.equal((await connection.next("closed")).incarnation, 7n);
});

test("a deleted replicated entity ends its watchers", async () => {
  const c = At.counters;
  connection.send(command(1, { component: c, incarnation: 7, opening: {}, method: 2 }));
  await connection.next("reply");
  connection.send({ case: "change", value: { incarnation: 7n, change: { case: "deleted", value: {} } } });
  assert.equal((await decision()).id, 1);
});

test("headers reach an action, and an empty reply needs none", async () => {
  const with_ = command(1, { component: At.actions, text: "sync" });
  assert.ok(with_.case === "command");
  (with_.value as { metadata?: object }).metadata = { entries: [{ key: "x-one", value: { case: "text", value: "1" } }] };
  connection.send(with_, command(2, { component: At.actions, method: 1 }));
  const answers = [await decision(), await decision()];
  answers.sort((a, b) => a.id - b.id);
  assert.equal(answers[0]?.answered?.text, "1");
  assert.equal(answers[1]?.answer.case, undefined);
});

test("an action that is cancelled hears of it and still answers", async () => {
  connection.send(command(1, { component: At.actions, text: "cancelled" }), { case: "cancel", value: { id: 1n } });
  assert.equal((await decision()).id, 1);
});

test("unknown frames and fields are ignored", async () => {
  // Frame kind 99, and field 99 in the batch.
  connection.sendBytes(Uint8Array.of(0x0a, 4, 0x9a, 0x06, 1, 0, 0x98, 0x06, 1));
  connection.send(command(1, { component: At.actions, method: 1 }));
  assert.equal((await decision()).id, 1);
});

test("a batch that cannot be decoded ends the connection, and the function dials again", async () => {
  connection.sendBytes(Uint8Array.of(0x0a, 200, 1));
  await connection.ended();
  connection = await firn.connection();
  await connection.welcome();
  connection.send(command(1, { component: At.actions, method: 1 }));
  assert.equal((await decision()).id, 1);
});

test("every command that was answered is told to the hook, which may fail", async () => {
  await fn.stop();
  const records: string[] = [];
  const logger = new Records();
  fn = functionOf(firn.address, gates, {
    stopGrace: 0,
    logger,
    onCommand({ service, method, code, ms }) {
      records.push(`${service}/${method} ${code} ${ms >= 0}`);
      if (code !== 0) throw new Error("hook");
    },
  });
  const started = fn.start();
  connection = await firn.connection();
  await connection.welcome();
  await started;
  connection.send(
    command(1, { component: At.values, incarnation: 7, opening: {}, text: "a" }),
    command(2, { component: At.values, incarnation: 7, text: "fail" }),
    command(3, { component: At.values, incarnation: 7, text: "b" }),
  );
  for (let id = 1; id <= 3; id++) assert.equal((await decision()).id, id);
  assert.deepEqual(records, ["test.Values/Set 0 true", "test.Values/Set 10 true", "test.Values/Set 0 true"]);
  assert.deepEqual(logger.of("error"), ["onCommand failed"]);
});

test("a long queue of one entity is gone through in order", async () => {
  const c = At.values;
  connection.send(
    command(1, { component: c, incarnation: 7, opening: {}, method: 2, text: "first" }),
    ...Array.from({ length: 20_000 }, (_, i) => command(i + 2, { component: c, incarnation: 7, text: String(i) })),
  );
  connection.send(command(20_002, { component: At.actions, method: 1 }));
  assert.equal((await decision()).id, 20_002);
  gates.of("first").open();
  for (let id = 1; id <= 20_001; id++) assert.equal((await decision()).id, id);
});

test("a handler error is logged in full", async () => {
  const logger = new Records();
  await fn.stop();
  fn = functionOf(firn.address, gates, { stopGrace: 0, logger });
  const started = fn.start();
  connection = await firn.connection();
  await connection.welcome();
  await started;
  connection.send(command(1, { component: At.values, incarnation: 7, opening: {}, text: "crash" }));
  await decision();
  const record = logger.all.find((it) => it.level === "error");
  assert.equal((record?.fields["error"] as Error).message, "secret");
  assert.equal(record?.fields["entityId"], "a");
});
