/** Puts frames together that come in chunks (R81). */

import { DecodeError } from "./wire.js";

/** More than the 4 that a sender should have under way; beyond it the connection is given up. */
const TRANSFERS_MAX = 64;

interface Incoming {
  parts: Buffer[];
  bytes: number;
  isRefused: boolean;
}

export class Transfers {
  readonly #incoming = new Map<number, Incoming>();

  /** @param frameBytesMax the largest frame that is taken */
  constructor(private readonly frameBytesMax: number) {}

  /**
   * Takes a chunk. Gives the encoded frame with the last one, or `"refused"` with the chunk that makes
   * the frame too large (R82); the others of that transfer are dropped.
   */
  add(chunk: { transfer: number; data: Buffer; last: boolean }): Buffer | "refused" | undefined {
    const { transfer, data, last } = chunk;
    let incoming = this.#incoming.get(transfer);
    if (incoming === undefined) {
      if (this.#incoming.size >= TRANSFERS_MAX) throw new DecodeError("too many transfers at once");
      incoming = { parts: [], bytes: 0, isRefused: false };
      this.#incoming.set(transfer, incoming);
    }
    if (last) this.#incoming.delete(transfer);
    if (incoming.isRefused) return undefined;
    incoming.bytes += data.length;
    if (incoming.bytes > this.frameBytesMax) {
      incoming.isRefused = true;
      incoming.parts = [];
      return "refused";
    }
    incoming.parts.push(data);
    return last ? Buffer.concat(incoming.parts, incoming.bytes) : undefined;
  }
}
