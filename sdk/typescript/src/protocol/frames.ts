/**
 * The frames of firn.v1: what they hold, decoding those of Firn, encoding those of the function.
 *
 * The frames that come in thousands are read and written by hand ({@link Reader}, {@link Writer}).
 * The others, which come once for a connection or a failure, go through the generated messages. The
 * tests compare all of them with the generated messages.
 */

import { fromBinary, toBinary, type MessageShape } from "@bufbuild/protobuf";
import { FailureSchema, FirnFrameSchema, HelloSchema } from "../generated/firn/v1/function_pb.js";
import { DecodeError, LENGTH_DELIMITED, Reader, type Writer } from "./wire.js";

/** A message with the name of its type. */
export interface AnyBytes {
  typeUrl: string;
  value: Uint8Array;
}

/** A header. */
export interface Entry {
  key: string;
  value: string | Uint8Array;
}

/** A method with a request for it. */
export interface TargetFrame {
  service: string;
  method: string;
  message: Uint8Array;
  metadata: readonly Entry[] | undefined;
}

/** A failure, as gRPC has it. */
export interface FailureFrame {
  code: number;
  message: string;
  details: AnyBytes[];
}

// What Firn sends -------------------------------------------------------------------------------

/** An entity as it is when an incarnation begins. */
export interface Opening {
  entityId: string;
  version: number;
  value: AnyBytes | undefined;
  history: History | undefined;
  /** An encoded Delta. */
  data: Uint8Array | undefined;
  actor: ActorFrame | undefined;
}

/** What an event sourced state is folded from. */
export interface History {
  snapshot: AnyBytes | undefined;
  snapshotVersion: number;
  events: AnyBytes[];
}

/** An actor's state and tags. */
export interface ActorFrame {
  state: AnyBytes | undefined;
  tags: Map<string, string>;
}

/** A request for a component. */
export interface Command {
  kind: "command";
  id: number;
  component: number;
  method: number;
  incarnation: number;
  opening: Opening | undefined;
  message: Uint8Array;
  /** Encoded Metadata. */
  metadata: Buffer | undefined;
  timeoutMs: number;
}

type Rare = NonNullable<MessageShape<typeof FirnFrameSchema>["frame"]>;

/** A frame of Firn. */
export type FirnFrame =
  | Command
  | { kind: "message"; command: number; message: Uint8Array | undefined; end: boolean }
  | { kind: "cancel"; id: number }
  | { kind: "change"; incarnation: number; delta: Uint8Array | undefined }
  | { kind: "close"; incarnation: number }
  | { kind: "credit"; command: number; amount: number }
  | { kind: "chunk"; transfer: number; data: Buffer; last: boolean; subject: number }
  | {
      kind: "callResult";
      id: number;
      reply: Uint8Array | undefined;
      failure: FailureFrame | undefined;
      metadata: Buffer | undefined;
    }
  | { kind: "rare"; frame: Extract<Rare, { case: "welcome" | "refusal" | "notice" }> }
  | { kind: "goodbye" };

/** Calls back with each frame of an encoded FirnBatch, in order. Throws DecodeError. */
export function decodeBatch(bytes: Buffer, take: (frame: FirnFrame) => void): void {
  const reader = new Reader(bytes);
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field !== 1) {
      reader.skip();
      continue;
    }
    const frame = decodeFrame(reader.bytes());
    if (frame !== undefined) take(frame);
  }
}

/** Decodes a FirnFrame; undefined if its kind is not known (R6). Throws DecodeError. */
export function decodeFrame(bytes: Buffer): FirnFrame | undefined {
  const reader = new Reader(bytes);
  let frame: FirnFrame | undefined;
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (reader.wireType !== LENGTH_DELIMITED) {
      reader.skip();
      continue;
    }
    switch (field) {
      case 3:
        frame = command(reader.message());
        break;
      case 4:
        frame = message(reader.message());
        break;
      case 5:
        frame = { kind: "cancel", id: onlyNumber(reader.message()) };
        break;
      case 6:
        frame = change(reader.message());
        break;
      case 7:
        frame = { kind: "close", incarnation: onlyNumber(reader.message()) };
        break;
      case 8:
        frame = credit(reader.message());
        break;
      case 9:
        frame = chunk(reader.message());
        break;
      case 10:
        frame = callResult(reader.message());
        break;
      case 1:
      case 2:
      case 11:
        frame = rare(bytes);
        reader.skip();
        break;
      case 12:
        frame = { kind: "goodbye" };
        reader.skip();
        break;
      default:
        reader.skip(); // R6
    }
  }
  return frame;
}

/** A frame that comes seldom, by way of the generated messages. */
function rare(bytes: Buffer): FirnFrame | undefined {
  let frame: MessageShape<typeof FirnFrameSchema>["frame"];
  try {
    frame = fromBinary(FirnFrameSchema, bytes, { readUnknownFields: false }).frame;
  } catch (cause) {
    throw new DecodeError("a frame cannot be decoded", { cause });
  }
  if (frame.case === "welcome" || frame.case === "refusal" || frame.case === "notice") {
    return { kind: "rare", frame };
  }
  return undefined;
}

function command(reader: Reader): Command {
  const frame: Command = {
    kind: "command",
    id: 0,
    component: 0,
    method: 0,
    incarnation: 0,
    opening: undefined,
    message: EMPTY,
    metadata: undefined,
    timeoutMs: 0,
  };
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    switch (field) {
      case 1:
        frame.id = reader.number();
        break;
      case 2:
        frame.component = reader.number();
        break;
      case 3:
        frame.method = reader.number();
        break;
      case 4:
        frame.incarnation = reader.roughNumber();
        break;
      case 5:
        frame.opening = opening(reader.message());
        break;
      case 6:
        frame.message = reader.bytes();
        break;
      case 7:
        frame.metadata = reader.bytes();
        break;
      case 8:
        frame.timeoutMs = reader.roughNumber();
        break;
      default:
        reader.skip();
    }
  }
  // One that is not known may have any number: it is ignored (R42).
  if (frame.opening !== undefined && frame.incarnation > Number.MAX_SAFE_INTEGER) {
    throw new DecodeError("an incarnation has a number above 2^53");
  }
  return frame;
}

function opening(reader: Reader): Opening {
  const frame: Opening = {
    entityId: "",
    version: 0,
    value: undefined,
    history: undefined,
    data: undefined,
    actor: undefined,
  };
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    switch (field) {
      case 1:
        frame.entityId = reader.text();
        break;
      case 2:
        frame.version = reader.number();
        break;
      case 3:
        frame.value = any(reader.message());
        break;
      case 4:
        frame.history = history(reader.message());
        break;
      case 5:
        frame.data = reader.bytes();
        break;
      case 6:
        frame.actor = actor(reader.message());
        break;
      default:
        reader.skip();
    }
  }
  return frame;
}

function history(reader: Reader): History {
  const frame: History = { snapshot: undefined, snapshotVersion: 0, events: [] };
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    switch (field) {
      case 1:
        frame.snapshot = any(reader.message());
        break;
      case 2:
        frame.snapshotVersion = reader.number();
        break;
      case 3:
        frame.events.push(any(reader.message()));
        break;
      default:
        reader.skip();
    }
  }
  return frame;
}

function actor(reader: Reader): ActorFrame {
  const frame: ActorFrame = { state: undefined, tags: new Map() };
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    switch (field) {
      case 1:
        frame.state = any(reader.message());
        break;
      case 2:
        tag(reader.message(), frame.tags);
        break;
      default:
        reader.skip();
    }
  }
  return frame;
}

function tag(reader: Reader, tags: Map<string, string>): void {
  let key = "";
  let value = "";
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) key = reader.text();
    else if (field === 2) value = reader.text();
    else reader.skip();
  }
  tags.set(key, value);
}

function any(reader: Reader): AnyBytes {
  const frame: AnyBytes = { typeUrl: "", value: EMPTY };
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) frame.typeUrl = reader.text();
    else if (field === 2) frame.value = reader.bytes();
    else reader.skip();
  }
  return frame;
}

function message(reader: Reader): FirnFrame {
  let id = 0;
  let bytes: Uint8Array | undefined;
  let end = false;
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) id = reader.number();
    else if (field === 2) bytes = reader.bytes();
    else if (field === 3) end = reader.number() !== 0;
    else reader.skip();
  }
  return { kind: "message", command: id, message: bytes, end };
}

function change(reader: Reader): FirnFrame {
  let incarnation = 0;
  let delta: Uint8Array | undefined;
  let known = false;
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    switch (field) {
      case 1:
        incarnation = reader.roughNumber();
        break;
      case 2:
        delta = reader.bytes();
        known = true;
        break;
      case 3:
        delta = undefined;
        known = true;
        reader.skip();
        break;
      default:
        reader.skip();
    }
  }
  // A change of a kind that is not known is none (R6): as an empty delta it changes nothing.
  return { kind: "change", incarnation, delta: known ? delta : EMPTY };
}

function credit(reader: Reader): FirnFrame {
  let id = 0;
  let amount = 0;
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) id = reader.number();
    else if (field === 2) amount = reader.number();
    else reader.skip();
  }
  return { kind: "credit", command: id, amount };
}

function chunk(reader: Reader): FirnFrame {
  let transfer = 0;
  let data: Buffer = EMPTY;
  let last = false;
  let subject = 0;
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) transfer = reader.number();
    else if (field === 2) data = reader.bytes();
    else if (field === 3) last = reader.number() !== 0;
    else if (field === 4) subject = reader.number();
    else reader.skip();
  }
  return { kind: "chunk", transfer, data, last, subject };
}

function callResult(reader: Reader): FirnFrame {
  let id = 0;
  let reply: Uint8Array | undefined;
  let failed: FailureFrame | undefined;
  let metadata: Buffer | undefined;
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) id = reader.number();
    else if (field === 2) reply = reader.bytes();
    else if (field === 3) failed = decodeFailure(reader.bytes());
    else if (field === 4) metadata = reader.bytes();
    else reader.skip();
  }
  return { kind: "callResult", id, reply, failure: failed, metadata };
}

function decodeFailure(bytes: Uint8Array): FailureFrame {
  try {
    const { code, message: text, details } = fromBinary(FailureSchema, bytes);
    return { code, message: text, details };
  } catch (cause) {
    throw new DecodeError("a failure cannot be decoded", { cause });
  }
}

/** The only number of a message with one field. */
function onlyNumber(reader: Reader): number {
  let value = 0;
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) value = reader.number();
    else reader.skip();
  }
  return value;
}

/** The headers of encoded Metadata. */
export function decodeMetadata(bytes: Buffer): Entry[] {
  const entries: Entry[] = [];
  const reader = new Reader(bytes);
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) entries.push(metadataEntry(reader.message()));
    else reader.skip();
  }
  return entries;
}

function metadataEntry(reader: Reader): Entry {
  let key = "";
  let value: string | Uint8Array = "";
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) key = reader.text();
    else if (field === 2) value = reader.text();
    else if (field === 3) value = reader.bytes();
    else reader.skip();
  }
  return { key, value };
}

// What the function sends -----------------------------------------------------------------------

/** A change of an entity. */
export type Mutation =
  | { kind: "set"; value: AnyBytes }
  | { kind: "delete" }
  | { kind: "append"; events: readonly AnyBytes[]; snapshot: AnyBytes | undefined }
  /** `delta` is an encoded Delta. */
  | { kind: "update"; delta: Uint8Array; consistency: number }
  | { kind: "actor"; state: AnyBytes | undefined; tags: ReadonlyMap<string, string> };

/** Something else that is to be done. */
export type Effect =
  | { kind: "call"; target: TargetFrame; wait: boolean; delayMs: number | undefined }
  | { kind: "publish"; topic: string; message: AnyBytes; metadata: readonly Entry[] | undefined };

/** A timer that is set or cancelled. */
export interface Timer {
  name: string;
  /** Unset to cancel it. */
  set: { afterMs: number; method: string; message: Uint8Array; repeat: boolean } | undefined;
}

/** The answer to a command. */
export interface Decision {
  command: number;
  reply: Uint8Array | undefined;
  forward: TargetFrame | undefined;
  failure: FailureFrame | undefined;
  metadata: readonly Entry[] | undefined;
  mutation: Mutation | undefined;
  effects: readonly Effect[] | undefined;
  timers: readonly Timer[] | undefined;
  version: number;
}

const EMPTY = Buffer.alloc(0);

/** Writes a FunctionFrame with a Hello. */
export function writeHello(w: Writer, hello: MessageShape<typeof HelloSchema>): void {
  w.bytes(1, toBinary(HelloSchema, hello));
}

/** Writes a FunctionFrame with a Decision. */
export function writeDecision(w: Writer, it: Decision): void {
  const frame = w.length;
  w.number(9, it.version);
  if (it.timers !== undefined) eachBackwards(it.timers, (timer) => writeTimer(w, timer));
  if (it.effects !== undefined) eachBackwards(it.effects, (effect) => writeEffect(w, 7, effect));
  if (it.mutation !== undefined) writeMutation(w, it.mutation);
  if (it.metadata !== undefined) writeMetadata(w, 5, it.metadata);
  if (it.failure !== undefined) writeFailure(w, it.failure);
  else if (it.forward !== undefined) writeTarget(w, 3, it.forward);
  else if (it.reply !== undefined) w.bytes(2, it.reply);
  w.number(1, it.command);
  w.nested(2, frame);
}

/** Writes a FunctionFrame with a Reply. */
export function writeReply(
  w: Writer,
  command: number,
  message: Uint8Array,
  metadata: readonly Entry[] | undefined,
  effects: readonly Effect[] | undefined,
): void {
  const frame = w.length;
  if (effects !== undefined) eachBackwards(effects, (effect) => writeEffect(w, 4, effect));
  if (metadata !== undefined) writeMetadata(w, 3, metadata);
  w.bytes(2, message);
  w.number(1, command);
  w.nested(3, frame);
}

/** Writes a FunctionFrame with a Credit. */
export function writeCredit(w: Writer, command: number, amount: number): void {
  const frame = w.length;
  w.number(2, amount);
  w.number(1, command);
  w.nested(4, frame);
}

/** Writes a FunctionFrame with a Closed. */
export function writeClosed(w: Writer, incarnation: number): void {
  const frame = w.length;
  w.number(1, incarnation);
  w.nested(6, frame);
}

/** Writes a FunctionFrame with a Call. */
export function writeCall(
  w: Writer,
  call: { id: number; command: number; target: TargetFrame; timeoutMs: number },
): void {
  const frame = w.length;
  w.number(4, call.timeoutMs);
  writeTarget(w, 3, call.target);
  w.number(2, call.command);
  w.number(1, call.id);
  w.nested(7, frame);
}

/** Writes a FunctionFrame with a Cancel of a call. */
export function writeCancel(w: Writer, call: number): void {
  const frame = w.length;
  w.number(1, call);
  w.nested(8, frame);
}

/** Writes a FunctionFrame with a Goodbye. */
export function writeGoodbye(w: Writer): void {
  w.bytes(9, EMPTY);
}

/** Writes a FunctionFrame with a Chunk. */
export function writeChunk(
  w: Writer,
  chunk: { transfer: number; data: Uint8Array; last: boolean; subject: number },
): void {
  const frame = w.length;
  w.number(4, chunk.subject);
  w.bool(3, chunk.last);
  w.bytes(2, chunk.data);
  w.number(1, chunk.transfer);
  w.nested(5, frame);
}

function eachBackwards<T>(items: readonly T[], write: (item: T) => void): void {
  for (let i = items.length - 1; i >= 0; i--) write(items[i]!);
}

function writeAny(w: Writer, field: number, any: AnyBytes): void {
  const begin = w.length;
  if (any.value.length > 0) w.bytes(2, any.value);
  w.text(1, any.typeUrl);
  w.nested(field, begin);
}

function writeMetadata(w: Writer, field: number, entries: readonly Entry[]): void {
  const begin = w.length;
  eachBackwards(entries, ({ key, value }) => {
    const entry = w.length;
    if (typeof value === "string") w.textAlways(2, value);
    else w.bytes(3, value);
    w.text(1, key);
    w.nested(1, entry);
  });
  w.nested(field, begin);
}

function writeTarget(w: Writer, field: number, target: TargetFrame): void {
  const begin = w.length;
  if (target.metadata !== undefined) writeMetadata(w, 4, target.metadata);
  if (target.message.length > 0) w.bytes(3, target.message);
  w.text(2, target.method);
  w.text(1, target.service);
  w.nested(field, begin);
}

function writeFailure(w: Writer, failure: FailureFrame): void {
  const begin = w.length;
  eachBackwards(failure.details, (detail) => writeAny(w, 3, detail));
  w.text(2, failure.message);
  w.number(1, failure.code);
  w.nested(4, begin);
}

function writeMutation(w: Writer, mutation: Mutation): void {
  const begin = w.length;
  switch (mutation.kind) {
    case "set":
      writeAny(w, 1, mutation.value);
      break;
    case "delete":
      w.bytes(2, EMPTY);
      break;
    case "append": {
      const append = w.length;
      if (mutation.snapshot !== undefined) writeAny(w, 2, mutation.snapshot);
      eachBackwards(mutation.events, (event) => writeAny(w, 1, event));
      w.nested(3, append);
      break;
    }
    case "update": {
      const update = w.length;
      w.number(2, mutation.consistency);
      w.bytes(1, mutation.delta);
      w.nested(4, update);
      break;
    }
    case "actor": {
      const actorBegin = w.length;
      eachBackwards([...mutation.tags], ([name, value]) => {
        const entry = w.length;
        w.textAlways(2, value);
        w.textAlways(1, name);
        w.nested(2, entry);
      });
      if (mutation.state !== undefined) writeAny(w, 1, mutation.state);
      w.nested(5, actorBegin);
      break;
    }
  }
  w.nested(6, begin);
}

function writeEffect(w: Writer, field: number, effect: Effect): void {
  const begin = w.length;
  if (effect.kind === "call") {
    const call = w.length;
    if (effect.delayMs !== undefined) writeDuration(w, 3, effect.delayMs);
    w.bool(2, effect.wait);
    writeTarget(w, 1, effect.target);
    w.nested(1, call);
  } else {
    const publish = w.length;
    if (effect.metadata !== undefined) writeMetadata(w, 3, effect.metadata);
    writeAny(w, 2, effect.message);
    w.text(1, effect.topic);
    w.nested(2, publish);
  }
  w.nested(field, begin);
}

function writeTimer(w: Writer, timer: Timer): void {
  const begin = w.length;
  if (timer.set === undefined) {
    w.bytes(3, EMPTY);
  } else {
    const schedule = w.length;
    w.bool(4, timer.set.repeat);
    if (timer.set.message.length > 0) w.bytes(3, timer.set.message);
    w.text(2, timer.set.method);
    writeDuration(w, 1, timer.set.afterMs);
    w.nested(2, schedule);
  }
  w.text(1, timer.name);
  w.nested(8, begin);
}

/** A google.protobuf.Duration from milliseconds, which are not negative. */
function writeDuration(w: Writer, field: number, ms: number): void {
  const begin = w.length;
  const seconds = Math.floor(ms / 1000);
  w.number(2, Math.round((ms - seconds * 1000) * 1e6));
  w.number(1, seconds);
  w.nested(field, begin);
}
