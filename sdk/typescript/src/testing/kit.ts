/**
 * The unit-test kit: plays Firn to one entity or action, in memory.
 *
 * It goes through the SDK's own session, so that handlers run as they do behind Firn. The kit keeps
 * what Firn would store, and can let the function load it again.
 */

import {
  create,
  fromBinary,
  toBinary,
  type DescMessage,
  type DescMethod,
  type Message,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import type { Any, Duration } from "@bufbuild/protobuf/wkt";
import { byName, unpacked } from "../any.js";
import type { Component } from "../component.js";
import { Failure, validCode } from "../failure.js";
import {
  FirnBatchSchema,
  FunctionBatchSchema,
  HelloSchema,
  Model,
  type Decision,
  DeltaSchema,
  type FirnFrameSchema,
  type FunctionFrame,
  type Metadata as MetadataMessage,
  type MetadataSchema,
  type Target as TargetMessage,
} from "../generated/firn/v1/function_pb.js";
import { consoleLogger, type Logger } from "../log.js";
import { Metadata } from "../metadata.js";
import type { VoteStore } from "../replicated/simple.js";
import { Journal, Root, type Store } from "../replicated/store.js";
import { Session } from "../session.js";
import { encode, type AnyService } from "../target.js";
import { contractOf } from "../contract.js";

type FirnFrameInit = NonNullable<MessageInitShape<typeof FirnFrameSchema>["frame"]>;
type DeltaMessage = MessageShape<typeof DeltaSchema>;

/** The methods of a service of certain kinds. */
type MethodsOf<S extends AnyService, Kind> = {
  [K in keyof S["method"]]: S["method"][K]["methodKind"] extends Kind ? K : never;
}[keyof S["method"]];

type Input<S extends AnyService, K extends keyof S["method"]> = S["method"][K]["input"];
type Output<S extends AnyService, K extends keyof S["method"]> = S["method"][K]["output"];

/** Options of a kit. */
export interface KitOptions {
  /** The id of the entity; `"test"` if unset. */
  id?: string;
  /** Where the function logs; the console if unset. */
  logger?: Logger;
}

/** A method that a handler has named: in a forward, an effect, or a timer. */
export class SeenTarget {
  /** @internal */
  constructor(
    /** The full name of the service. */
    readonly service: string,
    /** The name of the method. */
    readonly method: string,
    private readonly message: Uint8Array,
  ) {}

  /** The request, as a message of this type. */
  request<D extends DescMessage>(schema: D): MessageShape<D> {
    return fromBinary(schema, this.message);
  }
}

/** An effect that a handler has caused. */
export type SeenEffect =
  | { kind: "call"; target: SeenTarget; wait: boolean; afterMs: number | undefined }
  | { kind: "publish"; topic: string; message: Any; metadata: Metadata };

/** A timer that a handler has set; `cancelled` if it has cancelled it. */
export type SeenTimer =
  | { name: string; cancelled: false; afterMs: number; target: SeenTarget; repeat: boolean }
  | { name: string; cancelled: true };

/** What became of a command. */
export interface Outcome<O extends DescMessage = DescMessage> {
  /** The reply; an empty message if the handler gave none. Undefined if it failed or forwarded. */
  reply: MessageShape<O> | undefined;
  /** The failure that the caller gets. */
  failure: Failure | undefined;
  /** Which method answers instead. */
  forward: SeenTarget | undefined;
  /** The headers of the reply. */
  metadata: Metadata;
  /** The events of the command. */
  events: Message[];
  /** The snapshot that came with the events. */
  snapshot: Message | undefined;
  /** Whether the command deleted the entity. */
  deleted: boolean;
  /** The effects of the command, in order. */
  effects: SeenEffect[];
  /** The timers that the command has set or cancelled, in order. */
  timers: SeenTimer[];
}

/** A streamed call that is under way. */
export interface StreamedCall<I extends DescMessage, O extends DescMessage> {
  /** Sends a request, where requests are streamed. */
  send(request: MessageInitShape<I>): void;
  /** Says that there are no more requests. */
  end(): void;
  /** The caller goes. */
  cancel(): void;
  /** The replies, as they come. */
  readonly replies: AsyncIterable<MessageShape<O>>;
  /** How the call ended. */
  readonly outcome: Promise<Outcome<O>>;
}

interface Open {
  output: DescMessage;
  replies: Message[];
  wake: () => void;
  isOver: boolean;
  resolve: (outcome: Outcome) => void;
}

/** Makes a kit for a component. */
export function kit<S extends AnyService>(component: Component<S>, options: KitOptions = {}): Kit<S> {
  return new Kit(component, options);
}

/** Plays Firn to one entity, or to an action. Made by {@link kit}. */
export class Kit<S extends AnyService = AnyService> {
  /** All events of the entity that would be stored, in order. */
  readonly events: Message[] = [];
  /** The tags of an actor. */
  tags: Readonly<Record<string, string>> = {};
  /** The version of the state. */
  version = 0;
  /** @internal Told of every change that the entity makes. */
  onUpdate: ((delta: DeltaMessage | undefined) => void) | undefined;

  readonly #session: Session;
  readonly #types: ReadonlyMap<string, DescMessage>;
  readonly #model: Model;
  readonly #id: string;
  readonly #open = new Map<bigint, Open>();
  readonly #answers = new Map<string, (request: Uint8Array) => Promise<Uint8Array>>();
  #lastCommand = 0n;
  #incarnation = 0n;
  #isOpen = false;
  #state: Any | undefined;
  #snapshot: { message: Any; version: number } | undefined;
  #packedEvents: Any[] = [];
  /** What Firn would hold of replicated data. */
  #data: Store | undefined;

  /** @internal */
  constructor(
    private readonly component: Component<S>,
    { id = "test", logger = consoleLogger }: KitOptions,
  ) {
    this.#id = id;
    this.#types = byName(component.messages);
    this.#model = component.declaration().model;
    const hello = create(HelloSchema, { contract: contractOf([component]) });
    this.#session = new Session({
      components: [component],
      hello,
      incarnationsMax: 1,
      log: logger,
      send: (batch, taken) => {
        for (const frame of fromBinary(FunctionBatchSchema, batch).frames) this.#take(frame.frame);
        taken();
      },
    });
    this.#send({
      case: "welcome",
      value: { calls: 1024, callMessages: 1024, frameBytes: 1n << 24n, chunkBytes: 1 << 24 },
    });
  }

  /** The state that would be stored: of value entities and actors as set, otherwise as folded. */
  get state(): Message | undefined {
    if (this.#model === Model.EVENT_SOURCED) {
      return this.#session.entity(Number(this.#incarnation))?.held as Message | undefined;
    }
    return this.#state && unpacked(this.#state, this.#types);
  }

  /** Calls a unary method, and gives what became of it. */
  call<K extends MethodsOf<S, "unary"> & string>(
    method: K,
    request: MessageInitShape<Input<S, K>>,
    metadata?: Metadata,
  ): Promise<Outcome<Output<S, K>>> {
    return this.#begin(method, request, metadata).outcome as Promise<Outcome<Output<S, K>>>;
  }

  /** Begins a call of a method that streams. `request` is that of a method that streams replies only. */
  stream<K extends MethodsOf<S, "server_streaming" | "client_streaming" | "bidi_streaming"> & string>(
    method: K,
    request?: MessageInitShape<Input<S, K>>,
    metadata?: Metadata,
  ): StreamedCall<Input<S, K>, Output<S, K>> {
    return this.#begin(method, request, metadata) as unknown as StreamedCall<Input<S, K>, Output<S, K>>;
  }

  /** Says what calls of a method through Firn are answered; the function may throw {@link Failure}. */
  answer<M extends DescMethod>(
    method: M,
    answer: (
      request: MessageShape<M["input"]>,
    ) => MessageInitShape<M["output"]> | Promise<MessageInitShape<M["output"]>>,
  ): this {
    this.#answers.set(`${method.parent.typeName}/${method.name}`, async (request) =>
      encode(method.output, await answer(fromBinary(method.input, request) as MessageShape<M["input"]>)),
    );
    return this;
  }

  /**
   * Lets the function forget the entity: the next command brings what is stored, and the function
   * makes its state of that. A test that then finds another state has found a handler that changes
   * state without `set` or `emit`.
   */
  reload(): void {
    this.#send({ case: "close", value: { incarnation: this.#incarnation } });
    this.#isOpen = false;
  }

  /** @internal Tells a replicated entity what others did; undefined if it was deleted. */
  change(delta: DeltaMessage | undefined): void {
    this.#data = this.#changed(delta);
    if (!this.#isOpen) return;
    const change =
      delta === undefined
        ? ({ case: "deleted", value: {} } as const)
        : ({ case: "delta", value: delta } as const);
    this.#send({ case: "change", value: { incarnation: this.#incarnation, change } });
  }

  #begin(
    localName: string,
    request: object | undefined,
    metadata: Metadata | undefined,
  ): StreamedCall<DescMessage, DescMessage> {
    const index = this.component.methods.findIndex((it) => it.localName === localName);
    const method = this.component.methods[index];
    if (method === undefined) throw new TypeError(`the component does not handle ${localName}`);
    const id = ++this.#lastCommand;
    const open: Open = { output: method.output, replies: [], wake: () => {}, isOver: false, resolve: () => {} };
    const outcome = new Promise<Outcome>((resolve) => {
      open.resolve = resolve;
    });
    this.#open.set(id, open);
    const { model, opening } = { model: this.#model, opening: this.#opening() };
    this.#send({
      case: "command",
      value: {
        id,
        method: index,
        incarnation: model === Model.ACTION ? 0n : this.#incarnation,
        message: method.streamsRequests ? new Uint8Array() : encode(method.input, request ?? {}),
        ...(opening === undefined ? {} : { opening }),
        ...(metadata === undefined ? {} : { metadata: metadataMessage(metadata) }),
      },
    });
    return {
      outcome,
      replies: repliesOf(open),
      send: (it) => this.#send({ case: "message", value: { command: id, message: encode(method.input, it) } }),
      end: () => this.#send({ case: "message", value: { command: id, end: true } }),
      cancel: () => this.#send({ case: "cancel", value: { id } }),
    };
  }

  /** What the first command of an incarnation brings; undefined for the others. */
  #opening(): Extract<FirnFrameInit, { case: "command" }>["value"]["opening"] {
    if (this.#model === Model.ACTION || this.#isOpen) return undefined;
    this.#isOpen = true;
    this.#incarnation++;
    const opening = { entityId: this.#id, version: BigInt(this.version) };
    switch (this.#model) {
      case Model.VALUE:
        return this.#state === undefined
          ? opening
          : { ...opening, state: { case: "value", value: this.#state } };
      case Model.ACTOR: {
        const value = { tags: { ...this.tags }, ...(this.#state === undefined ? {} : { state: this.#state }) };
        return { ...opening, state: { case: "actor", value } };
      }
      case Model.EVENT_SOURCED: {
        const { message, version = 0 } = this.#snapshot ?? { message: undefined };
        const value = {
          snapshotVersion: BigInt(version),
          events: this.#packedEvents.slice(version),
          ...(message === undefined ? {} : { snapshot: message }),
        };
        return { ...opening, state: { case: "history", value } };
      }
      default: {
        const data = this.#data && create(DeltaSchema, { delta: this.#data.whole() });
        return data === undefined ? opening : { ...opening, state: { case: "data", value: data } };
      }
    }
  }

  /** Replicated data with a change; undefined if it was deleted. */
  #changed(delta: DeltaMessage | undefined): Store | undefined {
    if (delta?.delta.case === undefined) return undefined;
    const data = this.#data ?? this.component.emptyStore();
    data?.apply(delta.delta);
    return data;
  }

  /** The same after a change of its own: of a vote, Firn knows what it does to the count. */
  #updated(delta: DeltaMessage | undefined): Store | undefined {
    if (delta?.delta.case !== "vote") return this.#changed(delta);
    const data = (this.#data ?? this.component.emptyStore()) as VoteStore;
    data.vote(new Journal(new Root(data)), delta.delta.value.own);
    return data;
  }

  #send(frame: FirnFrameInit): void {
    const batch = toBinary(FirnBatchSchema, create(FirnBatchSchema, { frames: [{ frame }] }));
    this.#session.receive(Buffer.from(batch));
  }

  #take(frame: FunctionFrame["frame"]): void {
    switch (frame.case) {
      case "decision":
        this.#decided(frame.value);
        break;
      case "reply": {
        const open = this.#open.get(frame.value.command);
        open?.replies.push(fromBinary(open.output, frame.value.message));
        open?.wake();
        break;
      }
      case "closed":
        if (frame.value.incarnation === this.#incarnation) this.#isOpen = false;
        break;
      case "call":
        void this.#called(frame.value.id, frame.value.target!);
        break;
    }
  }

  #decided(decision: Decision): void {
    const open = this.#open.get(decision.command);
    if (open === undefined) return;
    this.#open.delete(decision.command);
    this.#store(decision);
    open.isOver = true;
    open.wake();
    open.resolve(this.#outcome(decision, open.output));
  }

  /** Stores what Firn would store. */
  #store({ mutation, version, answer }: Decision): void {
    const it = mutation?.mutation;
    if (answer.case === "failure" || it === undefined) return;
    this.version = Number(version);
    switch (it.case) {
      case "set":
        this.#state = it.value;
        break;
      case "actor":
        this.#state = it.value.state;
        this.tags = it.value.tags;
        break;
      case "append":
        this.#packedEvents.push(...it.value.events);
        this.events.push(...it.value.events.map((event) => unpacked(event, this.#types)));
        if (it.value.snapshot !== undefined) {
          this.#snapshot = { message: it.value.snapshot, version: this.version };
        }
        break;
      case "update":
        this.#data = this.#updated(it.value.delta);
        this.onUpdate?.(it.value.delta);
        break;
      case "delete":
        this.#state = undefined;
        this.tags = {};
        this.events.length = 0;
        this.#packedEvents = [];
        this.#snapshot = undefined;
        this.#data = undefined;
        if (this.#model === Model.REPLICATED) this.onUpdate?.(undefined);
        break;
    }
  }

  #outcome({ answer, mutation, metadata, effects, timers }: Decision, output: DescMessage): Outcome {
    const append = mutation?.mutation.case === "append" ? mutation.mutation.value : undefined;
    const failure = answer.case === "failure" ? answer.value : undefined;
    const empty = answer.case === undefined ? new Uint8Array() : undefined;
    const reply = answer.case === "reply" ? answer.value : empty;
    return {
      reply: reply && fromBinary(output, reply),
      failure: failure && new Failure(validCode(failure.code), failure.message, failure.details),
      forward: answer.case === "forward" ? seen(answer.value) : undefined,
      metadata: metadataOf(metadata),
      events: (append?.events ?? []).map((event) => unpacked(event, this.#types)),
      snapshot: append?.snapshot && unpacked(append.snapshot, this.#types),
      deleted: mutation?.mutation.case === "delete",
      effects: effects.flatMap(({ effect }): SeenEffect[] => {
        if (effect.case === "call") {
          const { target, wait, delay } = effect.value;
          return [{ kind: "call", target: seen(target!), wait, afterMs: delay && msOf(delay) }];
        }
        if (effect.case !== "publish") return [];
        const { topic, message, metadata: headers } = effect.value;
        return [{ kind: "publish", topic, message: message!, metadata: metadataOf(headers) }];
      }),
      timers: timers.map(({ name, action }): SeenTimer => {
        if (action.case !== "set") return { name, cancelled: true };
        const { after, method, message, repeat } = action.value;
        const target = new SeenTarget(this.component.service.typeName, method, message);
        return { name, cancelled: false, afterMs: after === undefined ? 0 : msOf(after), target, repeat };
      }),
    };
  }

  async #called(id: bigint, { service, method, message }: TargetMessage): Promise<void> {
    const answer = this.#answers.get(`${service}/${method}`);
    try {
      if (answer === undefined) {
        throw new Failure(12, `the test does not say what ${service}/${method} answers: use kit.answer`);
      }
      this.#send({ case: "callResult", value: { id, result: { case: "reply", value: await answer(message) } } });
    } catch (error) {
      const known = error instanceof Failure ? error : new Failure(13, String(error));
      const value = { code: known.code, message: known.message, details: [...known.details] };
      this.#send({ case: "callResult", value: { id, result: { case: "failure", value } } });
    }
  }
}

async function* repliesOf(open: Open): AsyncGenerator<Message> {
  for (;;) {
    while (open.replies.length > 0) yield open.replies.shift()!;
    if (open.isOver) return;
    await new Promise<void>((resolve) => {
      open.wake = resolve;
    });
  }
}

function seen({ service, method, message }: TargetMessage): SeenTarget {
  return new SeenTarget(service, method, message);
}

function msOf({ seconds, nanos }: Duration): number {
  return Number(seconds) * 1000 + nanos / 1e6;
}

function metadataOf(message: MetadataMessage | undefined): Metadata {
  const entries = (message?.entries ?? []).map(
    ({ key, value }): [string, string | Uint8Array] => [key, value.value ?? ""],
  );
  return new Metadata(entries);
}

function metadataMessage(metadata: Metadata): MessageInitShape<typeof MetadataSchema> {
  const entries = [...metadata].map(([key, value]) => ({
    key,
    value:
      typeof value === "string"
        ? ({ case: "text", value } as const)
        : ({ case: "binary", value } as const),
  }));
  return { entries };
}
