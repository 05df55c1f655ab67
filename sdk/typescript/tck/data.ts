/** What the steps of requests do to replicated data, and how it is shown. */

import { create } from "@bufbuild/protobuf";
import { data, type Context, type DataType, type ReplicatedContext, type View, type WriteConsistency } from "../src/index.js";
import {
  TextSchema,
  ValueSchema,
  type DataRequest,
  type DataStep,
  type Value,
  type Write,
} from "./generated/firn/tck/v1/model_pb.js";
import { calling, failed, hang } from "./steps.js";

/** The types of data, by their numbers in the protocol. */
export const TYPES: ReadonlyMap<number, DataType<View>> = new Map<number, DataType<View>>([
  [1, data.growCounter()],
  [2, data.counter()],
  [3, data.growSet(TextSchema)],
  [4, data.set(TextSchema)],
  [5, data.flag()],
  [6, data.register(TextSchema)],
  [7, data.map(TextSchema, () => [...TYPES.values()])],
  [8, data.vote()],
  [9, data.counterMap(TextSchema)],
  [10, data.registerMap(TextSchema, TextSchema)],
  [11, data.multiMap(TextSchema, TextSchema)],
] as [number, DataType<View>][]);

const CLOCKS = ["default", "reverse", "custom", "custom_auto_increment"] as const;
const CONSISTENCIES: readonly WriteConsistency[] = ["local", "majority", "all"];

export async function dataSteps(request: DataRequest, context: ReplicatedContext<View>): Promise<Value> {
  context.consistency = CONSISTENCIES[request.consistency] ?? "local";
  for (const step of request.steps) {
    if (step.step.case === "delete") {
      context.delete();
      return create(ValueSchema);
    }
    if (!(await waiting(step, context))) change(step, context.data);
  }
  return shown(context.data);
}

export async function* watching(request: DataRequest, context: ReplicatedContext<View>): AsyncGenerator<Value> {
  for (const step of request.steps) await waiting(step, context);
  for await (const value of context.changes()) yield shown(value);
}

/** Does the steps that have to do with the command. Returns whether it was one. */
async function waiting({ step }: DataStep, context: Context): Promise<boolean> {
  switch (step.case) {
    case "fail":
      throw failed(step.value);
    case "crash":
      throw new Error(step.value);
    case "call":
      await calling(context, step.value);
      return true;
    case "hang":
      await hang(context);
      return true;
    default:
      return false;
  }
}

function change({ step }: DataStep, value: View): void {
  switch (step.case) {
    case "change":
      if (value.type === "counter" || value.type === "growCounter") value.increment(step.value);
      break;
    case "add":
      if (value.type === "set" || value.type === "growSet") value.add(textWith(step.value));
      break;
    case "remove":
      if ("remove" in value) value.remove(textWith(step.value));
      break;
    case "clear":
      if ("clear" in value) value.clear();
      break;
    case "turnOn":
      if (value.type === "flag") value.turnOn();
      break;
    case "vote":
      if (value.type === "vote") value.set(step.value);
      break;
    case "write":
      if (value.type === "register") value.set(textWith(step.value.text), stamp(step.value));
      break;
    case "at":
      at(value, textWith(step.value.key), step.value.dataType, step.value.step!);
      break;
    default:
      throw new Error(`no step ${step.case} here`);
  }
}

function at(value: View, key: Record<string, unknown>, dataType: number, step: DataStep): void {
  switch (value.type) {
    case "map":
      change(step, value.add(key, TYPES.get(dataType)!));
      break;
    case "counterMap":
      change(step, value.counter(key));
      break;
    case "registerMap":
      if (step.step.case === "write") {
        value.set(key, textWith(step.step.value.text), stamp(step.step.value));
      }
      break;
    case "multiMap":
      change(step, value.set(key));
      break;
  }
}

function stamp({ clock, custom }: Write) {
  return { clock: CLOCKS[clock] ?? "default", custom };
}

function shown(value: View): Value {
  switch (value.type) {
    case "counter":
    case "growCounter":
      return create(ValueSchema, { number: value.value });
    case "flag":
      return create(ValueSchema, { on: value.value });
    case "register":
      return create(ValueSchema, { text: textOf(value.value) });
    case "vote":
      return create(ValueSchema, { number: BigInt(value.yes), on: value.own, members: value.members });
    case "set":
    case "growSet":
      return create(ValueSchema, { elements: [...value].map(textOf).sort(byBytes) });
    case "counterMap":
      return entries([...value].map(([key, number]) => [textOf(key), create(ValueSchema, { number })]));
    case "registerMap":
      return entries([...value].map(([key, it]) => [textOf(key), create(ValueSchema, { text: textOf(it) })]));
    case "multiMap":
    case "map":
      return entries([...value].map(([key, it]) => [textOf(key), shown(it as View)]));
  }
}

function entries(pairs: [string, Value][]): Value {
  pairs.sort(([a], [b]) => byBytes(a, b));
  return create(ValueSchema, { entries: pairs.map(([key, value]) => ({ key, value })) });
}

/** A Text, for views that do not know the type of their elements. */
function textWith(text: string): Record<string, unknown> {
  return { text };
}

function textOf(message: object | undefined): string {
  return (message as { text?: string } | undefined)?.text ?? "";
}

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
