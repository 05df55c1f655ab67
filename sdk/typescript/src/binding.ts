/**
 * Where code-first services get their descriptors.
 *
 * A service that was declared in code has none until all of its messages are known: those of its
 * methods, and the states and events that the component adds. Whoever needs descriptors binds first.
 */

import type { DescMessage } from "@bufbuild/protobuf";
import type { AnyService } from "./target.js";

/** Under this name a service that was declared in code keeps how it is bound. */
export const BIND = Symbol("firn bind");

/** Sees to it that a service and these messages have descriptors. Generated ones have them. */
export function bind(service: AnyService, messages: readonly DescMessage[]): void {
  const lazy = service as { [BIND]?: (messages: readonly DescMessage[]) => void };
  lazy[BIND]?.(messages);
}
