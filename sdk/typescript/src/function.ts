/** A function: its components, and its life. */

import { randomUUID } from "node:crypto";
import { create, fromBinary, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import type { Component } from "./component.js";
import { Connection, parseAddress, type Ending } from "./connection.js";
import { wholeMs, type CallOptions } from "./context.js";
import { contractOf } from "./contract.js";
import { Code, Failure } from "./failure.js";
import { HelloSchema } from "./generated/firn/v1/function_pb.js";
import { consoleLogger, type CommandHook, type Logger } from "./log.js";
import type { Send } from "./protocol/outbox.js";
import { Session, type Finding } from "./session.js";
import type { Target } from "./target.js";
import { SDK } from "./version.js";

/** R7: the pauses between attempts to connect, in milliseconds. */
const PAUSE_MS_MIN = 50;
const PAUSE_MS_MAX = 2_000;

/** Options of a function. */
export interface FunctionOptions {
  /** The function's version, for people. */
  version?: string;
  /**
   * Where Firn is: `http://HOST:PORT`, `https://HOST:PORT` or `unix:/PATH`. The environment variable
   * FIRN_ADDRESS if unset, and `http://127.0.0.1:9001` without it.
   */
  address?: string;
  /** The token that Firn asks for; FIRN_TOKEN if unset. */
  token?: string;
  /** A PEM file with the authority of Firn's certificate; FIRN_CA if unset, and the usual ones without it. */
  ca?: string;
  /** How many entities the function keeps in memory between commands; 100,000 if unset. */
  incarnationsMax?: number;
  /** How many commands Firn may have open at once; 1,024 if unset. */
  commands?: number;
  /** How many messages of a streamed call Firn may send ahead; 16 if unset. */
  callMessages?: number;
  /** The largest message that is taken, in bytes; 16 MiB if unset. */
  frameBytes?: number;
  /** How many milliseconds {@link FirnFunction.stop} waits for what is open; 10,000 if unset. */
  stopGrace?: number;
  /** Whether {@link FirnFunction.run} rejects when Firn refuses the contract, instead of dialing again. */
  failOnRefusal?: boolean;
  /** Where to log; the console if unset. */
  logger?: Logger;
  /** Told of every command that was answered, for metrics. */
  onCommand?: CommandHook;
}

/** Firn does not take the function: with what is wrong, and what to do about it. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";

  /** @internal */
  constructor(
    /** What Firn found: each with code, text and remedy. */
    readonly findings: readonly { code: string; text: string; remedy: string; location: string }[],
  ) {
    super(["Firn refuses the contract", ...findings.map((it) => `${it.code}: ${it.text}: ${it.remedy}`)].join("\n"));
  }
}

/** A function: the process that Firn sends commands to. */
export class FirnFunction {
  readonly #components: Component[] = [];
  readonly #log: Logger;
  /** R1: the same for all connections of this process. */
  readonly #process = randomUUID();
  #connection: Connection | undefined;
  #serving: Promise<void> | undefined;
  /** Those who wait for Firn to take the function. */
  #welcomed: (() => void)[] = [];
  #isStopping = false;
  #isConnected = false;
  #wake: (() => void) | undefined;

  /**
   * @param name the function's name, for people
   */
  constructor(
    readonly name: string,
    private readonly options: FunctionOptions = {},
  ) {
    this.#log = options.logger ?? consoleLogger;
  }

  /** Adds a component. */
  add(component: Component): this {
    if (this.#serving !== undefined) throw new Error("components have to be added before the function runs");
    this.#components.push(component);
    return this;
  }

  /**
   * Connects and serves until SIGTERM, SIGINT or {@link stop}; dials again whenever the connection is
   * lost. Rejects with {@link RefusedError} if Firn refuses the contract and `failOnRefusal` is set.
   */
  async run(): Promise<void> {
    const stop = (): void => void this.stop();
    process.once("SIGTERM", stop);
    process.once("SIGINT", stop);
    try {
      await this.#begin();
    } finally {
      process.removeListener("SIGTERM", stop);
      process.removeListener("SIGINT", stop);
    }
  }

  /**
   * Connects, and resolves when Firn has taken the function, which then serves in the background. It
   * goes on dialing while Firn cannot be reached or refuses it; rejects if it is stopped meanwhile.
   */
  async start(): Promise<void> {
    if (this.#isConnected) return;
    const serving = this.#begin();
    await new Promise<void>((resolve, reject) => {
      this.#welcomed.push(resolve);
      serving.then(() => reject(new Error("the function was stopped before Firn took it")), reject);
    });
  }

  /** Says Goodbye, and resolves when what was open is finished, or the time for it is over (R90). */
  async stop(): Promise<void> {
    if (this.#serving === undefined) return;
    if (!this.#isStopping) {
      this.#isStopping = true;
      this.#wake?.();
      const connection = this.#connection;
      if (connection !== undefined) {
        if (this.#isConnected) connection.session.goodbye();
        else connection.cancel();
        const grace = setTimeout(() => {
          this.#log.warn("Firn did not end the connection in time: what is open is given up");
          connection.cancel();
        }, this.options.stopGrace ?? 10_000);
        void connection.ended.then(() => clearTimeout(grace));
      }
    }
    await this.#serving.catch(() => {});
  }

  /**
   * Calls a method through Firn, outside of any command. Rejects with {@link Failure}: UNAVAILABLE if
   * the function is not connected.
   */
  async call<O extends DescMessage>(target: Target<O>, options: CallOptions = {}): Promise<MessageShape<O>> {
    const session = this.#isConnected ? this.#connection?.session : undefined;
    if (session === undefined) {
      throw new Failure(Code.Unavailable, "the function is not connected to Firn: start it first");
    }
    const timeoutMs = options.timeout === undefined ? 0 : Math.max(1, wholeMs(options.timeout, "timeout"));
    return fromBinary(target.output, await session.calls.call(target, 0, timeoutMs, undefined));
  }

  /** @internal The contract as Firn gets it. */
  contract(): MessageShape<typeof HelloSchema>["contract"] & {} {
    return contractOf(this.#components);
  }

  #begin(): Promise<void> {
    if (this.#serving === undefined) {
      if (this.#components.length === 0) throw new Error("the function has no component: add one");
      parseAddress(this.#address().address); // a wrong one shows at once
      this.#isStopping = false;
      this.#serving = this.#serve().finally(() => {
        this.#serving = undefined;
      });
    }
    return this.#serving;
  }

  /** R7: dials until it is told to stop. */
  async #serve(): Promise<void> {
    let pauseMs = PAUSE_MS_MIN;
    while (!this.#isStopping) {
      let refusal: readonly Finding[] | undefined;
      let wasConnected = false;
      const connection = new Connection(this.#address(), (send) =>
        this.#session(send, {
          welcomed: () => {
            wasConnected = true;
            this.#isConnected = true;
            for (const resolve of this.#welcomed.splice(0)) resolve();
          },
          refused: (findings) => {
            refusal = findings;
          },
        }),
      );
      this.#connection = connection;
      const ending = await connection.ended;
      this.#connection = undefined;
      this.#isConnected = false;
      if (refusal !== undefined && this.options.failOnRefusal) throw new RefusedError(refusal);
      if (this.#isStopping) break;
      if (wasConnected) pauseMs = PAUSE_MS_MIN;
      if (refusal === undefined) this.#tellEnding(ending, wasConnected, pauseMs);
      await this.#pause(pauseMs);
      pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX);
    }
  }

  #session(
    send: Send,
    on: { welcomed: () => void; refused: (findings: readonly Finding[]) => void },
  ): Session {
    const { options } = this;
    const hello = create(HelloSchema, {
      info: {
        name: this.name,
        version: options.version ?? "",
        runtime: `node ${process.versions.node}`,
        sdk: SDK,
        process: this.#process,
      },
      contract: contractOf(this.#components),
      commands: options.commands ?? 0,
      callMessages: options.callMessages ?? 0,
      frameBytes: BigInt(options.frameBytes ?? 0),
    });
    return new Session({
      components: this.#components,
      hello,
      incarnationsMax: options.incarnationsMax ?? 100_000,
      log: this.#log,
      onCommand: options.onCommand,
      send,
      onWelcome: (welcome) => {
        this.#log.info("connected to Firn", { firn: welcome.firn, clients: welcome.clientAddress });
        on.welcomed();
      },
      onRefusal: (findings) => {
        for (const it of findings) this.#tell("error", it); // R4
        on.refused(findings);
      },
      onNotice: (finding, isError) => this.#tell(isError ? "error" : "warn", finding), // R18
    });
  }

  #tell(level: "warn" | "error", { code, text, remedy, service, location }: Finding): void {
    this.#log[level](text, { code, remedy, service, location });
  }

  #tellEnding({ code, text, firnCode }: Ending, wasConnected: boolean, pauseMs: number): void {
    const fields = { code: firnCode, status: code, cause: text, againInMs: pauseMs };
    if (firnCode !== undefined) this.#log.error("Firn ended the connection", fields);
    else if (wasConnected) this.#log.warn("the connection to Firn was lost", fields);
    else if (pauseMs === PAUSE_MS_MAX || pauseMs === PAUSE_MS_MIN) {
      this.#log.warn(`Firn cannot be reached at ${this.#address().address}`, fields);
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #address(): { address: string; token: string | undefined; caFile: string | undefined } {
    const { env } = process;
    return {
      address: this.options.address ?? (env["FIRN_ADDRESS"] || "http://127.0.0.1:9001"),
      token: this.options.token ?? (env["FIRN_TOKEN"] || undefined),
      caFile: this.options.ca ?? (env["FIRN_CA"] || undefined),
    };
  }
}
