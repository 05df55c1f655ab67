/** Code first: descriptors, numbers, names. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary, type DescMessage } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema, TimestampSchema } from "@bufbuild/protobuf/wkt";
import { action, client, FirnFunction, valueEntity } from "../src/index.js";
import {
  bool,
  bytes,
  double,
  Empty,
  fieldNumber,
  int32,
  int64,
  list,
  map,
  message,
  optional,
  rpc,
  service,
  string,
  uint32,
  uint64,
} from "../src/schema.js";

const Inner = message("Inner", { text: string() });
const All = message("All", {
  someText: string(),
  flag: bool(),
  small: int32(),
  big: int64(),
  natural: uint32(),
  large: uint64(),
  real: double(),
  raw: bytes(),
  inner: Inner,
  when: TimestampSchema,
  inners: list(Inner),
  names: list(string()),
  counts: map(int64()),
  byName: map(Inner),
  maybe: optional(string()),
  given: string({ number: 7 }),
});
const Everything = service("my.pack.EveryThing", {
  tellAll: rpc(All, Empty, { http: { post: "/all/{some_text}", body: "*" } }),
  follow: rpc(Empty, All, { kind: "server_streaming" }),
});
const everything = action(Everything, { handlers: { tellAll() {}, *follow() {} } });

function fileOf(component = everything) {
  const { descriptors } = new FirnFunction("x").add(component).contract();
  return fromBinary(FileDescriptorSetSchema, descriptors).file[0]!;
}

test("numbers are made of names, alike in every language", () => {
  assert.equal(fieldNumber("counter_id"), 1_208_345);
  assert.equal(fieldNumber("by"), 3_730_420);
  assert.equal(fieldNumber("value"), 6_894_602);
});

test("the file has the names that the protocol prescribes", () => {
  const file = fileOf();
  assert.equal(file.name, "my/pack/every_thing.proto");
  assert.equal(file.package, "my.pack");
  assert.equal(file.syntax, "proto3");
  assert.deepEqual(file.messageType.map((it) => it.name), ["All", "Inner"]);
  assert.deepEqual(file.dependency, ["google/api/annotations.proto", "google/protobuf/empty.proto", "google/protobuf/timestamp.proto"]);
  const [tellAll, follow] = file.service[0]!.method;
  assert.equal(tellAll?.name, "TellAll");
  assert.equal(follow?.serverStreaming, true);
  const fields = new Map(file.messageType[0]!.field.map((it) => [it.name, it]));
  assert.equal(fields.get("some_text")?.number, fieldNumber("some_text"));
  assert.equal(fields.get("given")?.number, 7);
  assert.equal(fields.get("maybe")?.proto3Optional, true);
});

test("messages go there and back", () => {
  const value = create(All, {
    someText: "a",
    flag: true,
    small: -1,
    big: -(2n ** 40n),
    natural: 3,
    large: 2n ** 60n,
    real: 0.5,
    raw: Uint8Array.of(9),
    inner: { text: "b" },
    when: { seconds: 5n },
    inners: [{ text: "c" }],
    names: ["d"],
    counts: { e: 1n },
    byName: { f: { text: "g" } },
    maybe: "",
    given: "h",
  });
  const back = fromBinary(All, toBinary(All, value));
  assert.deepEqual(back, value);
  const text: string = back.someText;
  const maybe: string | undefined = back.maybe;
  const inner: string | undefined = back.byName["f"]?.text;
  assert.deepEqual([text, maybe, inner], ["a", "", "g"]);
  assert.equal(fromBinary(All, new Uint8Array()).maybe, undefined);
});

test("the order in which things are written does not matter", () => {
  const made = (first: boolean) => {
    const One = first ? message("One", { a: string(), b: int64() }) : message("One", { b: int64(), a: string() });
    const Two = message("Two", { c: bool() });
    const Service = service("order.Service", { go: first ? rpc(One, Two) : rpc(One, Two) });
    return new FirnFunction("x").add(action(Service, { handlers: { go: () => ({ c: true }) } })).contract();
  };
  assert.deepEqual(made(true).descriptors, made(false).descriptors);
});

test("states and events are in the contract, and may be shared by services of a package", () => {
  const Shared = message("Shared", { text: string() });
  const Id = message("Id", { id: string() });
  const First = service("both.First", { get: rpc(Id, Shared) });
  const Ask = message("Ask", { id: string(), shared: Shared });
  const Second = service("both.Second", { get: rpc(Ask, Shared) });
  const one = valueEntity(First, { id: "id", state: Shared, handlers: { get: () => ({}) } });
  const two = valueEntity(Second, { id: "id", state: Shared, handlers: { get: () => ({}) } });
  const { descriptors } = new FirnFunction("x").add(one).add(two).contract();
  const files = fromBinary(FileDescriptorSetSchema, descriptors).file;
  assert.deepEqual(files.map((it) => [it.name, it.messageType.map((m) => m.name)]), [
    ["both/first.proto", ["Id", "Shared"]],
    ["both/second.proto", ["Ask"]],
  ]);
  assert.deepEqual(files[1]?.dependency, ["both/first.proto"]);
});

test("a client may come before the component", () => {
  const Id = message("Id", { id: string() });
  const State = message("State", { text: string() });
  const Early = service("early.Early", { get: rpc(Id, Empty) });
  assert.equal(client(Early).get({ id: "a" }).service, "early.Early");
  const entity = valueEntity(Early, { id: "id", state: State, handlers: { get() {} } });
  assert.deepEqual(fileOf(entity as never).messageType.map((it) => it.name), ["Id", "State"]);
});

test("mistakes are told where they are made", () => {
  const cases: [() => unknown, RegExp][] = [
    [() => message("lower", {}), /PascalCase/],
    [() => message("M", { under_score: string() }), /camelCase/],
    [() => message("M", { a: string({ number: 1 }), b: string({ number: 1 }) }), /same number 1: give one/],
    [() => service("NoPackage", {}), /like "shop.Cart"/],
    [() => optional(list(string()) as never), /cannot be optional/],
    [() => list(list(string())), /put a message between/],
    [() => create(message("Unbound", {}) as DescMessage), /belongs to no contract yet/],
    [() => action(Everything, { handlers: { nothing() {} } as never }), /has no method nothing/],
    [() => action(Everything, { handlers: {} }), /has no handler/],
    [() => action(service("h.H", { go: rpc(Empty, Empty, { http: {} }) }), { handlers: { go() {} } }), /needs one of get/],
    [() => new FirnFunction("x").run(), /has no component/],
  ];
  for (const [make, expected] of cases) {
    assert.throws(() => {
      const made = make();
      if (made instanceof Promise) throw made;
    }, (error: unknown) => {
      if (error instanceof Promise) {
        void error.catch(() => {});
        return true;
      }
      assert.match(String(error), expected);
      return true;
    });
  }
});
