/** What a handler is given beside its request. */

import { fromBinary, type DescMessage, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { packed } from "./any.js";
import type { Method } from "./component.js";
import type { Entity } from "./entity.js";
import { Failure, Code } from "./failure.js";
import { Metadata } from "./metadata.js";
import type { Command, Effect, FailureFrame, Timer } from "./protocol/frames.js";
import type { Requests } from "./streams.js";
import type { Target } from "./target.js";

/** What {@link Context.forward} gives, to be returned by the handler. */
export class Forward {
  /** @internal */
  constructor(readonly target: Target) {}
}

/** When an effect runs. */
export interface EffectOptions {
  /** Whether the caller waits until the effect has ended. Not together with `after`. */
  wait?: boolean;
  /** How many milliseconds later it runs. */
  after?: number;
}

/** How long a call may take. */
export interface CallOptions {
  /** In how many milliseconds the answer is of no use any more; Firn decides if unset. */
  timeout?: number;
}

/** What carries calls through Firn: the connection. */
export interface Caller {
  /** Rejects with {@link Failure}. */
  call(
    target: Target,
    command: number,
    timeoutMs: number,
    context: Context | undefined,
  ): Promise<Uint8Array>;
}

/** A command that is being handled. Every kind of component has its own, with more in it. */
export class Context {
  /** @internal */
  _metadata: Metadata | undefined;
  /** @internal */
  _replyMetadata: Metadata | undefined;
  /** @internal */
  _effects: Effect[] | undefined;
  /** @internal */
  _timers: Timer[] | undefined;
  /** @internal The command was answered: nothing of what the handler still does counts. */
  _isOver = false;
  /** @internal */
  _isCancelled = false;
  /** @internal Whether it has called through Firn: then calls may have to be given up with it. */
  _hasCalled = false;
  /** @internal */
  _controller: AbortController | undefined;
  /** @internal What is to be told at once that the command is cancelled. */
  _onCancel: Set<() => void> | undefined;
  /** @internal The requests, where they are streamed. */
  _requests: Requests<unknown> | undefined;
  /** @internal How many replies may be sent, where they are streamed. */
  _replyCredit = 0;
  /** @internal Lets on a reply that waits for credit. */
  _onCredit: (() => void) | undefined;

  /** @internal */
  constructor(
    /** @internal */ readonly _caller: Caller,
    /** @internal */ readonly _method: Method,
    /** @internal */ readonly _command: Command,
    /** @internal The time by `performance.now()`. */ readonly _receivedAt: number,
    /** @internal */ readonly _entity: Entity | undefined,
  ) {}

  /** The headers of the request, as far as the component asks for them with `headers`. */
  get metadata(): Metadata {
    this._metadata ??= Metadata.decode(this._command.metadata);
    return this._metadata;
  }

  /** The headers of the reply. */
  get replyMetadata(): Metadata {
    this._replyMetadata ??= new Metadata();
    return this._replyMetadata;
  }

  /** How many milliseconds are left until nobody waits for the answer any more. */
  get remaining(): number {
    const { timeoutMs } = this._command;
    if (timeoutMs === 0) return Number.POSITIVE_INFINITY;
    return Math.max(0, this._receivedAt + timeoutMs - performance.now());
  }

  /** Aborted when the answer is of no use any more: the caller has gone, or the entity is closed. */
  get cancelled(): AbortSignal {
    if (this._controller === undefined) {
      this._controller = new AbortController();
      if (this._isCancelled) this._controller.abort(cancellation());
    }
    return this._controller.signal;
  }

  /** Lets another method answer: `return context.forward(target)`. */
  forward(target: Target): Forward {
    return new Forward(target);
  }

  /** Calls a method once the decision is durable. Its answer goes nowhere. */
  effect(target: Target, options: EffectOptions = {}): void {
    this._alive();
    const { wait = false, after } = options;
    if (wait && after !== undefined) {
      throw new TypeError("an effect cannot have both: leave out wait, or after");
    }
    const delayMs = after === undefined ? undefined : wholeMs(after, "after");
    this._effects ??= [];
    this._effects.push({ kind: "call", target: target.frame(), wait, delayMs });
  }

  /** Sends a message to a topic once the decision is durable. */
  publish<D extends DescMessage>(
    topic: string,
    schema: D,
    message: MessageInitShape<D>,
    metadata?: Metadata,
  ): void {
    this._alive();
    this._effects ??= [];
    this._effects.push({
      kind: "publish",
      topic,
      message: packed(schema, message as object),
      metadata: metadata?.frame(),
    });
  }

  /**
   * Calls a method through Firn, on behalf of this command, and gives its reply.
   *
   * Rejects with {@link Failure}: that of the method; UNAVAILABLE if what this handler has seen does
   * not become durable, or the connection ends; FAILED_PRECONDITION if the call would wait for
   * itself; CANCELLED if this command was cancelled.
   */
  call<O extends DescMessage>(target: Target<O>, options: CallOptions = {}): Promise<MessageShape<O>> {
    this._alive();
    const timeoutMs = options.timeout === undefined ? 0 : Math.max(1, wholeMs(options.timeout, "timeout"));
    const reply = this._caller
      .call(target, this._command.id, timeoutMs, this)
      .then((bytes) => fromBinary(target.output, bytes));
    // A handler may end without waiting for it: then nobody looks at its failure.
    reply.catch(() => {});
    return reply;
  }

  /** @internal */
  _alive(): void {
    if (this._isOver) {
      throw new Error("the command was answered already: await what the handler does before it returns");
    }
  }

  /** @internal */
  _cancel(): void {
    if (this._isCancelled) return;
    this._isCancelled = true;
    this._controller?.abort(cancellation());
    this._onCredit?.();
    if (this._onCancel !== undefined) for (const tell of [...this._onCancel]) tell();
  }
}

/** A command of an entity that has timers. */
export class EntityContext extends Context {
  /** The id of the entity. */
  get entityId(): string {
    return this._entity!.id;
  }

  /** The version of the state that the command found. */
  get version(): number {
    return this._entity!.version;
  }

  /**
   * Sets a timer of this entity, in place of one of the same name: after so many milliseconds Firn
   * calls a method of the entity's own component, with a request that names this entity.
   */
  timer(name: string, after: number, target: Target, options: { repeat?: boolean } = {}): void {
    this._alive();
    const { typeName } = this._method.service;
    if (target.service !== typeName) {
      throw new TypeError(
        `timer ${name} calls ${target.service}: it has to be a method of ${typeName}; ` +
          "use effect with after for other components",
      );
    }
    this._timers ??= [];
    const set = {
      afterMs: wholeMs(after, "after"),
      method: target.method,
      message: target.message,
      repeat: options.repeat ?? false,
    };
    this._timers.push({ name, set });
  }

  /** Cancels a timer of this entity, if it is set. */
  cancelTimer(name: string): void {
    this._alive();
    this._timers ??= [];
    this._timers.push({ name, set: undefined });
  }
}

/** A command of an action. */
export class ActionContext extends Context {}

/** The failure as it travels. */
export function failureFrame(failure: Failure): FailureFrame {
  return { code: failure.code, message: failure.message, details: [...failure.details] };
}

export function cancellation(): Failure {
  return new Failure(Code.Cancelled, "nobody waits for the answer any more");
}

/** Milliseconds as a whole number that is not negative. */
export function wholeMs(value: number, name: string): number {
  if (!(value >= 0 && value <= Number.MAX_SAFE_INTEGER)) {
    throw new RangeError(`${name} has to be a number of milliseconds that is not negative, not ${value}`);
  }
  return Math.round(value);
}
