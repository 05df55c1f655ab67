/** Headers of requests and replies. */

import { decodeMetadata, type Entry } from "./protocol/frames.js";

/** Headers, in order; names are in lower case, and one that ends with `-bin` has bytes. */
export class Metadata {
  readonly #entries: Entry[];

  /** Makes headers of names and values. */
  constructor(entries: Iterable<readonly [string, string | Uint8Array]> = []) {
    this.#entries = [];
    for (const [name, value] of entries) this.add(name, value);
  }

  /** @internal */
  static decode(bytes: Buffer | undefined): Metadata {
    const metadata = new Metadata();
    if (bytes !== undefined) metadata.#entries.push(...decodeMetadata(bytes));
    return metadata;
  }

  /** How many headers there are. */
  get size(): number {
    return this.#entries.length;
  }

  /** The first text under a name. */
  get(name: string): string | undefined {
    const value = this.#find(name).find((entry) => typeof entry.value === "string")?.value;
    return value as string | undefined;
  }

  /** The first bytes under a name, which ends with `-bin`. */
  getBytes(name: string): Uint8Array | undefined {
    const value = this.#find(name).find((entry) => typeof entry.value !== "string")?.value;
    return value as Uint8Array | undefined;
  }

  /** All values under a name, in order. */
  getAll(name: string): (string | Uint8Array)[] {
    return this.#find(name).map((entry) => entry.value);
  }

  /** Adds a header; bytes need a name that ends with `-bin`, text one that does not. */
  add(name: string, value: string | Uint8Array): this {
    const key = name.toLowerCase();
    const binary = key.endsWith("-bin");
    if (binary !== (typeof value !== "string")) {
      const kind = binary ? "bytes, since its name ends with -bin" : "text";
      throw new TypeError(`header ${key} has to be ${kind}`);
    }
    this.#entries.push({ key, value });
    return this;
  }

  /** Sets a header in place of those of the same name. */
  set(name: string, value: string | Uint8Array): this {
    return this.delete(name).add(name, value);
  }

  /** Removes all headers of a name. */
  delete(name: string): this {
    const key = name.toLowerCase();
    for (let i = this.#entries.length - 1; i >= 0; i--) {
      if (this.#entries[i]!.key === key) this.#entries.splice(i, 1);
    }
    return this;
  }

  /** All headers, in order. */
  *[Symbol.iterator](): IterableIterator<[string, string | Uint8Array]> {
    for (const { key, value } of this.#entries) yield [key, value];
  }

  /** @internal */
  frame(): readonly Entry[] | undefined {
    return this.#entries.length > 0 ? this.#entries : undefined;
  }

  #find(name: string): Entry[] {
    const key = name.toLowerCase();
    return this.#entries.filter((entry) => entry.key === key);
  }
}
