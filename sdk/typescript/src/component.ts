/** Components: what every kind has in common. Each model has a file of its own in `models/`. */

import { create, type DescMessage, type DescMethod, type DescService, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import { holdsBytes } from "./any.js";
import { bind } from "./binding.js";
import { wholeMs, type Caller, type Context, type Forward } from "./context.js";
import type { Entity } from "./entity.js";
import { ComponentSchema } from "./generated/firn/v1/function_pb.js";
import type { Command, Decision, Opening } from "./protocol/frames.js";
import type { Store } from "./replicated/store.js";
import type { AnyService } from "./target.js";

/** What a handler of a unary method may return: what the reply is made of, or a forward. */
export type Reply<O extends DescMessage> = MessageInitShape<O> | Forward | void;

/** A handler of a method. */
export type Handler<M extends DescMethod, C> = M["methodKind"] extends "unary"
  ? (
      request: MessageShape<M["input"]>,
      context: C,
    ) => Reply<M["output"]> | Promise<Reply<M["output"]>>
  : M["methodKind"] extends "server_streaming"
    ? (
        request: MessageShape<M["input"]>,
        context: C,
      ) => AsyncIterable<MessageInitShape<M["output"]>> | Iterable<MessageInitShape<M["output"]>>
    : M["methodKind"] extends "client_streaming"
      ? (
          requests: AsyncIterable<MessageShape<M["input"]>>,
          context: C,
        ) => Reply<M["output"]> | Promise<Reply<M["output"]>>
      : (
          requests: AsyncIterable<MessageShape<M["input"]>>,
          context: C,
        ) => AsyncIterable<MessageInitShape<M["output"]>>;

/** The handlers of a service's methods. A method without one is UNIMPLEMENTED. */
export type Handlers<S extends AnyService, C> = {
  [K in keyof S["method"]]?: Handler<S["method"][K], C>;
};

/** Options that every component has. */
export interface ComponentOptions {
  /** Which headers of a caller reach the function, in lower case; `"*"` for all. None if unset. */
  headers?: readonly string[];
}

/** Options that every entity has. */
export interface EntityOptions<S extends AnyService> extends ComponentOptions {
  /**
   * Where requests name their entity: the name of a field, nested ones with dots, several for an id of
   * several parts. Needed unless every method has its own in `ids`.
   */
  id?: string | readonly string[];
  /** Where the requests of a method name their entity, if otherwise than `id` says. */
  ids?: { [K in keyof S["method"]]?: string | readonly string[] };
  /** Under which name the entities' data is kept; the service's name if unset. */
  storage?: string;
  /** After how many idle milliseconds an entity leaves Firn's memory; Firn decides if unset. */
  passivateAfter?: number;
}

/** A method with its handler. */
export interface Method {
  readonly service: DescService;
  readonly name: string;
  readonly localName: string;
  readonly input: DescMessage;
  readonly output: DescMessage;
  readonly streamsRequests: boolean;
  readonly streamsReplies: boolean;
  /** Whether requests are decoded from a copy, so that they do not keep their batch alive. */
  readonly copies: boolean;
  readonly id: readonly string[];
  readonly handler: (request: never, context: never) => unknown;
}

/** What the declaration functions hand over. */
export interface Declared {
  readonly service: AnyService;
  readonly options: EntityOptions<AnyService>;
  readonly handlers: object;
  /** Messages that the service's methods do not name: states, events, elements. */
  readonly messages: readonly DescMessage[];
}

/** The implementation of one service. Made by {@link action}, {@link valueEntity} and so on. */
export abstract class Component<S extends AnyService = AnyService> {
  /** The service that it implements. */
  readonly service: S;
  /** @internal */
  readonly methods: readonly Method[];
  /** @internal */
  readonly options: EntityOptions<AnyService>;
  /** @internal All messages that the contract needs beside those of the methods. */
  readonly messages: readonly DescMessage[];

  /** @internal */
  constructor(declared: Declared) {
    this.service = declared.service as S;
    this.options = declared.options;
    this.messages = declared.messages;
    bind(declared.service, declared.messages);
    this.methods = methodsOf(declared);
  }

  /** @internal Whether it is stateless: its commands have incarnation 0 (R55). */
  get isAction(): boolean {
    return false;
  }

  /** @internal Whether commands of an entity wait for each other (R21). */
  get isSerial(): boolean {
    return true;
  }

  /** @internal The component as the contract has it. */
  declaration(): MessageShape<typeof ComponentSchema> {
    const { options } = this;
    const first = this.methods[0]?.input;
    const component = create(ComponentSchema, {
      service: this.service.typeName,
      methods: this.methods.map(({ name, id }) => ({ name, id: [...id] })),
      id: first === undefined ? [] : protoNames(options.id, first),
      storage: options.storage ?? "",
      headers: (options.headers ?? []).map((header) => header.toLowerCase()),
    });
    if (options.passivateAfter !== undefined) {
      component.passivateAfter = duration(wholeMs(options.passivateAfter, "passivateAfter"));
    }
    this.declare(component);
    return component;
  }

  /** @internal Adds what the model has to say to the contract. */
  protected abstract declare(component: MessageShape<typeof ComponentSchema>): void;

  /** @internal Takes the state of a new incarnation. Throws if it cannot be decoded or folded. */
  abstract open(entity: Entity, opening: Opening): void;

  /** @internal */
  abstract context(
    caller: Caller,
    method: Method,
    command: Command,
    receivedAt: number,
    entity: Entity | undefined,
  ): Context;

  /** @internal Adds mutation and version to a decision that is no failure; changes nothing yet. */
  abstract decide(context: Context, decision: Decision): void;

  /** @internal The decision has left: what it changed is now what the incarnation holds. */
  abstract commit(context: Context): void;

  /** @internal The command failed. Returns whether what is held has to be let go of (R43). */
  abstract rollback(context: Context): boolean;

  /** @internal Takes a change from elsewhere (R52). Throws if it cannot be decoded. */
  change(_entity: Entity, _delta: Uint8Array | undefined): void {}

  /** @internal The empty value of replicated data. */
  emptyStore(): Store | undefined {
    return undefined;
  }
}

function methodsOf({ service, options, handlers }: Declared): Method[] {
  const all = new Map(Object.entries(handlers).filter(([, handler]) => handler !== undefined));
  const methods: Method[] = [];
  for (const desc of service.methods) {
    const handler = all.get(desc.localName);
    if (handler === undefined) continue;
    all.delete(desc.localName);
    methods.push({
      service: desc.parent,
      name: desc.name,
      localName: desc.localName,
      input: desc.input,
      output: desc.output,
      streamsRequests: desc.methodKind === "client_streaming" || desc.methodKind === "bidi_streaming",
      streamsReplies: desc.methodKind === "server_streaming" || desc.methodKind === "bidi_streaming",
      copies: holdsBytes(desc.input),
      id: protoNames(options.ids?.[desc.localName], desc.input),
      handler: handler as Method["handler"],
    });
  }
  const unknown = [...all.keys()];
  if (unknown.length > 0) {
    throw new TypeError(
      `${service.typeName} has no method ${unknown.join(", ")}: its methods are ` +
        service.methods.map((method) => method.localName).join(", "),
    );
  }
  if (methods.length === 0) {
    throw new TypeError(`${service.typeName} has no handler: give it at least one`);
  }
  return methods;
}

/** Paths of fields by their names in the contract, also where they were named as in TypeScript. */
function protoNames(paths: string | readonly string[] | undefined, message: DescMessage): string[] {
  const list = paths === undefined ? [] : typeof paths === "string" ? [paths] : paths;
  return list.map((path) => {
    let at: DescMessage | undefined = message;
    return path
      .split(".")
      .map((part) => {
        const field = at?.fields.find((it) => it.name === part || it.localName === part);
        at = field?.message;
        return field?.name ?? part;
      })
      .join(".");
  });
}

function duration(ms: number): MessageShape<typeof DurationSchema> {
  const seconds = Math.floor(ms / 1000);
  return create(DurationSchema, { seconds: BigInt(seconds), nanos: (ms - seconds * 1000) * 1e6 });
}
