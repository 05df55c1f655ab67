/**
 * Stateful functions for Firn.
 *
 * Read first: {@link FirnFunction}, then the kinds of components: {@link valueEntity},
 * {@link eventSourcedEntity}, {@link replicatedEntity}, {@link actor}, {@link action}.
 *
 * @module
 */

export { FirnFunction, RefusedError, type FunctionOptions } from "./function.js";
export { action, type ActionOptions } from "./models/action.js";
export { valueEntity, type ValueContext, type ValueEntityOptions } from "./models/value.js";
export {
  eventSourcedEntity,
  type EventSourcedContext,
  type EventSourcedEntityOptions,
} from "./models/event-sourced.js";
export {
  replicatedEntity,
  type ReplicatedContext,
  type ReplicatedEntityOptions,
  type WriteConsistency,
} from "./models/replicated.js";
export { actor, type ActorContext, type ActorOptions } from "./models/actor.js";
export * as data from "./replicated/types.js";
export type { DataType, View } from "./replicated/types.js";
export type { CounterMap, MultiMap, RegisterMap, ReplicatedMap } from "./replicated/map.js";
export type { GrowSet, ReplicatedSet } from "./replicated/set.js";
export type { Counter, Flag, GrowCounter, Register, Vote, WriteOptions } from "./replicated/simple.js";
export type { Component, ComponentOptions, EntityOptions, Handler, Handlers, Reply } from "./component.js";
export {
  type ActionContext,
  type CallOptions,
  type Context,
  type EffectOptions,
  type EntityContext,
  Forward,
} from "./context.js";
export { Code, Failure } from "./failure.js";
export { Metadata } from "./metadata.js";
export { client, type AnyService, type Client, Target } from "./target.js";
export { consoleLogger, type CommandHook, type CommandRecord, type Logger } from "./log.js";
export { VERSION } from "./version.js";
