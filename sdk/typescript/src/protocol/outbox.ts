/**
 * What waits to be sent on one connection, and the batches that it becomes.
 *
 * A frame is encoded at once, behind the others in the current batch. When the event loop has gone
 * through what it had to do, the batch goes to the transport (R8). While the transport has not taken
 * {@link IN_FLIGHT_MAX} batches, the next one grows: so batches become as large as the receiver is
 * slow, and nothing waits for more to come.
 *
 * A frame above the receiver's `chunk_bytes` becomes a transfer. Small frames go first, transfers take
 * turns chunk by chunk, and frames about the same subject wait behind their transfer (R81).
 */

import { writeChunk } from "./frames.js";
import { Writer, writeVarint } from "./wire.js";

/** The most bytes of a batch of several frames (R8). */
export const BATCH_BYTES_MAX = 1024 * 1024;

/** How many transfers may be under way at once (R81). */
const TRANSFERS_MAX = 4;

/** How many batches the transport may hold. Two: one is on its way while the next is made ready. */
const IN_FLIGHT_MAX = 2;

/** What a batch begins with; it grows to what it needs. */
const BATCH_BYTES = 16 * 1024;

/** More than the tag and length of a frame, and what a chunk has beside its data, take together. */
const FRAME_OVERHEAD = 64;

/** Takes a batch to the other side, and calls back when it can take the next one. */
export type Send = (batch: Buffer, taken: () => void) => void;

/** What a frame is about, as one number: frames with the same one keep their order. */
export const Subject = {
  /** The connection itself: never waits. */
  connection: 0,
  incarnation: (incarnation: number): number => incarnation * 4 + 1,
  command: (command: number): number => command * 4 + 2,
  call: (call: number): number => call * 4 + 3,
};

interface Transfer {
  number: number;
  subject: number;
  /** The command or call that fails if the transfer is refused. */
  failing: number;
  frame: Buffer;
  sent: number;
}

interface Waiting {
  frame: Buffer;
  failing: number;
}

export class Outbox {
  /** The largest frame that the receiver takes (R82); Welcome says it. */
  frameBytesMax = 16 * 1024 * 1024;
  /** Above how many bytes a frame travels in chunks (R81); Welcome says it. */
  chunkBytes = 16 * 1024 * 1024;

  readonly #writer = new Writer();
  readonly #chunkWriter = new Writer();
  #full: Buffer[] = [];
  #batch = Buffer.allocUnsafe(BATCH_BYTES);
  #length = 0;

  #transfers = 0;
  #active: Transfer[] = [];
  #queued: Transfer[] = [];
  readonly #waiting = new Map<number, Waiting[]>();

  #inFlight = 0;
  #scheduled = false;
  #stopped = false;

  constructor(private readonly send: Send) {}

  /** Begins a frame: write it with the writer, then call {@link end}. */
  begin(): Writer {
    this.#writer.clear();
    return this.#writer;
  }

  /**
   * Ends a frame and lets it go. `failing` is the command or call that fails if Firn refuses the
   * frame. Returns the frame's size instead, and sends nothing, if it is more than Firn takes (R82).
   */
  end(subject: number, failing: number): number | undefined {
    const frame = this.#writer.view();
    if (frame.length > this.frameBytesMax) return frame.length;
    if (!this.#stopped) {
      this.#route(subject, failing, frame);
      this.schedule();
    }
    return undefined;
  }

  /** Whether nothing waits and nothing is on its way. */
  get isEmpty(): boolean {
    return this.#inFlight === 0 && !this.#hasMore();
  }

  /** Drops everything: the connection has ended. */
  stop(): void {
    this.#stopped = true;
    this.#full = [];
    this.#length = 0;
    this.#active = [];
    this.#queued = [];
    this.#waiting.clear();
  }

  /** Lets what is there go when the event loop has gone through its turn. */
  private schedule(): void {
    if (this.#scheduled || this.#inFlight >= IN_FLIGHT_MAX) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #route(subject: number, failing: number, frame: Buffer): void {
    const waiting = this.#waiting.size > 0 ? this.#waiting.get(subject) : undefined;
    if (waiting !== undefined && subject !== Subject.connection) {
      waiting.push({ frame: Buffer.from(frame), failing });
    } else if (frame.length > this.chunkBytes) {
      this.#waiting.set(subject, []);
      this.#transfers++;
      const transfer = {
        number: this.#transfers,
        subject,
        failing,
        frame: Buffer.from(frame),
        sent: 0,
      };
      if (this.#active.length < TRANSFERS_MAX) this.#active.push(transfer);
      else this.#queued.push(transfer);
    } else {
      this.#append(frame);
    }
  }

  /** Adds a frame to the current batch: field 1 of FunctionBatch. */
  #append(frame: Buffer): void {
    const needed = this.#length + frame.length + 6;
    if (needed > BATCH_BYTES_MAX && this.#length > 0) {
      this.#seal();
      this.#append(frame);
      return;
    }
    if (needed > this.#batch.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, Math.min(2 * this.#batch.length, BATCH_BYTES_MAX)));
      larger.set(this.#batch.subarray(0, this.#length));
      this.#batch = larger;
    }
    this.#batch[this.#length] = 0x0a;
    const at = writeVarint(this.#batch, this.#length + 1, frame.length);
    this.#batch.set(frame, at);
    this.#length = at + frame.length;
  }

  /** Ends the current batch and begins another. */
  #seal(): void {
    const batch = this.#batch.subarray(0, this.#length);
    if (this.#length <= BATCH_BYTES / 4) {
      this.#full.push(Buffer.from(batch));
    } else {
      this.#full.push(batch);
      this.#batch = Buffer.allocUnsafe(BATCH_BYTES);
    }
    this.#length = 0;
  }

  #flush(): void {
    while (this.#inFlight < IN_FLIGHT_MAX && this.#hasMore() && !this.#stopped) {
      const batch = this.#next();
      this.#inFlight++;
      this.send(batch, () => {
        this.#inFlight--;
        if (this.#hasMore()) this.schedule();
      });
    }
  }

  #hasMore(): boolean {
    return this.#full.length > 0 || this.#length > 0 || this.#active.length > 0;
  }

  #next(): Buffer {
    if (this.#full.length === 0) {
      this.#addChunks();
      this.#seal();
    }
    return this.#full.shift()!;
  }

  /** Fills the batch with chunks, one of each transfer in turn. */
  #addChunks(): void {
    const chunk = Math.min(this.chunkBytes, BATCH_BYTES_MAX - FRAME_OVERHEAD);
    while (
      this.#active.length > 0 &&
      (this.#length === 0 || this.#length + chunk + FRAME_OVERHEAD <= BATCH_BYTES_MAX)
    ) {
      this.#addChunk(this.#active.shift()!, chunk);
    }
  }

  #addChunk(transfer: Transfer, bytes: number): void {
    const { number, failing, frame } = transfer;
    const end = Math.min(transfer.sent + bytes, frame.length);
    const last = end === frame.length;
    const writer = this.#chunkWriter;
    writer.clear();
    const data = frame.subarray(transfer.sent, end);
    writeChunk(writer, { transfer: number, data, last, subject: failing });
    this.#append(writer.view());
    transfer.sent = end;
    if (!last) {
      this.#active.push(transfer);
      return;
    }
    const next = this.#queued.shift();
    if (next !== undefined) this.#active.push(next);
    const waiting = this.#waiting.get(transfer.subject) ?? [];
    this.#waiting.delete(transfer.subject);
    for (const it of waiting) this.#route(transfer.subject, it.failing, it.frame);
  }
}
