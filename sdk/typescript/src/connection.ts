/** One gRPC call of `firn.v1.Functions/Connect`: carries the batches of a session. */

import { readFileSync } from "node:fs";
import { Client, credentials, Metadata, status, type ClientDuplexStream, type ServiceError } from "@grpc/grpc-js";
import { Code, Failure } from "./failure.js";
import type { Send } from "./protocol/outbox.js";
import { DecodeError } from "./protocol/wire.js";
import type { Session } from "./session.js";

const PATH = "/firn.v1.Functions/Connect";

/** The largest gRPC message that is taken: a batch is at most 1 MiB, unless it holds one frame (R8). */
const MESSAGE_BYTES_MAX = 8 * 1024 * 1024;

/** How much may be on its way to us before we read: several full batches. */
const FLOW_CONTROL_BYTES = 4 * 1024 * 1024;

/** Where Firn is, and what it takes to be let in. */
export interface Address {
  /** `http://HOST:PORT`, `https://HOST:PORT` or `unix:/PATH`. */
  address: string;
  /** The token that Firn asks for, if it does. */
  token: string | undefined;
  /** A PEM file with the authority that Firn's certificate is checked against. */
  caFile: string | undefined;
}

/** How a connection ended. */
export interface Ending {
  code: number;
  text: string;
  /** The stable code of the error, for example FIRN-2025. */
  firnCode: string | undefined;
}

/** Makes an address that gRPC understands. Throws TypeError with what is wrong. */
export function parseAddress(address: string): { target: string; isSecure: boolean } {
  if (address.startsWith("unix:")) {
    const path = address.slice("unix:".length).replace(/^\/\/(?=\/)/, "");
    return { target: `unix:${path}`, isSecure: false };
  }
  let url: URL;
  try {
    url = new URL(address);
  } catch {
    throw wrongAddress(address);
  }
  if ((url.protocol !== "http:" && url.protocol !== "https:") || (url.pathname !== "/" && url.pathname !== "")) {
    throw wrongAddress(address);
  }
  const isSecure = url.protocol === "https:";
  const port = url.port === "" ? (isSecure ? 443 : 80) : url.port;
  return { target: `dns:${url.hostname}:${port}`, isSecure };
}

function wrongAddress(address: string): TypeError {
  return new TypeError(
    `${JSON.stringify(address)} is no address of Firn: write http://HOST:PORT, https://HOST:PORT or unix:/PATH`,
  );
}

export class Connection {
  /** Resolves when the connection has ended. */
  readonly ended: Promise<Ending>;
  readonly session: Session;
  readonly #client: Client;
  readonly #call: ClientDuplexStream<Buffer, Buffer>;

  constructor(address: Address, sessionWith: (send: Send) => Session) {
    const { target, isSecure } = parseAddress(address.address);
    const authority = address.caFile === undefined ? null : readFileSync(address.caFile);
    const channel = isSecure ? credentials.createSsl(authority) : credentials.createInsecure();
    this.#client = new Client(target, channel, {
      "grpc.max_receive_message_length": MESSAGE_BYTES_MAX,
      "grpc.max_send_message_length": -1,
      "grpc-node.flow_control_window": FLOW_CONTROL_BYTES,
      // Pauses between attempts are ours (R7): a connection that failed must not slow the next.
      "grpc.use_local_subchannel_pool": 1,
      "grpc.enable_retries": 0,
      // Firn stands beside the function: it is not reached through the proxy for the world outside.
      "grpc.enable_http_proxy": 0,
      "grpc.service_config_disable_resolution": 1,
      "grpc.enable_channelz": 0,
    });
    const metadata = new Metadata();
    if (address.token !== undefined) metadata.set("authorization", `Bearer ${address.token}`); // R3
    const same = (bytes: Buffer): Buffer => bytes;
    this.#call = this.#client.makeBidiStreamRequest(PATH, same, same, metadata);
    this.ended = this.#run();
    this.session = sessionWith((batch, taken) => {
      this.#call.write(batch, () => taken());
    });
  }

  /** Ends the connection now. */
  cancel(): void {
    this.#call.cancel();
  }

  #run(): Promise<Ending> {
    return new Promise((resolve) => {
      let ending: Ending | undefined;
      const end = (it: Ending): void => {
        if (ending !== undefined) return;
        ending = it;
        // What came before the end is handed out first.
        setImmediate(() => {
          this.session.end(new Failure(Code.Unavailable, "the connection to Firn has ended"));
          this.#call.removeAllListeners("data");
          this.#client.close();
          resolve(it);
        });
      };
      this.#call.on("data", (batch: Buffer) => {
        try {
          this.session.receive(batch);
        } catch (error) {
          const what = error instanceof DecodeError ? "Firn sent what cannot be read" : "the SDK made a mistake";
          const text = `${what}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
          end({ code: status.INTERNAL, text, firnCode: undefined });
          this.#call.cancel();
        }
      });
      this.#call.on("error", (error: ServiceError) => end(endingOf(error)));
      this.#call.on("status", (it) => end(endingOf(it)));
    });
  }
}

function endingOf(it: { code: number; details: string; metadata?: Metadata }): Ending {
  const [firnCode] = it.metadata?.get("firn-code") ?? [];
  return { code: it.code, text: it.details, firnCode: firnCode === undefined ? undefined : String(firnCode) };
}
