/** The codec by hand against the generated messages: exact bytes, round trips, damaged bytes. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary, type MessageInitShape } from "@bufbuild/protobuf";
import {
  DeltaSchema,
  FirnBatchSchema,
  FirnFrameSchema,
  FunctionFrameSchema,
} from "../src/generated/firn/v1/function_pb.js";
import { Metadata } from "../src/index.js";
import {
  decodeBatch,
  decodeFrame,
  writeCall,
  writeCancel,
  writeChunk,
  writeClosed,
  writeCredit,
  writeDecision,
  writeGoodbye,
  writeReply,
  type Decision,
  type FirnFrame,
} from "../src/protocol/frames.js";
import { DecodeError, varintLength, Writer, writeVarint } from "../src/protocol/wire.js";

/** Pseudo-random numbers that a seed repeats. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

type FirnFrameInit = NonNullable<MessageInitShape<typeof FirnFrameSchema>["frame"]>;

function encodedFrame(frame: FirnFrameInit): Buffer {
  return Buffer.from(toBinary(FirnFrameSchema, create(FirnFrameSchema, { frame })));
}

const BYTES = Uint8Array.of(1, 2, 3);
const ANY = { typeUrl: "type.googleapis.com/a.B", value: BYTES };

const COMMAND: FirnFrameInit = {
  case: "command",
  value: {
    id: 2n ** 53n - 1n,
    component: 3,
    method: 300,
    incarnation: 2n ** 40n,
    message: BYTES,
    metadata: { entries: [{ key: "a", value: { case: "text", value: "ä" } }, { key: "b-bin", value: { case: "binary", value: BYTES } }] },
    timeoutMs: 2n ** 64n - 1n,
    opening: {
      entityId: "é",
      version: 7n,
      state: {
        case: "history",
        value: { snapshot: ANY, snapshotVersion: 5n, events: [ANY, { typeUrl: "x", value: new Uint8Array() }] },
      },
    },
  },
};

const FRAMES: FirnFrameInit[] = [
  COMMAND,
  { case: "command", value: { opening: { state: { case: "value", value: ANY } } } },
  { case: "command", value: { opening: { state: { case: "actor", value: { state: ANY, tags: { a: "b", c: "" } } } } } },
  { case: "command", value: { opening: { state: { case: "data", value: { delta: { case: "counter", value: -5n } } } } } },
  { case: "message", value: { command: 1n, message: BYTES, end: true } },
  { case: "cancel", value: { id: 9n } },
  { case: "change", value: { incarnation: 1n, change: { case: "delta", value: { delta: { case: "flag", value: true } } } } },
  { case: "change", value: { incarnation: 1n, change: { case: "deleted", value: {} } } },
  { case: "close", value: { incarnation: 4n } },
  { case: "credit", value: { command: 1n, amount: 5 } },
  { case: "chunk", value: { transfer: 1n, data: BYTES, last: true, subject: 8n } },
  { case: "callResult", value: { id: 1n, result: { case: "reply", value: BYTES } } },
  { case: "callResult", value: { id: 1n, result: { case: "failure", value: { code: 5, message: "no", details: [ANY] } } } },
  { case: "welcome", value: { calls: 5 } },
  { case: "refusal", value: { findings: [{ code: "FIRN-2006" }] } },
  { case: "notice", value: { severity: 2, finding: { text: "x" } } },
  { case: "goodbye", value: {} },
];

test("a command is decoded field by field", () => {
  const frame = decodeFrame(encodedFrame(COMMAND));
  assert.ok(frame?.kind === "command");
  assert.equal(frame.id, 2 ** 53 - 1);
  assert.deepEqual([frame.component, frame.method, frame.incarnation], [3, 300, 2 ** 40]);
  assert.equal(frame.timeoutMs, 2 ** 64);
  assert.deepEqual([...frame.message], [1, 2, 3]);
  assert.deepEqual([...Metadata.decode(frame.metadata)].map(([key, value]) => [key, typeof value]), [
    ["a", "string"],
    ["b-bin", "object"],
  ]);
  assert.equal(frame.opening?.entityId, "é");
  assert.equal(frame.opening?.version, 7);
  assert.equal(frame.opening?.history?.snapshotVersion, 5);
  assert.equal(frame.opening?.history?.snapshot?.typeUrl, ANY.typeUrl);
  assert.equal(frame.opening?.history?.events.length, 2);
});

test("every frame of Firn is decoded as what it is", () => {
  const kinds = FRAMES.map((frame) => decodeFrame(encodedFrame(frame)));
  const rare = ["welcome", "refusal", "notice"];
  kinds.forEach((frame, i) => {
    const expected = FRAMES[i]!.case;
    assert.equal(frame?.kind === "rare" ? frame.frame.case : frame?.kind, expected);
    assert.equal(frame?.kind === "rare", rare.includes(expected!));
  });
  const [, value, actor, data] = kinds as Extract<FirnFrame, { kind: "command" }>[];
  assert.equal(value?.opening?.value?.typeUrl, ANY.typeUrl);
  assert.deepEqual([...(actor?.opening?.actor?.tags ?? [])], [["a", "b"], ["c", ""]]);
  assert.equal(fromBinary(DeltaSchema, data!.opening!.data!).delta.value, -5n);
});

test("frames of an unknown kind, and unknown fields, are passed over", () => {
  const known = encodedFrame(COMMAND);
  const unknown = [0x9a, 0x06, 2, 8, 1]; // field 99, length-delimited
  assert.equal(decodeFrame(Buffer.from(unknown)), undefined);
  assert.equal(decodeFrame(Buffer.concat([known, Buffer.from(unknown)]))?.kind, "command");
  const fixed = Buffer.from([0x9d, 0x06, 1, 2, 3, 4, 0x99, 0x06, 1, 2, 3, 4, 5, 6, 7, 8, 0x98, 0x06, 0x81, 0x01]);
  assert.equal(decodeFrame(Buffer.concat([fixed, known]))?.kind, "command");
});

test("damaged bytes are a DecodeError or another frame, never anything else", () => {
  const random = randomOf(7);
  const batches = FRAMES.map((frame) => toBinary(FirnBatchSchema, create(FirnBatchSchema, { frames: [{ frame }] })));
  for (let i = 0; i < 20_000; i++) {
    const bytes = Buffer.from(batches[i % batches.length]!);
    const changes = 1 + Math.floor(random() * 3);
    for (let n = 0; n < changes; n++) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    const cut = random() < 0.3 ? bytes.subarray(0, Math.floor(random() * bytes.length)) : bytes;
    try {
      decodeBatch(cut, (frame) => {
        if (frame.kind === "command") Metadata.decode(frame.metadata);
      });
    } catch (error) {
      assert.ok(error instanceof DecodeError, `case ${i}: ${String(error)}`);
    }
  }
});

function written(write: (writer: Writer) => void) {
  const writer = new Writer();
  write(writer);
  return { frame: fromBinary(FunctionFrameSchema, writer.view()).frame, bytes: writer.view() };
}

const NOTHING: Decision = {
  command: 1,
  reply: undefined,
  forward: undefined,
  failure: undefined,
  metadata: undefined,
  mutation: undefined,
  effects: undefined,
  timers: undefined,
  version: 0,
};

const TARGET = { service: "a.B", method: "C", message: BYTES, metadata: [{ key: "k", value: "v" }] };

/** What is written is, byte by byte, what the generated messages write. */
function check(write: (writer: Writer) => void, expected: MessageInitShape<typeof FunctionFrameSchema>["frame"]): void {
  const message = create(FunctionFrameSchema, { frame: expected! });
  assert.deepEqual([...written(write).bytes], [...toBinary(FunctionFrameSchema, message)]);
}

test("decisions are written as the generated messages write them", () => {
  const decision = (it: Partial<Decision>) => (writer: Writer) => writeDecision(writer, { ...NOTHING, ...it });
  const expect = (it: object) => ({ case: "decision" as const, value: { command: 1n, ...it } });
  const target = {
    service: "a.B",
    method: "C",
    message: BYTES,
    metadata: { entries: [{ key: "k", value: { case: "text" as const, value: "v" } }] },
  };
  check(decision({}), expect({}));
  check(decision({ reply: new Uint8Array(), version: 300 }), expect({ answer: { case: "reply", value: new Uint8Array() }, version: 300n }));
  check(decision({ forward: TARGET }), expect({ answer: { case: "forward", value: target } }));
  check(
    decision({ failure: { code: 5, message: "né", details: [ANY] } }),
    expect({ answer: { case: "failure", value: { code: 5, message: "né", details: [ANY] } } }),
  );
  check(decision({ mutation: { kind: "set", value: ANY } }), expect({ mutation: { mutation: { case: "set", value: ANY } } }));
  check(decision({ mutation: { kind: "delete" } }), expect({ mutation: { mutation: { case: "delete", value: {} } } }));
  check(
    decision({ mutation: { kind: "append", events: [ANY, ANY], snapshot: ANY } }),
    expect({ mutation: { mutation: { case: "append", value: { events: [ANY, ANY], snapshot: ANY } } } }),
  );
  const delta = { delta: { case: "counter" as const, value: 4n } };
  check(
    decision({ mutation: { kind: "update", delta: toBinary(DeltaSchema, create(DeltaSchema, delta)), consistency: 2 } }),
    expect({ mutation: { mutation: { case: "update", value: { delta, consistency: 2 } } } }),
  );
  check(
    decision({ mutation: { kind: "actor", state: ANY, tags: new Map([["a", "b"], ["c", ""]]) } }),
    expect({ mutation: { mutation: { case: "actor", value: { state: ANY, tags: { a: "b", c: "" } } } } }),
  );
  check(
    decision({
      effects: [
        { kind: "call", target: TARGET, wait: true, delayMs: undefined },
        { kind: "call", target: TARGET, wait: false, delayMs: 1500 },
        { kind: "publish", topic: "t", message: ANY, metadata: [{ key: "k-bin", value: BYTES }] },
      ],
      timers: [
        { name: "n", set: { afterMs: 2, method: "M", message: BYTES, repeat: true } },
        { name: "n", set: undefined },
      ],
      metadata: [{ key: "h", value: "" }],
    }),
    expect({
      metadata: { entries: [{ key: "h", value: { case: "text", value: "" } }] },
      effects: [
        { effect: { case: "call", value: { target, wait: true } } },
        { effect: { case: "call", value: { target, delay: { seconds: 1n, nanos: 500_000_000 } } } },
        {
          effect: {
            case: "publish",
            value: { topic: "t", message: ANY, metadata: { entries: [{ key: "k-bin", value: { case: "binary", value: BYTES } }] } },
          },
        },
      ],
      timers: [
        { name: "n", action: { case: "set", value: { after: { nanos: 2_000_000 }, method: "M", message: BYTES, repeat: true } } },
        { name: "n", action: { case: "cancel", value: {} } },
      ],
    }),
  );
});

test("the other frames are written as the generated messages write them", () => {
  check((w) => writeReply(w, 3, BYTES, undefined, undefined), { case: "reply", value: { command: 3n, message: BYTES } });
  check((w) => writeCredit(w, 3, 4), { case: "credit", value: { command: 3n, amount: 4 } });
  check((w) => writeClosed(w, 2 ** 50), { case: "closed", value: { incarnation: 2n ** 50n } });
  check((w) => writeCancel(w, 8), { case: "cancel", value: { id: 8n } });
  check((w) => writeGoodbye(w), { case: "goodbye", value: {} });
  check((w) => writeCall(w, { id: 1, command: 2, target: { ...TARGET, metadata: undefined }, timeoutMs: 3 }), {
    case: "call",
    value: { id: 1n, command: 2n, target: { service: "a.B", method: "C", message: BYTES }, timeoutMs: 3n },
  });
  check((w) => writeChunk(w, { transfer: 1, data: BYTES, last: true, subject: 2 }), {
    case: "chunk",
    value: { transfer: 1n, data: BYTES, last: true, subject: 2n },
  });
});

test("a frame larger than the writer's buffer is written whole", () => {
  const reply = new Uint8Array(3_000_000).fill(5);
  const { frame } = written((w) => writeDecision(w, { ...NOTHING, reply }));
  assert.ok(frame.case === "decision");
  assert.deepEqual(Buffer.from(frame.value.answer.value as Uint8Array).equals(Buffer.from(reply)), true);
});

test("numbers take the length that is claimed", () => {
  for (const value of [0, 1, 127, 128, 16_383, 16_384, 2 ** 31, 2 ** 32, 2 ** 52, 2 ** 53 - 1]) {
    const buffer = Buffer.alloc(10);
    assert.equal(writeVarint(buffer, 0, value), varintLength(value), String(value));
  }
});
