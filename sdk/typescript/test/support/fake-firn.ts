/**
 * A fake Firn: a gRPC server that says what a test tells it to, and shows what the function sends.
 *
 * It uses the generated messages, so it checks the SDK's own encoding as well.
 */

import { create, fromBinary, toBinary, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
} from "@grpc/grpc-js";
import {
  FirnBatchSchema,
  FirnFrameSchema,
  FunctionBatchSchema,
  FunctionFrameSchema,
} from "../../src/generated/firn/v1/function_pb.js";

export type FirnFrameInit = NonNullable<MessageInitShape<typeof FirnFrameSchema>["frame"]>;
export type FunctionFrame = MessageShape<typeof FunctionFrameSchema>["frame"];
type Of<C extends FunctionFrame["case"]> = Extract<FunctionFrame, { case: C }>["value"];

/** A queue whose end is waited for. */
class Queue<T> {
  readonly #items: T[] = [];
  readonly #waiting: ((item: T) => void)[] = [];

  push(item: T): void {
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) waiting(item);
    else this.#items.push(item);
  }

  next(): Promise<T> {
    const item = this.#items.shift();
    return item !== undefined ? Promise.resolve(item) : new Promise((resolve) => this.#waiting.push(resolve));
  }

  get size(): number {
    return this.#items.length;
  }
}

export const WELCOME: FirnFrameInit = {
  case: "welcome",
  value: { firn: "fake", calls: 4, callMessages: 4, frameBytes: 1n << 24n, chunkBytes: 1 << 16, clientAddress: "x:1" },
};

/** One connection of a function, as Firn sees it. */
export class FakeConnection {
  /** The sizes of the batches that came, in bytes and frames. */
  readonly batches: { bytes: number; frames: number }[] = [];
  readonly #frames = new Queue<FunctionFrame>();
  readonly #ended = new Queue<void>();

  constructor(
    private readonly call: ServerDuplexStream<Buffer, Buffer>,
    readonly metadata: Metadata,
  ) {
    call.on("data", (bytes: Buffer) => {
      const { frames } = fromBinary(FunctionBatchSchema, bytes);
      this.batches.push({ bytes: bytes.length, frames: frames.length });
      for (const { frame } of frames) this.#frames.push(frame);
    });
    call.on("end", () => this.#ended.push());
    call.on("cancelled", () => this.#ended.push());
    call.on("error", () => {});
  }

  /** The next frame; it has to be of this kind. */
  async next<C extends FunctionFrame["case"]>(kind: C): Promise<Of<C>> {
    const frame = await this.#frames.next();
    if (frame.case !== kind) throw new Error(`a ${frame.case} came, not a ${kind}: ${shown(frame)}`);
    return frame.value as Of<C>;
  }

  /** The next frame, whatever it is. */
  any(): Promise<FunctionFrame> {
    return this.#frames.next();
  }

  /** How many frames came that were not looked at. */
  get unseen(): number {
    return this.#frames.size;
  }

  /** Takes Hello, and answers with Welcome. */
  async welcome(changed: object = {}): Promise<Of<"hello">> {
    const hello = await this.next("hello");
    this.send({ case: "welcome", value: { ...(WELCOME.value as object), ...changed } });
    return hello;
  }

  /** Sends frames in one batch. */
  send(...frames: FirnFrameInit[]): void {
    const batch = create(FirnBatchSchema, { frames: frames.map((frame) => ({ frame })) });
    this.sendBytes(toBinary(FirnBatchSchema, batch));
  }

  /** Sends bytes as a batch. */
  sendBytes(bytes: Uint8Array): void {
    this.call.write(Buffer.from(bytes));
  }

  /** Ends the call in order. */
  end(): void {
    this.call.end();
  }

  /** Ends the call with a status. */
  fail(code: number, details: string, firnCode?: string): void {
    const metadata = new Metadata();
    if (firnCode !== undefined) metadata.set("firn-code", firnCode);
    this.call.emit("error", { code, details, metadata });
  }

  /** Resolves when the function has ended the call. */
  ended(): Promise<void> {
    return this.#ended.next();
  }
}

export class FakeFirn {
  readonly #server = new Server({ "grpc.max_receive_message_length": 64 << 20 });
  readonly #connections = new Queue<FakeConnection>();
  /** Refuses calls with this status, before anything of them is looked at. */
  refuse: { code: number; details: string; firnCode: string } | undefined;
  address = "";

  /** Listens on a free port, or on `unix:/PATH`. */
  static async start(on = "127.0.0.1:0", secure?: { key: Buffer; cert: Buffer }): Promise<FakeFirn> {
    const fake = new FakeFirn();
    const same = (bytes: Buffer): Buffer => bytes;
    const method = {
      path: "/firn.v1.Functions/Connect",
      requestStream: true,
      responseStream: true,
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    } as const;
    fake.#server.addService(
      { connect: method },
      { connect: (call: ServerDuplexStream<Buffer, Buffer>) => fake.#connected(call) },
    );
    const channel =
      secure === undefined
        ? ServerCredentials.createInsecure()
        : ServerCredentials.createSsl(null, [{ private_key: secure.key, cert_chain: secure.cert }]);
    const port = await new Promise<number>((resolve, reject) => {
      fake.#server.bindAsync(on, channel, (error, bound) => (error ? reject(error) : resolve(bound)));
    });
    const scheme = secure === undefined ? "http" : "https";
    fake.address = on.startsWith("unix:") ? on : `${scheme}://localhost:${port}`;
    if (secure === undefined) fake.address = fake.address.replace("localhost", "127.0.0.1");
    return fake;
  }

  /** The next connection that a function makes. */
  connection(): Promise<FakeConnection> {
    return this.#connections.next();
  }

  stop(): void {
    this.#server.forceShutdown();
  }

  #connected(call: ServerDuplexStream<Buffer, Buffer>): void {
    const connection = new FakeConnection(call, call.metadata);
    if (this.refuse !== undefined) {
      connection.fail(this.refuse.code, this.refuse.details, this.refuse.firnCode);
    }
    this.#connections.push(connection);
  }
}

function shown(frame: FunctionFrame): string {
  return JSON.stringify(frame.value, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));
}
