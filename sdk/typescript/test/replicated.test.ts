/** Replicated data: deltas of all types, going back, and replicas that agree. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { data, type DataType, type ReplicatedMap, type View } from "../src/index.js";
import { DeltaSchema } from "../src/generated/firn/v1/function_pb.js";
import { Journal, Root, type Delta } from "../src/replicated/store.js";
import { replicas } from "../src/testing.js";
import { componentsWith, Added, Gates } from "./support/fixtures.js";

componentsWith(new Gates()); // gives Added its descriptor

const MAP: DataType<ReplicatedMap<typeof Added>> = data.map(Added, () => [...Object.values(TYPES)]);
const TYPES = {
  counter: data.counter(),
  growCounter: data.growCounter(),
  flag: data.flag(),
  register: data.register(Added),
  vote: data.vote(),
  growSet: data.growSet(Added),
  set: data.set(Added),
  counterMap: data.counterMap(Added),
  registerMap: data.registerMap(Added, Added),
  multiMap: data.multiMap(Added, Added),
  map: MAP,
} as const;
type Name = keyof typeof TYPES;

function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Does something to a value. */
function step(view: View, random: () => number, depth = 0): void {
  const text = { text: String(Math.floor(random() * 4)) } as never;
  const dice = random();
  switch (view.type) {
    case "counter":
      view.increment(Math.floor(random() * 9) - 4);
      break;
    case "growCounter":
      view.increment(Math.floor(random() * 4));
      break;
    case "flag":
      view.turnOn();
      break;
    case "register":
      view.set(text);
      break;
    case "vote":
      view.set(dice < 0.5);
      break;
    case "growSet":
      view.add(text);
      break;
    case "set":
      if (dice < 0.5) view.add(text);
      else if (dice < 0.9) view.remove(text);
      else view.clear();
      break;
    case "counterMap":
    case "registerMap":
    case "multiMap":
    case "map":
      if (dice > 0.95) view.clear();
      else if (dice > 0.75) view.remove(text);
      else if (view.type === "counterMap") view.increment(text, Math.floor(random() * 9) - 4);
      else if (view.type === "registerMap") view.set(text, text);
      else if (view.type === "multiMap") step(view.set(text), random);
      else if (depth < 2) {
        const names = (Object.keys(TYPES) as Name[]).filter((it) => it !== "vote"); // Firn counts votes
        const type = TYPES[names[Math.floor(random() * names.length)]!] as DataType<View>;
        if (view.has(text) && view.get(text, type) === undefined) view.remove(text);
        step(view.add(text, type), random, depth + 1);
      }
      break;
  }
}

/** What a value is, in a form that can be compared. */
function shown(view: View): unknown {
  const text = (it: unknown): string => (it as { text?: string } | undefined)?.text ?? "";
  switch (view.type) {
    case "counter":
    case "growCounter":
    case "flag":
      return view.value;
    case "register":
      return text(view.value);
    case "vote":
      return [view.own, view.yes, view.members];
    case "set":
    case "growSet":
      return [...view].map(text).sort();
    case "counterMap":
      return [...view].map(([key, value]) => `${text(key)}=${value}`).sort();
    case "registerMap":
      return [...view].map(([key, value]) => `${text(key)}=${text(value)}`).sort();
    case "multiMap":
    case "map":
      return [...view]
        .map(([key, value]) => [text(key), (value as View).type, shown(value as View)])
        .sort((a, b) => (String(a[0]) < String(b[0]) ? -1 : 1));
  }
}

function transferred(delta: Delta): Delta {
  const message = fromBinary(DeltaSchema, toBinary(DeltaSchema, create(DeltaSchema, { delta })));
  return message.delta as Delta;
}

for (const name of Object.keys(TYPES) as Name[]) {
  const type = TYPES[name] as DataType<View>;

  test(`${name}: applying the deltas elsewhere gives the same value`, () => {
    for (let seed = 1; seed <= 150; seed++) {
      const random = randomOf(seed);
      const here = new Root(type.newStore());
      const there = new Root(type.newStore());
      for (let command = 0; command < 6; command++) {
        const journal = new Journal(here);
        const steps = Math.floor(random() * 5);
        for (let i = 0; i < steps; i++) step(type.view(here.store, journal), random);
        const delta = here.store.delta(journal);
        if (delta?.case === "vote") {
          // From the function only the own vote counts; Firn tells the rest.
          const { yes, members } = type.view(here.store, journal) as ReturnType<(typeof TYPES)["vote"]["view"]>;
          Object.assign(delta.value, { yes, members });
        }
        if (delta !== undefined) there.store.apply(transferred(delta));
        const expected = shown(type.view(here.store, journal));
        const third = new Root(type.newStore());
        third.store.apply(transferred(here.store.whole()));
        for (const other of [there, third]) {
          assert.deepEqual(shown(type.view(other.store, new Journal(other))), expected, `seed ${seed}, command ${command}`);
        }
      }
    }
  });

  test(`${name}: what a failed handler did is taken back`, () => {
    for (let seed = 1; seed <= 150; seed++) {
      const random = randomOf(seed);
      const root = new Root(type.newStore());
      const settled = new Journal(root);
      for (let i = 0; i < 5; i++) step(type.view(root.store, settled), random);
      const before = shown(type.view(root.store, settled));
      const failing = new Journal(root);
      for (let i = 0; i < 5; i++) step(type.view(root.store, failing), random);
      assert.equal(failing.rollback(), true);
      assert.deepEqual(shown(type.view(root.store, settled)), before, `seed ${seed}`);
    }
  });

  test(`${name}: the empty value has a change that makes it`, () => {
    const root = new Root(type.newStore());
    root.store.apply(transferred(root.store.whole()));
    assert.equal(root.store.kind, name);
  });

  test(`${name}: a change of another type is refused`, () => {
    const other = (name === "flag" ? TYPES.counter : TYPES.flag).newStore().whole();
    assert.throws(() => type.newStore().apply(other), /a change of a/);
  });
}

test("nested values of a map are told as what they are", () => {
  const here = new Root(MAP.newStore());
  const there = new Root(MAP.newStore());
  const first = new Journal(here);
  const map = MAP.view(here.store, first);
  map.add({ text: "n" }, TYPES.counter).increment(2);
  map.add({ text: "s" }, TYPES.set).add({ text: "x" });
  map.add({ text: "m" }, MAP).add({ text: "deep" }, TYPES.counter).increment(1);
  there.store.apply(transferred(here.store.delta(first)!));
  const second = new Journal(here);
  MAP.view(here.store, second).get({ text: "n" }, TYPES.counter)?.increment(3);
  MAP.view(here.store, second).get({ text: "m" }, MAP)?.get({ text: "deep" }, TYPES.counter)?.increment(5);
  const delta = here.store.delta(second)!;
  assert.ok(delta.case === "map");
  assert.equal(delta.value.added.length, 0);
  assert.equal(delta.value.updated.length, 2);
  there.store.apply(transferred(delta));
  const view = MAP.view(there.store, new Journal(there));
  assert.equal(view.get({ text: "n" }, TYPES.counter)?.value, 5n);
  assert.equal(view.get({ text: "m" }, MAP)?.get({ text: "deep" }, TYPES.counter)?.value, 6n);
  assert.equal(view.get({ text: "n" }, TYPES.flag), undefined);
  assert.throws(() => view.add({ text: "n" }, TYPES.flag), /remove it before/);
});

test("an update of a key that is gone, or of another type, is ignored", () => {
  const there = new Root(MAP.newStore());
  const here = new Root(MAP.newStore());
  const first = new Journal(here);
  MAP.view(here.store, first).add({ text: "n" }, TYPES.counter);
  const second = new Journal(here);
  MAP.view(here.store, second).get({ text: "n" }, TYPES.counter)?.increment(1);
  there.store.apply(transferred(here.store.delta(second)!));
  assert.equal(MAP.view(there.store, new Journal(there)).size, 0);
});

test("a counter that only grows does not shrink", () => {
  const root = new Root(TYPES.growCounter.newStore());
  assert.throws(() => TYPES.growCounter.view(root.store, new Journal(root)).increment(-1), RangeError);
});

test("a view of a command that was answered changes nothing", () => {
  const root = new Root(TYPES.counter.newStore());
  const journal = new Journal(root);
  journal.end();
  assert.throws(() => TYPES.counter.view(root.store, journal).increment(), /answered already/);
});

test("replicas agree, also after one was loaded again", async () => {
  const { counters } = componentsWith(new Gates());
  const both = replicas(counters, 2);
  const [here, there] = both.kits;
  await here!.call("change", { text: "3" });
  await there!.call("change", { text: "-1" });
  both.exchange();
  here!.reload();
  assert.equal((await here!.call("change", { text: "0" })).reply?.count, 2n);
  assert.equal((await there!.call("change", { text: "0" })).reply?.count, 2n);
});
