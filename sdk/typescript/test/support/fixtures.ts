/** Components that the tests share, declared in code. */

import { create, fromBinary, toBinary, type DescMessage, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { anyPack, type Any } from "@bufbuild/protobuf/wkt";
import {
  action,
  actor,
  Code,
  data,
  eventSourcedEntity,
  Failure,
  FirnFunction,
  replicatedEntity,
  valueEntity,
  type FunctionOptions,
  type Logger,
} from "../../src/index.js";
import { bytes, Empty, int64, list, message, rpc, service, string, uint64 } from "../../src/schema.js";

export const Ask = message("Ask", { id: string(), text: string(), data: bytes() });
export const Answer = message("Answer", { text: string(), count: int64(), data: bytes() });
export const Total = message("Total", { text: string(), count: int64() });
export const Added = message("Added", { text: string() });
export const Tags = message("Tags", { tags: list(string()), count: uint64() });

export const Values = service("test.Values", { set: rpc(Ask, Answer), get: rpc(Ask, Answer), wait: rpc(Ask, Answer) });
export const Events = service("test.Events", { add: rpc(Ask, Answer), get: rpc(Ask, Answer), wait: rpc(Ask, Answer) });
export const Actors = service("test.Actors", { set: rpc(Ask, Answer) });
export const Counters = service("test.Counters", {
  change: rpc(Ask, Answer),
  wait: rpc(Ask, Answer),
  watch: rpc(Ask, Answer, { kind: "server_streaming" }),
});
export const Actions = service("test.Actions", {
  one: rpc(Ask, Answer),
  none: rpc(Ask, Empty),
  spread: rpc(Ask, Answer, { kind: "server_streaming" }),
  collect: rpc(Ask, Answer, { kind: "client_streaming" }),
  converse: rpc(Ask, Answer, { kind: "bidi_streaming" }),
});

/** What handlers wait for, by the text of their request. */
export class Gates {
  readonly #gates = new Map<string, { promise: Promise<void>; open: () => void }>();

  of(name: string): { promise: Promise<void>; open: () => void } {
    let gate = this.#gates.get(name);
    if (gate === undefined) {
      let open: () => void = () => {};
      const promise = new Promise<void>((resolve) => {
        open = resolve;
      });
      gate = { promise, open };
      this.#gates.set(name, gate);
    }
    return gate;
  }
}

/** Each test has components of its own: their handlers wait for its gates. */
export function componentsWith(gates: Gates) {
  const values = valueEntity(Values, {
    id: "id",
    state: Total,
    passivateAfter: 1_500,
    handlers: {
      set(request, context) {
        const count = (context.state?.count ?? 0n) + 1n;
        if (request.text === "delete") context.delete();
        else context.set({ text: request.text, count });
        if (request.text === "fail") throw new Failure(Code.Aborted, "no", [anyPack(Added, create(Added, { text: "why" }))]);
        if (request.text === "crash") throw new Error("secret");
        return { text: context.state?.text ?? "gone", count: context.state?.count ?? 0n };
      },
      get: (_, { state }) => ({ text: state?.text ?? "", count: state?.count ?? -1n }),
      async wait(request, context) {
        await gates.of(request.text).promise;
        const count = (context.state?.count ?? 0n) + 1n;
        context.set({ text: request.text, count });
        return { text: request.text, count };
      },
    },
  });
  const events = eventSourcedEntity(Events, {
    id: "id",
    state: Total,
    events: [Added],
    snapshotEvery: 3,
    apply(state, event) {
      if (event.text === "poison") throw new Error("cannot fold");
      state.text += event.text;
      state.count++;
    },
    handlers: {
      add({ text }, context) {
        if (text === "delete") context.delete();
        else for (const part of text.split(",")) if (part !== "fail") context.emit(Added, { text: part });
        if (text.endsWith("fail")) throw new Failure(Code.OutOfRange, "after emit");
        return { text: context.state.text, count: context.state.count };
      },
      get: (_, { state }) => ({ text: state.text, count: state.count }),
      async wait({ text }, context) {
        context.emit(Added, { text });
        await gates.of(text).promise;
        throw new Failure(Code.OutOfRange, "after emit");
      },
    },
  });
  const actors = actor(Actors, {
    id: "id",
    state: Total,
    durability: "write_behind",
    handlers: {
      set({ text }, context) {
        if (text === "delete") context.delete();
        else if (text.startsWith("tag:")) context.setTags([...context.tags, [text.slice(4), "on"]]);
        else context.set({ text });
        return { text: [context.state?.text ?? "", ...context.tags.keys()].join(" ") };
      },
    },
  });
  const counters = replicatedEntity(Counters, {
    id: "id",
    data: data.counter(),
    consistency: "majority",
    handlers: {
      change({ text }, context) {
        if (text === "delete") {
          context.delete();
          return {};
        }
        context.data.increment(BigInt(text.replace("fail", "")));
        if (text.endsWith("fail")) throw new Failure(Code.Aborted, "no");
        context.consistency = "all";
        return { count: context.data.value };
      },
      async wait({ text }, context) {
        context.data.increment(100);
        await gates.of(text).promise;
        if (text === "fail") throw new Failure(Code.Aborted, "no");
        return { count: context.data.value };
      },
      async *watch(_, context) {
        for await (const counter of context.changes()) yield { count: counter.value };
      },
    },
  });
  const actions = action(Actions, {
    headers: ["X-One"],
    handlers: {
      async one(request, context) {
        if (request.text === "sync") return { text: context.metadata.get("x-one") ?? "none" };
        if (request.text === "cancelled") {
          await new Promise((resolve) => context.cancelled.addEventListener("abort", resolve));
          return {};
        }
        await gates.of(request.text).promise;
        return { text: request.text };
      },
      none() {},
      async *spread({ text }, context) {
        context.replyMetadata.set("x-first", "yes");
        for (let i = 0; i < Number(text); i++) yield { count: BigInt(i) };
      },
      async collect(requests) {
        let text = "";
        for await (const request of requests) text += request.text;
        return { text };
      },
      async *converse(requests) {
        for await (const request of requests) yield { text: request.text };
      },
    },
  });
  return { values, events, actors, counters, actions };
}

/** Where components and methods are in the contract of {@link functionOf}. */
export const At = {
  values: 0,
  events: 1,
  actors: 2,
  counters: 3,
  actions: 4,
};

/** A logger that keeps what it is told. */
export class Records implements Logger {
  readonly all: { level: string; message: string; fields: Record<string, unknown> }[] = [];
  debug = this.#taker("debug");
  info = this.#taker("info");
  warn = this.#taker("warn");
  error = this.#taker("error");

  of(level: string): string[] {
    return this.all.filter((it) => it.level === level).map((it) => it.message);
  }

  #taker(level: string) {
    return (message: string, fields: Record<string, unknown> = {}): void => {
      this.all.push({ level, message, fields });
    };
  }
}

/** A function with all components of {@link componentsWith}. */
export function functionOf(address: string, gates = new Gates(), options: FunctionOptions = {}): FirnFunction {
  const { values, events, actors, counters, actions } = componentsWith(gates);
  const all = [values, events, actors, counters, actions];
  const fn = new FirnFunction("test", { address, logger: new Records(), version: "9", ...options });
  for (const component of all) fn.add(component);
  return fn;
}

export function encoded<D extends DescMessage>(schema: D, init: MessageInitShape<D>): Uint8Array {
  return toBinary(schema, create(schema, init));
}

export function decoded<D extends DescMessage>(schema: D, value: unknown): MessageShape<D> {
  return fromBinary(schema, value as Uint8Array);
}

export function any<D extends DescMessage>(schema: D, init: MessageInitShape<D>): Any {
  return anyPack(schema, create(schema, init));
}
