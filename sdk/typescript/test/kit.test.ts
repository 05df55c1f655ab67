/** The unit-test kit: what a test sees of a handler. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { action, actor, client, Code, data, Failure, Metadata, replicatedEntity, valueEntity } from "../src/index.js";
import { Empty, int64, message, rpc, service, string } from "../src/schema.js";
import { kit, replicas } from "../src/testing.js";
import { componentsWith, Gates, Records } from "./support/fixtures.js";

const Ask = message("Ask", { id: string(), text: string() });
const Answer = message("Answer", { text: string(), count: int64() });
const Note = message("Note", { text: string() });
const Notes = service("kit.Notes", { set: rpc(Ask, Answer), other: rpc(Ask, Answer), drop: rpc(Ask, Empty) });
const Tagged = service("kit.Tagged", { tag: rpc(Ask, Answer) });
const Streams = service("kit.Streams", {
  collect: rpc(Ask, Answer, { kind: "client_streaming" }),
  converse: rpc(Ask, Answer, { kind: "bidi_streaming" }),
  ask: rpc(Ask, Answer),
  cancelled: rpc(Ask, Answer, { kind: "server_streaming" }),
});
const Votes = service("kit.Votes", { vote: rpc(Ask, Answer) });

const onNotes = client(Notes);
const notes = valueEntity(Notes, {
  id: "id",
  state: Note,
  handlers: {
    set({ id, text }, context) {
      context.set({ text });
      context.effect(onNotes.drop({ id: "other" }), { wait: true });
      context.effect(onNotes.drop({ id: "later" }), { after: 1500 });
      context.publish("topic", Note, { text }, new Metadata([["x", "y"]]));
      context.timer("wake", 250, onNotes.set({ id, text: "timed" }), { repeat: true });
      context.cancelTimer("old");
      context.replyMetadata.set("seen", context.metadata.get("from") ?? "nobody");
      return { text: context.entityId, count: BigInt(context.version) };
    },
    other: ({ id }, context) => context.forward(onNotes.set({ id, text: "forwarded" })),
    drop(_, context) {
      context.delete();
    },
  },
});

const tagged = actor(Tagged, {
  id: "id",
  state: Note,
  handlers: {
    tag({ text }, context) {
      context.setTags([...context.tags, [text, "on"]]);
      return { text: [...context.tags.keys()].join(" ") };
    },
  },
});

let ended = 0;
const streams = action(Streams, {
  handlers: {
    async collect(requests) {
      let count = 0n;
      for await (const _ of requests) count++;
      return { count };
    },
    async *converse(requests) {
      for await (const { text } of requests) yield { text: `${text}?` };
    },
    async ask({ id }, context) {
      return context.call(onNotes.set({ id, text: "x" }));
    },
    async *cancelled(_, context) {
      try {
        yield { text: "first" };
        await new Promise((resolve) => context.cancelled.addEventListener("abort", resolve));
        yield { text: "never" };
      } finally {
        ended++;
      }
    },
  },
});

const votes = replicatedEntity(Votes, {
  id: "id",
  data: data.vote(),
  handlers: {
    vote({ text }, context) {
      if (text !== "") context.data.set(text === "yes");
      return { text: `${context.data.own} ${context.data.yes}/${context.data.members}` };
    },
  },
});

test("reply, headers, effects, timers and state are seen", async () => {
  const note = kit(notes, { id: "n" });
  const outcome = await note.call("set", { id: "n", text: "a" }, new Metadata([["from", "me"]]));
  assert.equal(outcome.reply?.text, "n");
  assert.equal(outcome.metadata.get("seen"), "me");
  assert.equal((note.state as { text?: string } | undefined)?.text, "a");
  assert.equal(note.version, 1);
  const [wait, later, publish] = outcome.effects;
  assert.ok(wait?.kind === "call" && wait.wait && wait.afterMs === undefined);
  assert.equal(wait.target.request(Ask).id, "other");
  assert.ok(later?.kind === "call" && !later.wait && later.afterMs === 1500);
  assert.ok(publish?.kind === "publish" && publish.topic === "topic" && publish.metadata.get("x") === "y");
  assert.equal(anyUnpack(publish.message, Note)?.text, "a");
  const [wake, old] = outcome.timers;
  assert.ok(wake !== undefined && !wake.cancelled && wake.repeat && wake.afterMs === 250);
  assert.equal(wake.target.method, "Set");
  assert.deepEqual(old, { name: "old", cancelled: true });
});

test("a forward, a delete and a failure are seen", async () => {
  const note = kit(notes);
  const forwarded = await note.call("other", { id: "n" });
  assert.equal(forwarded.reply, undefined);
  assert.equal(forwarded.forward?.request(Ask).text, "forwarded");
  await note.call("set", {});
  assert.equal((await note.call("drop", {})).deleted, true);
  assert.equal(note.state, undefined);
  const { values } = componentsWith(new Gates());
  const failing = await kit(values, { logger: new Records() }).call("set", { text: "fail" });
  assert.equal(failing.failure?.code, Code.Aborted);
  assert.equal(failing.failure?.details.length, 1);
  assert.equal(failing.reply, undefined);
});

test("tags and state of an actor come back", async () => {
  const one = kit(tagged);
  await one.call("tag", { text: "a" });
  one.reload();
  assert.equal((await one.call("tag", { text: "b" })).reply?.text, "a b");
  assert.deepEqual(one.tags, { a: "on", b: "on" });
});

test("an event sourced entity comes back from snapshot and events", async () => {
  const { events } = componentsWith(new Gates());
  const one = kit(events, { logger: new Records() });
  const due = await one.call("add", { text: "a,b,c,d" });
  assert.equal((due.snapshot as { text?: string } | undefined)?.text, "abcd");
  await one.call("add", { text: "e" });
  one.reload();
  assert.equal((await one.call("get", {})).reply?.text, "abcde");
  assert.equal((one.state as { text?: string } | undefined)?.text, "abcde");
  assert.equal((await one.call("add", { text: "x,fail" })).failure?.code, Code.OutOfRange);
  assert.equal((await one.call("get", {})).reply?.text, "abcde"); // it was loaded again
  assert.equal(one.events.length, 5);
});

test("streams go both ways", async () => {
  const one = kit(streams);
  const collect = one.stream("collect");
  collect.send({});
  collect.send({});
  collect.end();
  assert.equal((await collect.outcome).reply?.count, 2n);
  const converse = one.stream("converse");
  converse.send({ text: "a" });
  converse.end();
  const texts = [];
  for await (const { text } of converse.replies) texts.push(text);
  assert.deepEqual(texts, ["a?"]);
});

test("a cancelled stream ends its handler", async () => {
  const call = kit(streams).stream("cancelled", {});
  for await (const { text } of call.replies) {
    assert.equal(text, "first");
    call.cancel();
  }
  await call.outcome;
  assert.equal(ended, 1);
});

test("calls are answered by the test", async () => {
  const one = kit(streams);
  const unanswered = await one.call("ask", {});
  assert.match(unanswered.failure?.message ?? "", /does not say what kit.Notes\/Set answers/);
  one.answer(Notes.method.set, ({ id }) => ({ text: `for ${id}` }));
  assert.equal((await one.call("ask", { id: "a" })).reply?.text, "for a");
  one.answer(Notes.method.set, () => {
    throw new Failure(Code.NotFound, "none");
  });
  assert.equal((await one.call("ask", {})).failure?.code, Code.NotFound);
});

test("votes are counted over all replicas", async () => {
  const three = replicas(votes, 3);
  for (const [at, text] of ["yes", "no", "yes"].entries()) await three.kits[at]!.call("vote", { text });
  three.exchange();
  assert.equal((await three.kits[1]!.call("vote", {})).reply?.text, "false 2/3");
  three.kits[0]!.reload();
  assert.equal((await three.kits[0]!.call("vote", { text: "no" })).reply?.text, "false 1/3");
});

test("what a handler does wrong is told", async () => {
  const Wrong = service("kit.Wrong", { go: rpc(Ask, Empty) });
  const wrong: [string, (context: Parameters<NonNullable<(typeof handlers)["go"]>>[1]) => void, RegExp][] = [
    ["both", (context) => context.effect(onNotes.drop({}), { wait: true, after: 1 }), /leave out wait, or after/],
    ["negative", (context) => context.timer("t", -1, client(Wrong).go({})), /not negative, not -1/],
    ["elsewhere", (context) => context.timer("t", 1, onNotes.drop({})), /use effect with after/],
    ["header", (context) => void context.replyMetadata.set("a-bin", "text"), /has to be bytes/],
  ];
  const seen: unknown[] = [];
  const handlers = {
    go({ text }: { text: string }, context: import("../src/index.js").ValueContext<typeof Note>) {
      try {
        wrong.find(([name]) => name === text)?.[1](context);
      } catch (error) {
        seen.push(error);
      }
    },
  };
  const one = kit(valueEntity(Wrong, { id: "id", state: Note, handlers }));
  for (const [name, , expected] of wrong) {
    await one.call("go", { text: name });
    assert.match(String(seen.pop()), expected);
  }
});

test("a context that was answered does nothing any more", async () => {
  const Late = service("kit.Late", { go: rpc(Ask, Empty) });
  let kept: import("../src/index.js").ValueContext<typeof Note> | undefined;
  const late = valueEntity(Late, {
    id: "id",
    state: Note,
    handlers: {
      go(_, context) {
        kept = context;
      },
    },
  });
  await kit(late).call("go", {});
  assert.throws(() => kept?.set({ text: "late" }), /answered already/);
});
