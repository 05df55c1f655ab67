/** Messages with the name of their type. */

import { fromBinary, type DescMessage, type Message } from "@bufbuild/protobuf";
import type { AnyBytes } from "./protocol/frames.js";
import { encode } from "./target.js";

const PREFIX = "type.googleapis.com/";

/** Encodes a message with the name of its type. */
export function packed(schema: DescMessage, message: object): AnyBytes {
  return { typeUrl: PREFIX + schema.typeName, value: encode(schema, message) };
}

/** Decodes one of these messages. Throws if it is another, or damaged. */
export function unpacked(any: AnyBytes, schemas: ReadonlyMap<string, DescMessage>): Message {
  const name = any.typeUrl.slice(any.typeUrl.lastIndexOf("/") + 1);
  const schema = schemas.get(name);
  if (schema === undefined) {
    throw new Error(`a ${name} was stored, which the component does not declare`);
  }
  return fromBinary(schema, any.value);
}

/** A copy that does not keep alive the batch in which the bytes came. */
export function detached(any: AnyBytes): AnyBytes {
  return { typeUrl: any.typeUrl, value: new Uint8Array(any.value) };
}

/** Messages by the full names of their types. */
export function byName(schemas: readonly DescMessage[]): ReadonlyMap<string, DescMessage> {
  return new Map(schemas.map((schema) => [schema.typeName, schema]));
}

/** Whether decoded messages of a type may hold views into the bytes that they came in. */
export function holdsBytes(schema: DescMessage, seen = new Set<string>()): boolean {
  if (seen.has(schema.typeName)) return false;
  seen.add(schema.typeName);
  return schema.fields.some((field) => {
    const scalar = "scalar" in field ? field.scalar : undefined;
    return scalar === BYTES || (field.message !== undefined && holdsBytes(field.message, seen));
  });
}

/** `ScalarType.BYTES`. */
const BYTES = 12;
