/** Calls through Firn on one connection (section 7 of the protocol). */

import { cancellation, type Caller, type Context } from "./context.js";
import { Code, Failure, validCode } from "./failure.js";
import { writeCall, writeCancel, type FailureFrame } from "./protocol/frames.js";
import { Subject, type Outbox } from "./protocol/outbox.js";
import type { Target } from "./target.js";
import { create } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";

interface Call {
  target: Target;
  command: number;
  timeoutMs: number;
  context: Context | undefined;
  /** Unset until there is credit to send it. */
  id: number | undefined;
  resolve: (reply: Uint8Array) => void;
  reject: (failure: Failure) => void;
}

export class Calls implements Caller {
  #credit = 0;
  #lastId = 0;
  #open = new Map<number, Call>();
  #waiting: Call[] = [];
  #ended: Failure | undefined;
  #isLeaving = false;

  constructor(private readonly outbox: Outbox) {}

  call(
    target: Target,
    command: number,
    timeoutMs: number,
    context: Context | undefined,
  ): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const call = { target, command, timeoutMs, context, id: undefined, resolve, reject };
      if (context !== undefined) context._hasCalled = true;
      if (this.#ended !== undefined) reject(this.#ended);
      else if (context?._isCancelled) reject(cancellation());
      else if (context === undefined && this.#isLeaving) reject(leaving());
      else if (this.#credit > 0) this.#send(call);
      else this.#waiting.push(call); // R73
    });
  }

  /** Firn lets the function have more calls open (R73). */
  grant(amount: number): void {
    this.#credit += amount;
    this.#sendWaiting();
  }

  /** Firn is to stop: nothing new may begin, but what is open may call (R91). */
  goodbye(): void {
    this.#isLeaving = true;
  }

  result(id: number, reply: Uint8Array | undefined, failure: FailureFrame | undefined): void {
    const call = this.#open.get(id);
    if (call === undefined) return;
    this.#open.delete(id);
    this.#credit++; // R73: each result gives one back
    if (failure !== undefined) call.reject(failed(failure));
    else call.resolve(new Uint8Array(reply ?? []));
    this.#sendWaiting();
  }

  /** The command of these calls is over: nobody waits for them. Their results still come (R74). */
  release(context: Context): void {
    if (!context._hasCalled) return;
    this.#waiting = this.#waiting.filter((call) => {
      if (call.context === context) call.reject(cancellation());
      return call.context !== context;
    });
    for (const call of this.#open.values()) {
      if (call.context !== context) continue;
      call.context = undefined;
      call.reject(cancellation());
      writeCancel(this.outbox.begin(), call.id!); // R74
      this.outbox.end(Subject.call(call.id!), 0);
    }
  }

  /** The connection has ended. */
  end(why: Failure): void {
    this.#ended = why;
    for (const call of [...this.#open.values(), ...this.#waiting]) call.reject(why);
    this.#open.clear();
    this.#waiting = [];
  }

  #sendWaiting(): void {
    while (this.#credit > 0 && this.#waiting.length > 0) this.#send(this.#waiting.shift()!);
  }

  #send(call: Call): void {
    const id = ++this.#lastId;
    call.id = id;
    const { command, timeoutMs, target } = call;
    writeCall(this.outbox.begin(), { id, command, target: target.frame(), timeoutMs });
    const tooLarge = this.outbox.end(Subject.call(id), id);
    if (tooLarge !== undefined) {
      const text = `the call has ${tooLarge} bytes, more than the ${this.outbox.frameBytesMax} that Firn takes`;
      call.reject(new Failure(Code.ResourceExhausted, text)); // R82
      return;
    }
    this.#credit--;
    this.#open.set(id, call);
  }
}

function failed({ code, message, details }: FailureFrame): Failure {
  return new Failure(validCode(code), message, details.map((it) => create(AnySchema, it)));
}

function leaving(): Failure {
  return new Failure(Code.Unavailable, "Firn is about to stop: call again when the function is connected anew");
}
