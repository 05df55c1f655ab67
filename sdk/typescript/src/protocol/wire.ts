/**
 * Reading and writing the protobuf wire format by hand, for the frames that come in thousands.
 *
 * The ordinary library makes a message of many objects for each frame and a bigint of each number.
 * Here the caller says which fields it wants, numbers are plain numbers, and payloads are views into
 * the bytes that came.
 *
 * How the writer works: it writes backwards, from the end of its buffer to the front. So the length
 * of what a length prefix counts is known when the prefix is written, and nothing is moved.
 */

/** Wire types of the protobuf encoding. */
export const VARINT = 0;
export const LENGTH_DELIMITED = 2;
const FIXED64 = 1;
const FIXED32 = 5;

/** Bytes that are not what they should be. */
export class DecodeError extends Error {
  override name = "DecodeError";
}

/** Reads the fields of one message from a range of a buffer. */
export class Reader {
  /** The wire type of the field that {@link next} has found. */
  wireType = 0;
  #end: number;

  constructor(
    readonly buffer: Buffer,
    private at = 0,
    end = buffer.length,
  ) {
    this.#end = end;
  }

  /** The number of the next field; 0 at the end. Its value must be read or skipped. */
  next(): number {
    if (this.at >= this.#end) return 0;
    this.wireType = VARINT;
    const tag = this.number();
    const field = Math.floor(tag / 8);
    if (field === 0 || tag > 0xffffffff) throw new DecodeError(`a field with the tag ${tag}`);
    this.wireType = tag & 7;
    return field;
  }

  /** An unsigned number below 2^53: what this protocol counts stays below. */
  number(): number {
    const value = this.roughNumber();
    if (value > Number.MAX_SAFE_INTEGER) throw new DecodeError("a number is above 2^53");
    return value;
  }

  /** An unsigned number, rounded if it is above 2^53. */
  roughNumber(): number {
    if (this.wireType !== VARINT) throw new DecodeError("a number of another wire type");
    const { buffer } = this;
    let value = 0;
    let scale = 1;
    for (let count = 0; count < 10; count++) {
      if (this.at >= this.#end) throw new DecodeError("a number is cut off");
      const byte = buffer[this.at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
    throw new DecodeError("a number has more than 10 bytes");
  }

  /** Bytes, as a view. */
  bytes(): Buffer {
    const end = this.#length();
    const bytes = this.buffer.subarray(this.at, end);
    this.at = end;
    return bytes;
  }

  /** Text. */
  text(): string {
    const end = this.#length();
    const text = this.buffer.toString("utf8", this.at, end);
    this.at = end;
    return text;
  }

  /** A reader of a nested message. */
  message(): Reader {
    const end = this.#length();
    const reader = new Reader(this.buffer, this.at, end);
    this.at = end;
    return reader;
  }

  /** Passes over the value of a field that is not known (R6). */
  skip(): void {
    switch (this.wireType) {
      case VARINT:
        while (this.at < this.#end && this.buffer[this.at]! >= 0x80) this.at++;
        this.at++;
        break;
      case FIXED64:
        this.at += 8;
        break;
      case LENGTH_DELIMITED:
        this.at = this.#length();
        break;
      case FIXED32:
        this.at += 4;
        break;
      default:
        throw new DecodeError(`a field of wire type ${this.wireType}`);
    }
    if (this.at > this.#end) throw new DecodeError("a field is cut off");
  }

  /** Where a length-delimited value ends. */
  #length(): number {
    if (this.wireType !== LENGTH_DELIMITED) throw new DecodeError("bytes of another wire type");
    this.wireType = VARINT;
    const end = this.number() + this.at;
    this.wireType = LENGTH_DELIMITED;
    if (end > this.#end) throw new DecodeError("a length leads beyond the end");
    return end;
  }
}

/** How many bytes a writer holds at first, and again after a large frame. */
const WRITER_BYTES = 64 * 1024;

/** Writes one message, its last field first. */
export class Writer {
  #buffer = Buffer.allocUnsafe(WRITER_BYTES);
  #at = WRITER_BYTES;

  /** Where it stands: how many bytes were written. To be given to {@link nested}. */
  get length(): number {
    return this.#buffer.length - this.#at;
  }

  /** A number, unless it is 0, which is not written. */
  number(field: number, value: number): void {
    if (value !== 0) {
      this.#varint(value);
      this.#varint(field * 8 + VARINT);
    }
  }

  /** A boolean, unless it is false. */
  bool(field: number, value: boolean): void {
    if (value) this.number(field, 1);
  }

  /** Bytes, also empty ones. */
  bytes(field: number, value: Uint8Array): void {
    this.#reserve(value.length);
    this.#at -= value.length;
    this.#buffer.set(value, this.#at);
    this.#prefix(field, value.length);
  }

  /** Text, unless it is empty. */
  text(field: number, value: string): void {
    if (value !== "") this.textAlways(field, value);
  }

  /** Text, also empty text: for members of a oneof and entries of maps. */
  textAlways(field: number, value: string): void {
    const length = Buffer.byteLength(value);
    this.#reserve(length);
    this.#at -= length;
    this.#buffer.write(value, this.#at, length, "utf8");
    this.#prefix(field, length);
  }

  /** Ends, at its front, a nested message that began when the writer had this length. */
  nested(field: number, begin: number): void {
    this.#prefix(field, this.length - begin);
  }

  /** What was written, as a view that holds until {@link clear}. */
  view(): Buffer {
    return this.#buffer.subarray(this.#at);
  }

  /** Forgets what was written. */
  clear(): void {
    if (this.#buffer.length > 16 * WRITER_BYTES) this.#buffer = Buffer.allocUnsafe(WRITER_BYTES);
    this.#at = this.#buffer.length;
  }

  #prefix(field: number, length: number): void {
    this.#varint(length);
    this.#varint(field * 8 + LENGTH_DELIMITED);
  }

  #varint(value: number): void {
    if (this.#at < 10) this.#reserve(10);
    const buffer = this.#buffer;
    if (value < 0x80) {
      buffer[--this.#at] = value;
      return;
    }
    this.#at -= varintLength(value);
    writeVarint(buffer, this.#at, value);
  }

  #reserve(bytes: number): void {
    if (this.#at >= bytes) return;
    const length = this.length;
    const larger = Buffer.allocUnsafe(Math.max(2 * this.#buffer.length, length + bytes + WRITER_BYTES));
    larger.set(this.view(), larger.length - length);
    this.#buffer = larger;
    this.#at = larger.length - length;
  }
}

/** How many bytes a number takes as a varint. */
export function varintLength(value: number): number {
  let length = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 128)) length++;
  return length;
}

/** Writes a number as a varint and returns where it ends. */
export function writeVarint(buffer: Buffer, at: number, value: number): number {
  let rest = value;
  let place = at;
  while (rest >= 0x80) {
    buffer[place++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  buffer[place++] = rest;
  return place;
}
