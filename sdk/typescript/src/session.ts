/**
 * One connection's conversation with Firn, without the connection.
 *
 * {@link Session.receive} takes what came; what is to be sent goes through the {@link Outbox}. There
 * is no socket here, so the unit-test kit and the tests drive sessions directly.
 *
 * How it works: every frame is handled as it is read. A handler that returns its reply at once is
 * answered in the same step, without a promise; one that returns a promise is answered when that is
 * settled. Commands of one incarnation wait for each other, except those of replicated entities.
 *
 * Not here: dialing ({@link Connection}), and what the models do with state (`models/`).
 */

import { fromBinary, type MessageShape } from "@bufbuild/protobuf";
import { Calls } from "./calls.js";
import type { Component, Method } from "./component.js";
import { cancellation, failureFrame, Forward, type Context } from "./context.js";
import { Entity } from "./entity.js";
import { Code, Failure } from "./failure.js";
import type { FindingSchema, FirnFrameSchema, HelloSchema, WelcomeSchema } from "./generated/firn/v1/function_pb.js";
import { Incarnations } from "./incarnations.js";
import type { CommandHook, Logger } from "./log.js";
import {
  decodeBatch,
  decodeFrame,
  writeClosed,
  writeCredit,
  writeDecision,
  writeGoodbye,
  writeHello,
  writeReply,
  type Command,
  type Decision,
  type FirnFrame,
} from "./protocol/frames.js";
import { Outbox, Subject, type Send } from "./protocol/outbox.js";
import { Transfers } from "./protocol/transfers.js";
import { DecodeError } from "./protocol/wire.js";
import { Requests } from "./streams.js";
import { encode } from "./target.js";

/** How long a handler whose caller has gone may go on before it is answered for, in milliseconds. */
export const CANCEL_GRACE_MS = 5_000;

/** What Firn says when it refuses, or warns. */
export type Finding = MessageShape<typeof FindingSchema>;

/** What a session is made of. */
export interface SessionOptions {
  components: readonly Component[];
  hello: MessageShape<typeof HelloSchema>;
  incarnationsMax: number;
  log: Logger;
  onCommand?: CommandHook | undefined;
  send: Send;
  /** Firn has taken the function. */
  onWelcome?: (welcome: MessageShape<typeof WelcomeSchema>) => void;
  /** Firn has refused the function. */
  onRefusal?: (findings: readonly Finding[]) => void;
  onNotice?: (notice: Finding, isError: boolean) => void;
}

export class Session {
  readonly calls: Calls;
  readonly #outbox: Outbox;
  readonly #components: readonly Component[];
  readonly #log: Logger;
  readonly #incarnations: Incarnations;
  readonly #transfers: Transfers;
  /** Commands that may get cancelled, messages or credit: of actions and replicated entities. */
  readonly #open = new Map<number, Context>();
  /** How many messages of a streamed call Firn may send, and how many replies the function. */
  readonly #messageWindow: number;
  #replyWindow = 16;
  #now = 0;
  #isOver = false;

  constructor(private readonly options: SessionOptions) {
    this.#components = options.components;
    this.#log = options.log;
    this.#outbox = new Outbox(options.send);
    this.#incarnations = new Incarnations(options.incarnationsMax, (it) => this.#sendClosed(it.incarnation));
    this.#transfers = new Transfers(Number(options.hello.frameBytes) || 16 * 1024 * 1024);
    this.#messageWindow = options.hello.callMessages || 16;
    this.calls = new Calls(this.#outbox);
    // R2: the first frame.
    writeHello(this.#outbox.begin(), options.hello);
    this.#outbox.end(Subject.connection, 0);
  }

  /** How many incarnations are held. */
  get incarnations(): number {
    return this.#incarnations.size;
  }

  /** What is held of an entity; for the unit-test kit. */
  entity(incarnation: number): Entity | undefined {
    return this.#incarnations.get(incarnation);
  }

  /** Takes an encoded FirnBatch. Throws {@link DecodeError}, after which nothing works any more. */
  receive(batch: Buffer): void {
    this.#now = performance.now();
    decodeBatch(batch, this.#take);
  }

  /** R90: asks Firn to begin nothing new here. */
  goodbye(): void {
    writeGoodbye(this.#outbox.begin());
    this.#outbox.end(Subject.connection, 0);
  }

  /** The connection has ended: nothing of it counts any more (R7). */
  end(why: Failure): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#outbox.stop();
    this.calls.end(why);
    for (const context of [...this.#open.values()]) this.#abandon(context, why);
    this.#open.clear();
    for (const entity of this.#incarnations.clear()) this.#drop(entity, why);
  }

  #take = (frame: FirnFrame): void => {
    switch (frame.kind) {
      case "command":
        this.#takeCommand(frame);
        break;
      case "message":
        this.#takeMessage(frame.command, frame.message, frame.end);
        break;
      case "callResult":
        this.calls.result(frame.id, frame.reply, frame.failure);
        break;
      case "change":
        this.#takeChange(frame.incarnation, frame.delta);
        break;
      case "close":
        this.#close(frame.incarnation);
        break;
      case "cancel":
        this.#cancel(frame.id);
        break;
      case "credit":
        this.#takeCredit(frame.command, frame.amount);
        break;
      case "chunk": {
        const whole = this.#transfers.add(frame);
        if (whole === "refused") {
          this.#log.error("a frame of Firn is larger than Hello.frame_bytes: it is thrown away", {
            code: "FIRN-3039",
            transfer: frame.transfer,
          });
        } else if (whole !== undefined) {
          const inner = decodeFrame(whole);
          if (inner?.kind === "chunk") throw new DecodeError("a chunk within chunks");
          if (inner !== undefined) this.#take(inner);
        }
        break;
      }
      case "rare":
        this.#takeRare(frame.frame);
        break;
      case "goodbye":
        this.calls.goodbye(); // R91
        break;
    }
  };

  #takeRare(
    frame: Extract<
      MessageShape<typeof FirnFrameSchema>["frame"],
      { case: "welcome" | "refusal" | "notice" }
    >,
  ): void {
    if (frame.case === "welcome") {
      const { frameBytes, chunkBytes, callMessages, calls } = frame.value;
      if (frameBytes > 0n) this.#outbox.frameBytesMax = Number(frameBytes);
      if (chunkBytes > 0) this.#outbox.chunkBytes = chunkBytes;
      this.#replyWindow = callMessages;
      this.calls.grant(calls);
      this.options.onWelcome?.(frame.value);
    } else if (frame.case === "refusal") {
      this.options.onRefusal?.(frame.value.findings);
    } else if (frame.value.finding !== undefined) {
      this.options.onNotice?.(frame.value.finding, frame.value.severity === 2);
    }
  }

  // Commands ------------------------------------------------------------------------------------

  #takeCommand(command: Command): void {
    const component = this.#components[command.component];
    const method = component?.methods[command.method];
    if (component === undefined || method === undefined) {
      const text = `the function has no component ${command.component} with a method ${command.method}`;
      this.#sendFailure(command, new Failure(Code.Unimplemented, text), 0);
      return;
    }
    if (component.isAction) {
      this.#handle(component, method, command, undefined); // R55
      return;
    }
    const entity = this.#entityOf(component, command);
    if (entity === undefined) return;
    if (component.isSerial && !entity.isIdle) {
      entity.wait(command); // R21
      return;
    }
    this.#incarnations.busy(entity);
    this.#handle(component, method, command, entity);
  }

  /** The incarnation of a command; undefined if the command is done with. */
  #entityOf(component: Component, command: Command): Entity | undefined {
    const { incarnation, opening } = command;
    const held = this.#incarnations.get(incarnation);
    if (held !== undefined) return held;
    if (opening === undefined) return undefined; // R42: it crossed our Closed
    const entity = new Entity(incarnation, component, opening.entityId, opening.version);
    try {
      component.open(entity, opening);
    } catch (cause) {
      // R43
      this.#log.error("the state of an entity cannot be made of what is stored", {
        service: component.service.typeName,
        entityId: entity.id,
        error: cause,
      });
      const failure = new Failure(Code.Internal, "the function cannot read the state of the entity");
      this.#sendFailure(command, failure, opening.version);
      this.#sendClosed(incarnation);
      return undefined;
    }
    this.#incarnations.add(entity); // R44
    return entity;
  }

  #handle(component: Component, method: Method, command: Command, entity: Entity | undefined): void {
    const context = component.context(this.calls, method, command, this.#now, entity);
    let result: unknown;
    try {
      const request = method.streamsRequests
        ? this.#requests(context)
        : decodedRequest(method, command.message);
      result = method.handler(request as never, context as never);
    } catch (error) {
      this.#fail(context, error);
      return;
    }
    if (method.streamsReplies) {
      this.#begun(context);
      context._replyCredit = this.#replyWindow;
      void this.#pump(context, result as AsyncIterable<object>);
    } else if (isThenable(result)) {
      this.#begun(context);
      result.then(
        (reply) => this.#answer(context, reply),
        (error: unknown) => this.#fail(context, error),
      );
    } else {
      this.#answer(context, result);
    }
  }

  /** The handler goes on while other frames come. */
  #begun(context: Context): void {
    const { _entity: entity, _command: command } = context;
    if (entity === undefined || !entity.component.isSerial) this.#open.set(command.id, context);
    entity?.begun(context);
  }

  /** The handler has returned: its decision goes to Firn. */
  #answer(context: Context, result: unknown): void {
    if (context._isOver) return;
    const { _method: method, _command: command, _entity: entity } = context;
    const decision = emptyDecision(command.id);
    try {
      if (result instanceof Forward) decision.forward = result.target.frame();
      else if (result !== undefined && result !== null) decision.reply = encode(method.output, result);
      decision.metadata = context._replyMetadata?.frame();
      decision.effects = context._effects;
      decision.timers = context._timers;
      this.#componentOf(command).decide(context, decision);
    } catch (error) {
      this.#fail(context, error);
      return;
    }
    writeDecision(this.#outbox.begin(), decision);
    const tooLarge = this.#outbox.end(subjectOf(command), command.id);
    if (tooLarge !== undefined) {
      // R82
      const text = `the decision has ${tooLarge} bytes, more than the ${this.#outbox.frameBytesMax} that Firn takes`;
      this.#fail(context, new Failure(Code.ResourceExhausted, text));
      return;
    }
    this.#componentOf(command).commit(context);
    this.#over(context, 0);
    if (entity !== undefined) this.#next(entity);
  }

  /** The handler has failed: its failure goes to Firn, and nothing else of it (R23). */
  #fail(context: Context, error: unknown): void {
    if (context._isOver) return;
    const { _method: method, _command: command, _entity: entity } = context;
    const failure = context._isCancelled ? cancellation() : this.#failureOf(error, method, entity);
    this.#sendFailure(command, failure, entity?.version ?? 0);
    const ahead = this.#componentOf(command).rollback(context);
    this.#over(context, failure.code);
    if (entity === undefined) return;
    if (ahead) this.#letGo(entity);
    else this.#next(entity);
  }

  #failureOf(error: unknown, method: Method, entity: Entity | undefined): Failure {
    if (error instanceof Failure) return error;
    const fields = { service: method.service.typeName, method: method.name, entityId: entity?.id, error };
    this.#log.error("a handler failed", fields);
    return new Failure(Code.Internal, `the function failed in ${method.service.typeName}/${method.name}`);
  }

  #sendFailure(command: Command, failure: Failure, version: number): void {
    const decision = emptyDecision(command.id);
    decision.failure = failureFrame(failure);
    decision.version = version; // R24: as it was
    writeDecision(this.#outbox.begin(), decision);
    if (this.#outbox.end(subjectOf(command), command.id) === undefined) return;
    decision.failure.message = decision.failure.message.slice(0, 1024);
    decision.failure.details = [];
    writeDecision(this.#outbox.begin(), decision);
    this.#outbox.end(subjectOf(command), command.id);
  }

  /** The command was answered, or needs no answer. */
  #over(context: Context, code: number): void {
    const { _command: command, _method: method } = context;
    context._isOver = true;
    context._entity?.over(context);
    context._requests?.end();
    this.#open.delete(command.id);
    this.calls.release(context);
    if (this.options.onCommand === undefined) return;
    const ms = performance.now() - context._receivedAt;
    try {
      this.options.onCommand({ service: method.service.typeName, method: method.name, code, ms });
    } catch (error) {
      this.#log.error("onCommand failed", { error });
    }
  }

  /** Goes on with the commands of an entity that waited (R21). */
  #next(entity: Entity): void {
    if (entity.isDraining) return; // the loop below goes on
    entity.isDraining = true;
    while (!entity.isRunning) {
      const command = entity.next();
      if (command === undefined) break;
      this.#handle(entity.component, entity.component.methods[command.method]!, command, entity);
    }
    entity.isDraining = false;
    if (entity.isIdle) this.#incarnations.idle(entity);
  }

  // Incarnations --------------------------------------------------------------------------------

  /** R41 */
  #close(incarnation: number): void {
    const entity = this.#incarnations.remove(incarnation);
    if (entity !== undefined) this.#drop(entity, cancellation());
    this.#sendClosed(incarnation);
  }

  /**
   * R43. Commands that wait are Firn's to send again, as if they had crossed the Closed on their way
   * (R42): the function has not begun them.
   */
  #letGo(entity: Entity): void {
    this.#incarnations.remove(entity.incarnation);
    this.#drop(entity, cancellation());
    this.#sendClosed(entity.incarnation);
  }

  /** Ends what still runs of an incarnation that is over. */
  #drop(entity: Entity, why: Failure): void {
    for (const context of entity.drop()) this.#abandon(context, why);
  }

  /** Nothing of what the handler still does counts. */
  #abandon(context: Context, why: Failure): void {
    if (context._isOver) return;
    const requests = context._requests;
    requests?.fail(why);
    this.#over(context, why.code);
    context._cancel();
  }

  #sendClosed(incarnation: number): void {
    writeClosed(this.#outbox.begin(), incarnation);
    this.#outbox.end(Subject.incarnation(incarnation), 0);
  }

  #takeChange(incarnation: number, delta: Uint8Array | undefined): void {
    const entity = this.#incarnations.get(incarnation);
    if (entity === undefined) return; // it crossed our Closed
    try {
      entity.component.change(entity, delta); // R52
    } catch (error) {
      const service = entity.component.service.typeName;
      this.#log.error("a change of an entity cannot be applied", { service, entityId: entity.id, error });
      this.#letGo(entity);
    }
  }

  // Streamed calls ------------------------------------------------------------------------------

  #requests(context: Context): Requests<unknown> {
    const { id } = context._command;
    const subject = subjectOf(context._command);
    context._requests = new Requests(this.#messageWindow, (amount) => {
      if (context._isOver) return;
      writeCredit(this.#outbox.begin(), id, amount); // R61
      this.#outbox.end(subject, 0);
    });
    return context._requests;
  }

  #takeMessage(id: number, message: Uint8Array | undefined, end: boolean): void {
    const context = this.#open.get(id);
    const requests = context?._requests;
    if (context === undefined || requests === undefined) return; // it was answered already
    if (message !== undefined) {
      let request: unknown;
      try {
        request = decodedRequest(context._method, message);
      } catch (error) {
        requests.fail(error as Failure);
        this.#fail(context, error);
        return;
      }
      if (!requests.push(request)) {
        const failure = new Failure(Code.Internal, "FIRN-3036: Firn sent a message that it had no credit for");
        requests.fail(failure);
        this.#fail(context, failure);
        return;
      }
    }
    if (end) requests.end(); // R60
  }

  #takeCredit(command: number, amount: number): void {
    if (command === 0) {
      this.calls.grant(amount); // R73
      return;
    }
    const context = this.#open.get(command);
    if (context === undefined) return;
    context._replyCredit += amount; // R61
    context._onCredit?.();
  }

  /** R62 */
  #cancel(id: number): void {
    const context = this.#open.get(id);
    if (context === undefined) return;
    context._requests?.fail(cancellation());
    context._cancel();
    this.calls.release(context);
    const timer = setTimeout(() => this.#fail(context, cancellation()), CANCEL_GRACE_MS);
    timer.unref();
  }

  /** Sends what a handler that streams replies gives, as fast as Firn takes it. */
  async #pump(context: Context, replies: AsyncIterable<object> | Iterable<object>): Promise<void> {
    try {
      for await (const reply of replies) {
        while (context._replyCredit === 0 && !context._isCancelled) await creditOf(context);
        if (context._isOver || context._isCancelled) break; // leaving the loop ends the handler
        context._replyCredit--;
        this.#reply(context, reply);
      }
    } catch (error) {
      this.#fail(context, error);
      return;
    }
    this.#answer(context, undefined); // R60
  }

  #reply(context: Context, reply: object): void {
    const { _command: command, _method: method } = context;
    const message = encode(method.output, reply);
    // Headers of the first reply count; effects come with the next reply.
    const metadata = context._replyMetadata?.frame();
    writeReply(this.#outbox.begin(), command.id, message, metadata, context._effects);
    context._replyMetadata = undefined;
    context._effects = undefined;
    const tooLarge = this.#outbox.end(subjectOf(command), command.id);
    if (tooLarge !== undefined) {
      const text = `a reply has ${tooLarge} bytes, more than the ${this.#outbox.frameBytesMax} that Firn takes`;
      throw new Failure(Code.ResourceExhausted, text); // R82
    }
  }

  #componentOf(command: Command): Component {
    return this.#components[command.component]!;
  }
}

function decodedRequest(method: Method, message: Uint8Array): unknown {
  const bytes = method.copies ? new Uint8Array(message) : message;
  try {
    return fromBinary(method.input, bytes, IGNORE_UNKNOWN);
  } catch (cause) {
    const text = `the request is no ${method.input.typeName}: ${(cause as Error).message}`;
    throw new Failure(Code.InvalidArgument, text, [], { cause });
  }
}

const IGNORE_UNKNOWN = { readUnknownFields: false };

/** Waits until a reply may be sent, or nobody waits for one. */
function creditOf(context: Context): Promise<void> {
  return new Promise((resolve) => {
    context._onCredit = () => {
      context._onCredit = undefined;
      resolve();
    };
  });
}

/** What frames about a command are about (R81). */
function subjectOf(command: Command): number {
  return command.incarnation === 0
    ? Subject.command(command.id)
    : Subject.incarnation(command.incarnation);
}

function emptyDecision(command: number): Decision {
  return {
    command,
    reply: undefined,
    forward: undefined,
    failure: undefined,
    metadata: undefined,
    mutation: undefined,
    effects: undefined,
    timers: undefined,
    version: 0,
  };
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
}
