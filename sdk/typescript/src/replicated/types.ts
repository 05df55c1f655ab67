/** The types of replicated data, to be named by a replicated entity. */

import type { DescMessage } from "@bufbuild/protobuf";
import { DataType as Number } from "../generated/firn/v1/function_pb.js";
import { AnyMapStore, CounterMap, MultiMap, RegisterMap, ReplicatedMap, UniformMapStore } from "./map.js";
import { GrowSet, ReplicatedSet, SetStore } from "./set.js";
import { Counter, CounterStore, Flag, FlagStore, GrowCounter, Register, RegisterStore, Vote, VoteStore } from "./simple.js";
import type { Delta, Journal, Store } from "./store.js";

/** Any replicated value, as handlers see it; `type` tells which. */
export type View =
  | Counter
  | GrowCounter
  | Flag
  | Register
  | Vote
  | GrowSet
  | ReplicatedSet
  | ReplicatedMap
  | CounterMap
  | RegisterMap
  | MultiMap;

/** A type of replicated data. Made by {@link counter}, {@link set} and so on. */
export interface DataType<V = View> {
  /** Its name. */
  readonly kind: Delta["case"];
  /** @internal */
  readonly number: Number;
  /** @internal The types of elements, keys and values. */
  readonly messages: () => readonly DescMessage[];
  /** @internal */
  readonly newStore: () => Store;
  /** @internal */
  readonly view: (store: Store, journal: Journal) => V;
}

/** A counter that goes up and down. */
export function counter(): DataType<Counter> {
  return {
    kind: "counter",
    number: Number.COUNTER,
    messages: none,
    newStore: () => new CounterStore("counter"),
    view: (store, journal) => new Counter(store as CounterStore, journal),
  };
}

/** A counter that only goes up. */
export function growCounter(): DataType<GrowCounter> {
  return {
    kind: "growCounter",
    number: Number.GROW_COUNTER,
    messages: none,
    newStore: () => new CounterStore("growCounter"),
    view: (store, journal) => new GrowCounter(store as CounterStore, journal),
  };
}

/** A flag that, once on, stays on. */
export function flag(): DataType<Flag> {
  return {
    kind: "flag",
    number: Number.FLAG,
    messages: none,
    newStore: () => new FlagStore(),
    view: (store, journal) => new Flag(store as FlagStore, journal),
  };
}

/** A value that is replaced as a whole; of several writes at once, one wins. */
export function register<D extends DescMessage>(value: D): DataType<Register<D>> {
  return {
    kind: "register",
    number: Number.REGISTER,
    messages: () => [value],
    newStore: () => new RegisterStore(),
    view: (store, journal) => new Register(store as RegisterStore, journal, value),
  };
}

/** One vote for each node. */
export function vote(): DataType<Vote> {
  return {
    kind: "vote",
    number: Number.VOTE,
    messages: none,
    newStore: () => new VoteStore(),
    view: (store, journal) => new Vote(store as VoteStore, journal),
  };
}

/** A set of messages that only grows. */
export function growSet<D extends DescMessage>(element: D): DataType<GrowSet<D>> {
  return {
    kind: "growSet",
    number: Number.GROW_SET,
    messages: () => [element],
    newStore: () => new SetStore("growSet"),
    view: (store, journal) => new GrowSet(store as SetStore, journal, element),
  };
}

/** A set of messages. */
export function set<D extends DescMessage>(element: D): DataType<ReplicatedSet<D>> {
  return {
    kind: "set",
    number: Number.SET,
    messages: () => [element],
    newStore: () => new SetStore("set"),
    view: (store, journal) => new ReplicatedSet(store as SetStore, journal, element),
  };
}

/** A map from messages to counters. */
export function counterMap<K extends DescMessage>(key: K): DataType<CounterMap<K>> {
  return {
    kind: "counterMap",
    number: Number.COUNTER_MAP,
    messages: () => [key],
    newStore: () => new UniformMapStore("counterMap"),
    view: (store, journal) => new CounterMap(store as UniformMapStore, journal, key),
  };
}

/** A map from messages to registers. */
export function registerMap<K extends DescMessage, V extends DescMessage>(
  key: K,
  value: V,
): DataType<RegisterMap<K, V>> {
  return {
    kind: "registerMap",
    number: Number.REGISTER_MAP,
    messages: () => [key, value],
    newStore: () => new UniformMapStore("registerMap"),
    view: (store, journal) => new RegisterMap(store as UniformMapStore, journal, key, value),
  };
}

/** A map from messages to sets of messages. */
export function multiMap<K extends DescMessage, V extends DescMessage>(
  key: K,
  value: V,
): DataType<MultiMap<K, V>> {
  return {
    kind: "multiMap",
    number: Number.MULTI_MAP,
    messages: () => [key, value],
    newStore: () => new UniformMapStore("multiMap"),
    view: (store, journal) => new MultiMap(store as UniformMapStore, journal, key, value),
  };
}

/**
 * A map from messages to replicated values of several types.
 *
 * `values` are the types that values may have, each kind once; a function, if the map itself is among
 * them.
 */
export function map<K extends DescMessage>(
  key: K,
  values: readonly DataType<unknown>[] | (() => readonly DataType<unknown>[]),
): DataType<ReplicatedMap<K>> {
  const types = () => (typeof values === "function" ? values() : values);
  const typeOf = (kind: Delta["case"]): DataType<unknown> => {
    const type = types().find((it) => it.kind === kind);
    if (type === undefined) throw new Error(`the map has a ${kind}, which it does not declare`);
    return type;
  };
  const self: DataType<ReplicatedMap<K>> = {
    kind: "map",
    number: Number.MAP,
    messages: () => [key, ...types().flatMap((it) => (it.kind === "map" ? [] : it.messages()))],
    newStore: () => new AnyMapStore((kind) => typeOf(kind).newStore()),
    view: (store, journal) =>
      new ReplicatedMap(
        store as AnyMapStore,
        journal,
        key,
        (inner, innerJournal) => typeOf(inner.kind).view(inner, innerJournal) as View,
      ),
  };
  return self;
}

function none(): readonly DescMessage[] {
  return [];
}
