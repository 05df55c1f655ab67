/** Descriptions of calls, and the typed client that makes them. */

import {
  create,
  toBinary,
  type DescMessage,
  type DescMethod,
  type DescService,
  type MessageInitShape,
} from "@bufbuild/protobuf";
import { bind } from "./binding.js";
import type { Metadata } from "./metadata.js";
import type { Entry, TargetFrame } from "./protocol/frames.js";

/** A service as the generator, or `service` of `firn-sdk/schema`, makes it. */
export type AnyService = Omit<DescService, "method"> & { method: Record<string, DescMethod> };

/**
 * A method with a request for it: what {@link Context.call}, {@link Context.forward},
 * {@link Context.effect} and timers take. A {@link client} makes it.
 */
export class Target<O extends DescMessage = DescMessage> {
  /** The full name of the service. */
  readonly service: string;
  /** The name of the method. */
  readonly method: string;
  /** The request, encoded. */
  readonly message: Uint8Array;
  /** What the method answers. */
  readonly output: O;
  /** @internal */
  readonly metadata: readonly Entry[] | undefined;

  /** @internal */
  constructor(method: DescMethod, message: Uint8Array, output: O, metadata?: Metadata) {
    this.service = method.parent.typeName;
    this.method = method.name;
    this.message = message;
    this.output = output;
    this.metadata = metadata?.frame();
  }

  /** @internal */
  frame(): TargetFrame {
    return this;
  }
}

/** The unary methods of a service, each of which describes a call. */
export type Client<S extends AnyService> = {
  [K in keyof S["method"] as S["method"][K]["methodKind"] extends "unary" ? K : never]: (
    request: MessageInitShape<S["method"][K]["input"]>,
    metadata?: Metadata,
  ) => Target<S["method"][K]["output"]>;
};

/**
 * Makes the typed client of a service, or of a component that serves it. Its methods do not call:
 * they describe calls.
 *
 * ```ts
 * const carts = client(Cart);
 * const contents = await context.call(carts.getCart({ cartId: "alice" }));
 * context.effect(carts.checkout({ cartId: "alice" }), { after: 60_000 });
 * ```
 */
export function client<S extends AnyService>(of: S | { readonly service: S }): Client<S> {
  const service = "service" in of ? of.service : of;
  bind(service, []);
  const methods: Record<string, unknown> = {};
  for (const method of service.methods) {
    if (method.methodKind !== "unary") continue;
    methods[method.localName] = (request: object, metadata?: Metadata) =>
      new Target(method, encode(method.input, request), method.output, metadata);
  }
  return methods as Client<S>;
}

/** Encodes a message, or what one is made of. */
export function encode(schema: DescMessage, message: object): Uint8Array {
  return toBinary(schema, create(schema, message as MessageInitShape<DescMessage>));
}
