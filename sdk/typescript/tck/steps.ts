/** What the steps of requests do: to text and count, and for replicated data. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import {
  client,
  Failure,
  type ActionContext,
  type ActorContext,
  type Code,
  type Context,
  type EntityContext,
  type EventSourcedContext,
  type Target,
  type ValueContext,
} from "../src/index.js";
import {
  ActorModel,
  AppendedSchema,
  CalledSchema,
  EventSourcedModel,
  ReplySchema,
  RequestSchema,
  TextSchema,
  ValueModel,
  ValueModelTwo,
  type Called,
  type Fail,
  type Header,
  type Reply,
  type StateSchema,
  type Step,
  type Target as TargetMessage,
} from "./generated/firn/tck/v1/model_pb.js";

const value = client(ValueModel);
const two = client(ValueModelTwo);

/** What a handler works on. */
export interface Work {
  text: string;
  count: bigint;
  readonly called: Called[];
  readonly headers: Header[];
  pad: number;
  forward: Target | undefined;
}

export function emptyWork(): Work {
  return { text: "", count: 0n, called: [], headers: [], pad: 0, forward: undefined };
}

export function replyOf(work: Work, tags: Record<string, string> = {}): Reply {
  const { text, count, called, headers } = work;
  const pad = Uint8Array.from({ length: work.pad }, (_, i) => i % 251);
  return create(ReplySchema, { text, count, called, headers, pad, tags });
}

function targetOf({ target }: TargetMessage): Target {
  if (target.case === "value") return value.process(target.value);
  if (target.case === "two") return two.process(target.value);
  throw new Error("a target without a request");
}

export function failed({ code, message, details }: Fail): Failure {
  const texts = details.map((text) => anyPack(TextSchema, create(TextSchema, { text })));
  return new Failure(code as Code, message, texts);
}

export async function calling(context: Context, target: TargetMessage): Promise<MessageInitShape<typeof CalledSchema>> {
  try {
    return { reply: (await context.call(targetOf(target))) as Reply };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const details = error.details.map((any) => new TextDecoder().decode(any.value.subarray(2)));
    return { code: error.code, message: error.message, details };
  }
}

/** Waits until nobody waits for the answer any more. */
export async function hang(context: Context): Promise<never> {
  const { cancelled } = context;
  if (!cancelled.aborted) {
    await new Promise((resolve) => cancelled.addEventListener("abort", resolve, { once: true }));
  }
  throw cancelled.reason;
}

/** Does the steps that are alike for all models. */
export async function common(step: Step["step"], context: Context, work: Work): Promise<void> {
  switch (step.case) {
    case "fail":
      throw failed(step.value);
    case "crash":
      throw new Error(step.value);
    case "forward":
      work.forward = targetOf(step.value);
      break;
    case "effect": {
      const { target, wait, delayMs } = step.value;
      context.effect(targetOf(target!), delayMs > 0 ? { wait, after: delayMs } : { wait });
      break;
    }
    case "call":
      work.called.push(create(CalledSchema, await calling(context, step.value)));
      break;
    case "publish":
      context.publish(step.value.topic, TextSchema, { text: step.value.text });
      break;
    case "showHeader":
      for (const it of context.metadata.getAll(step.value)) {
        const bytes = typeof it === "string" ? new TextEncoder().encode(it) : it;
        work.headers.push({ $typeName: "firn.tck.v1.Header", name: step.value, value: new Uint8Array(bytes) });
      }
      break;
    case "setHeader": {
      const { name, value: bytes } = step.value;
      context.replyMetadata.add(name, name.endsWith("-bin") ? bytes : new TextDecoder().decode(bytes));
      break;
    }
    case "hang":
      await hang(context);
      break;
    case "pad":
      work.pad = step.value;
      break;
    default:
      throw new Error(`no step ${step.case} here`);
  }
}

/** Does the steps of timers. Returns whether it was one. */
function timers(step: Step["step"], context: EntityContext, process: (steps: Step[]) => Target): boolean {
  if (step.case === "setTimer") {
    const { name, afterMs, repeat, steps } = step.value;
    context.timer(name, afterMs, process(steps), { repeat });
    return true;
  }
  if (step.case === "cancelTimer") context.cancelTimer(step.value);
  return step.case === "cancelTimer";
}

type StateContext = ValueContext<typeof StateSchema> | ActorContext<typeof StateSchema>;

/** Does the steps of a value entity or an actor, and changes its state. */
export async function valueSteps(
  steps: Step[],
  context: StateContext,
  process: (steps: Step[]) => Target,
): Promise<Work> {
  const work = { ...emptyWork(), text: context.state?.text ?? "", count: context.state?.count ?? 0n };
  for (const { step } of steps) {
    if (timers(step, context, process)) continue;
    switch (step.case) {
      case "set":
      case "append":
        work.text = step.case === "set" ? step.value : work.text + step.value;
        work.count++;
        context.set({ text: work.text, count: work.count });
        break;
      case "delete":
        work.text = "";
        work.count = 0n;
        context.delete();
        break;
      case "setTag": {
        const { name, value: text } = step.value;
        const actor = context as ActorContext<typeof StateSchema>;
        const tags = new Map(actor.tags);
        if (text === "") tags.delete(name);
        else tags.set(name, text);
        actor.setTags(tags);
        break;
      }
      default:
        await common(step, context, work);
    }
  }
  return work;
}

/** Does the steps of an event sourced entity. */
export async function eventSteps(
  steps: Step[],
  context: EventSourcedContext<typeof StateSchema, typeof AppendedSchema>,
): Promise<Work> {
  const work = emptyWork();
  const events = client(EventSourcedModel);
  for (const { step } of steps) {
    if (timers(step, context, (inner) => events.process({ id: context.entityId, steps: inner }))) continue;
    if (step.case === "append") context.emit(AppendedSchema, { text: step.value });
    else if (step.case === "delete") context.delete();
    else await common(step, context, work);
  }
  const { text, count } = context.state;
  return { ...work, text, count };
}

/** Does the steps of an action, giving replies where it has to. */
export async function* actionSteps(
  steps: Step[],
  context: ActionContext,
  work: Work,
  sent: { count: bigint },
): AsyncGenerator<MessageInitShape<typeof ReplySchema>> {
  for (const { step } of steps) {
    switch (step.case) {
      case "set":
      case "append":
        work.text = step.case === "set" ? step.value : work.text + step.value;
        work.count++;
        break;
      case "send":
        for (let i = 0; i < step.value.times; i++) {
          if (step.value.pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, step.value.pauseMs));
          yield { text: step.value.text, count: ++sent.count };
        }
        break;
      default:
        await common(step, context, work);
    }
  }
}

export const actors = client(ActorModel);
export const values = value;
export const valuesTwo = two;
export { RequestSchema };
