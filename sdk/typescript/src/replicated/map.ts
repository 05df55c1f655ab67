/** Maps: from messages to counters, registers, sets, or values of several types. */

import { create, type DescMessage, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { byName, detached, packed, unpacked } from "../any.js";
import {
  CounterMapDelta_EntrySchema,
  CounterMapDeltaSchema,
  DeltaSchema,
  MapDeltaSchema,
  MapEntrySchema,
  MultiMapDelta_EntrySchema,
  MultiMapDeltaSchema,
  RegisterMapDelta_EntrySchema,
  RegisterMapDeltaSchema,
} from "../generated/firn/v1/function_pb.js";
import type { AnyBytes } from "../protocol/frames.js";
import { ReplicatedSet, SetStore } from "./set.js";
import { Counter, CounterStore, Register, RegisterStore, type WriteOptions } from "./simple.js";
import { keyOf, misfit, Store, type Delta, type Journal } from "./store.js";
import type { DataType, View } from "./types.js";

type Any = MessageShape<typeof AnySchema>;

interface MapChange {
  cleared: boolean;
  removed: Map<string, AnyBytes>;
  /** Keys of entries that this journal has made. */
  made: Set<string>;
  /** Keys of entries whose values this journal has changed. */
  touched: Set<string>;
}

interface MapEntry {
  key: AnyBytes;
  value: Store;
}

/** What all maps have in common; how a delta is written differs. */
export abstract class MapStore extends Store<MapChange> {
  entries = new Map<string, MapEntry>();

  override newChange(): MapChange {
    return { cleared: false, removed: new Map(), made: new Set(), touched: new Set() };
  }

  /** Takes the part of a change that is alike for all maps. */
  protected applyRemovals(cleared: boolean, removed: readonly AnyBytes[]): void {
    if (cleared) this.entries.clear();
    for (const key of removed) this.entries.delete(keyOf(key));
  }

  /** Puts a value in, without noting it. */
  protected put(key: AnyBytes, value: Store): Store {
    const name = keyOf(key);
    value.parent = { touch: (journal) => journal.touch<MapChange>(this).touched.add(name) };
    this.entries.set(name, { key, value });
    return value;
  }

  override delta(journal: Journal): Delta | undefined {
    const change = journal.of<MapChange>(this);
    if (change === undefined) return undefined;
    const made: [Any, Delta][] = [];
    const updated: [Any, Delta][] = [];
    for (const name of new Set([...change.touched, ...change.made])) {
      const entry = this.entries.get(name);
      if (entry === undefined) continue;
      const key = create(AnySchema, entry.key);
      const delta = entry.value.delta(journal);
      if (change.made.has(name)) made.push([key, delta ?? entry.value.whole()]);
      else if (delta !== undefined) updated.push([key, delta]);
    }
    const { cleared } = change;
    const removed = [...change.removed.values()].map((key) => create(AnySchema, key));
    if (!cleared && removed.length + made.length + updated.length === 0) return undefined;
    return this.written({ cleared, removed, made, updated });
  }

  protected abstract written(change: {
    cleared: boolean;
    removed: Any[];
    made: [Any, Delta][];
    updated: [Any, Delta][];
  }): Delta;

  override whole(): Delta {
    const made = [...this.entries.values()].map(({ key, value }): [Any, Delta] => [create(AnySchema, key), value.whole()]);
    return this.written({ cleared: false, removed: [], made, updated: [] });
  }

  /** The value of a key, made with `empty` if there is none. */
  getOrMake(journal: Journal, key: AnyBytes, empty: () => Store): Store {
    const name = keyOf(key);
    const known = this.entries.get(name);
    if (known !== undefined) return known.value;
    journal.note(this, () => this.entries.delete(name)).made.add(name);
    return this.put(key, empty());
  }

  remove(journal: Journal, key: AnyBytes): void {
    const name = keyOf(key);
    const entry = this.entries.get(name);
    if (entry === undefined) return;
    const change = journal.note(this, () => this.entries.set(name, entry));
    change.touched.delete(name);
    if (!change.made.delete(name) && !change.cleared) change.removed.set(name, key);
    this.entries.delete(name);
  }

  clear(journal: Journal): void {
    if (this.entries.size === 0) return;
    const before = this.entries;
    const change = journal.note(this, () => {
      this.entries = before;
    });
    change.cleared = true;
    change.removed.clear();
    change.made.clear();
    change.touched.clear();
    this.entries = new Map();
  }
}

/** A map whose values may be of several types. */
export class AnyMapStore extends MapStore {
  readonly kind = "map";

  constructor(private readonly storeOf: (kind: Delta["case"]) => Store) {
    super();
  }

  override apply(delta: Delta): void {
    if (delta.case !== "map") throw misfit(this, delta);
    const { cleared, removed, updated, added } = delta.value;
    this.applyRemovals(cleared, removed);
    for (const { key, delta: inner } of updated) {
      const value = this.entries.get(keyOf(key ?? NO_KEY))?.value;
      // A change of a key that is gone, or of another type, is ignored.
      if (inner?.delta.case !== undefined && inner.delta.case === value?.kind) value.apply(inner.delta);
    }
    for (const { key, delta: inner } of added) {
      if (inner?.delta.case === undefined) continue; // R6
      const value = this.storeOf(inner.delta.case);
      value.apply(inner.delta);
      this.put(detached(key ?? NO_KEY), value);
    }
  }

  protected override written(change: {
    cleared: boolean;
    removed: Any[];
    made: [Any, Delta][];
    updated: [Any, Delta][];
  }): Delta {
    const entry = ([key, delta]: [Any, Delta]) =>
      create(MapEntrySchema, { key, delta: create(DeltaSchema, { delta }) });
    const { cleared, removed } = change;
    const [added, updated] = [change.made.map(entry), change.updated.map(entry)];
    return { case: "map", value: create(MapDeltaSchema, { cleared, removed, updated, added }) };
  }
}

/** A map whose values are all counters, all registers, or all sets. */
export class UniformMapStore extends MapStore {
  constructor(readonly kind: "counterMap" | "registerMap" | "multiMap") {
    super();
  }

  newValue(): Store {
    if (this.kind === "counterMap") return new CounterStore("counter");
    if (this.kind === "registerMap") return new RegisterStore();
    return new SetStore("set");
  }

  override apply(delta: Delta): void {
    switch (delta.case) {
      case "counterMap":
        this.#apply(delta, delta.value.updated, ({ change }) => ({ case: "counter", value: change }));
        break;
      case "registerMap":
        this.#apply(delta, delta.value.updated, ({ write }) => write && { case: "register", value: write });
        break;
      case "multiMap":
        this.#apply(delta, delta.value.updated, ({ change }) => change && { case: "set", value: change });
        break;
      default:
        throw misfit(this, delta);
    }
  }

  #apply<E extends { key?: Any | undefined }>(
    delta: Delta & { case: "counterMap" | "registerMap" | "multiMap" },
    updated: readonly E[],
    inner: (entry: E) => Delta | undefined,
  ): void {
    if (delta.case !== this.kind) throw misfit(this, delta);
    this.applyRemovals(delta.value.cleared, delta.value.removed);
    for (const entry of updated) {
      const key = entry.key ?? NO_KEY;
      const value = this.entries.get(keyOf(key))?.value ?? this.put(detached(key), this.newValue());
      const change = inner(entry);
      if (change !== undefined) value.apply(change);
    }
  }

  protected override written(change: {
    cleared: boolean;
    removed: Any[];
    made: [Any, Delta][];
    updated: [Any, Delta][];
  }): Delta {
    const { cleared, removed } = change;
    const changed = [...change.updated, ...change.made]; // which also adds
    if (this.kind === "counterMap") {
      const updated = changed.map(([key, delta]) =>
        create(CounterMapDelta_EntrySchema, { key, change: delta.value as bigint }),
      );
      return { case: "counterMap", value: create(CounterMapDeltaSchema, { cleared, removed, updated }) };
    }
    if (this.kind === "registerMap") {
      const updated = changed.map(([key, delta]) =>
        create(RegisterMapDelta_EntrySchema, delta.case === "register" ? { key, write: delta.value } : { key }),
      );
      return { case: "registerMap", value: create(RegisterMapDeltaSchema, { cleared, removed, updated }) };
    }
    const updated = changed.map(([key, delta]) =>
      create(MultiMapDelta_EntrySchema, delta.case === "set" ? { key, change: delta.value } : { key }),
    );
    return { case: "multiMap", value: create(MultiMapDeltaSchema, { cleared, removed, updated }) };
  }
}

const NO_KEY: AnyBytes = { typeUrl: "", value: new Uint8Array() };

/** What all maps can do. */
abstract class MapView<K extends DescMessage> {
  /** @internal */
  constructor(
    protected readonly store: MapStore,
    protected readonly journal: Journal,
    protected readonly keySchema: K,
  ) {}

  /** How many entries there are. */
  get size(): number {
    return this.store.entries.size;
  }

  /** Whether there is an entry of a key. */
  has(key: MessageInitShape<K>): boolean {
    return this.find(key) !== undefined;
  }

  /** Removes an entry. */
  remove(key: MessageInitShape<K>): void {
    this.store.remove(this.journal, this.packed(key));
  }

  /** Removes all entries. */
  clear(): void {
    this.store.clear(this.journal);
  }

  /** The keys. */
  *keys(): IterableIterator<MessageShape<K>> {
    const schemas = byName([this.keySchema]);
    for (const { key } of this.store.entries.values()) yield unpacked(key, schemas) as MessageShape<K>;
  }

  protected packed(key: MessageInitShape<K>): AnyBytes {
    return packed(this.keySchema, key as object);
  }

  protected find(key: MessageInitShape<K>): Store | undefined {
    return this.store.entries.get(keyOf(this.packed(key)))?.value;
  }

  protected *pairs(): IterableIterator<[MessageShape<K>, Store]> {
    const schemas = byName([this.keySchema]);
    for (const { key, value } of this.store.entries.values()) {
      yield [unpacked(key, schemas) as MessageShape<K>, value];
    }
  }
}

/** A map from messages to counters. */
export class CounterMap<K extends DescMessage = DescMessage>
  extends MapView<K>
  implements Iterable<[MessageShape<K>, bigint]>
{
  /** The type of the data. */
  readonly type = "counterMap";

  /** The number under a key; 0 if there is none. */
  get(key: MessageInitShape<K>): bigint {
    return (this.find(key) as CounterStore | undefined)?.value ?? 0n;
  }

  /** Adds to the number under a key, which is there from then on; a negative number takes away. */
  increment(key: MessageInitShape<K>, by: bigint | number = 1): void {
    this.counter(key).increment(by);
  }

  /** Takes away from the number under a key, which is there from then on. */
  decrement(key: MessageInitShape<K>, by: bigint | number = 1): void {
    this.counter(key).decrement(by);
  }

  /** The counter under a key, which is there from then on. */
  counter(key: MessageInitShape<K>): Counter {
    const store = this.store as UniformMapStore;
    const value = store.getOrMake(this.journal, this.packed(key), () => store.newValue());
    return new Counter(value as CounterStore, this.journal);
  }

  /** The keys with their numbers. */
  *[Symbol.iterator](): IterableIterator<[MessageShape<K>, bigint]> {
    for (const [key, value] of this.pairs()) yield [key, (value as CounterStore).value];
  }
}

/** A map from messages to registers. */
export class RegisterMap<K extends DescMessage = DescMessage, V extends DescMessage = DescMessage>
  extends MapView<K>
  implements Iterable<[MessageShape<K>, MessageShape<V> | undefined]>
{
  /** The type of the data. */
  readonly type = "registerMap";

  /** @internal */
  constructor(
    store: MapStore,
    journal: Journal,
    keySchema: K,
    private readonly valueSchema: V,
  ) {
    super(store, journal, keySchema);
  }

  /** The value under a key. */
  get(key: MessageInitShape<K>): MessageShape<V> | undefined {
    const value = this.find(key);
    return value && this.#register(value).value;
  }

  /** Writes the value under a key. */
  set(key: MessageInitShape<K>, value: MessageInitShape<V>, options: WriteOptions = {}): void {
    const store = this.store as UniformMapStore;
    const register = store.getOrMake(this.journal, this.packed(key), () => store.newValue());
    this.#register(register).set(value, options);
  }

  /** The keys with their values. */
  *[Symbol.iterator](): IterableIterator<[MessageShape<K>, MessageShape<V> | undefined]> {
    for (const [key, value] of this.pairs()) yield [key, this.#register(value).value];
  }

  #register(store: Store): Register<V> {
    return new Register(store as RegisterStore, this.journal, this.valueSchema);
  }
}

/** A map from messages to sets of messages. */
export class MultiMap<K extends DescMessage = DescMessage, V extends DescMessage = DescMessage>
  extends MapView<K>
  implements Iterable<[MessageShape<K>, ReplicatedSet<V>]>
{
  /** The type of the data. */
  readonly type = "multiMap";

  /** @internal */
  constructor(
    store: MapStore,
    journal: Journal,
    keySchema: K,
    private readonly valueSchema: V,
  ) {
    super(store, journal, keySchema);
  }

  /** The set under a key, if there is one. */
  get(key: MessageInitShape<K>): ReplicatedSet<V> | undefined {
    const value = this.find(key);
    return value && this.#set(value);
  }

  /** The set under a key, which is there from then on. */
  set(key: MessageInitShape<K>): ReplicatedSet<V> {
    const store = this.store as UniformMapStore;
    return this.#set(store.getOrMake(this.journal, this.packed(key), () => store.newValue()));
  }

  /** Adds a value to those of a key. */
  add(key: MessageInitShape<K>, value: MessageInitShape<V>): void {
    this.set(key).add(value);
  }

  /** The keys with their sets. */
  *[Symbol.iterator](): IterableIterator<[MessageShape<K>, ReplicatedSet<V>]> {
    for (const [key, value] of this.pairs()) yield [key, this.#set(value)];
  }

  #set(store: Store): ReplicatedSet<V> {
    return new ReplicatedSet(store as SetStore, this.journal, this.valueSchema);
  }
}

/** A map from messages to replicated values of several types. */
export class ReplicatedMap<K extends DescMessage = DescMessage>
  extends MapView<K>
  implements Iterable<[MessageShape<K>, View]>
{
  /** The type of the data. */
  readonly type = "map";

  /** @internal */
  constructor(
    store: MapStore,
    journal: Journal,
    keySchema: K,
    private readonly view: (store: Store, journal: Journal) => View,
  ) {
    super(store, journal, keySchema);
  }

  /** The value under a key: undefined if there is none, or if it is of another type. */
  get<V extends View>(key: MessageInitShape<K>, type: DataType<V>): V | undefined {
    const value = this.find(key);
    return value?.kind === type.kind ? type.view(value, this.journal) : undefined;
  }

  /**
   * The value under a key, which is there from then on: an empty one of this type if there was none.
   * Throws TypeError if there is one of another type.
   */
  add<V extends View>(key: MessageInitShape<K>, type: DataType<V>): V {
    const value = this.store.getOrMake(this.journal, this.packed(key), () => type.newStore());
    if (value.kind !== type.kind) {
      throw new TypeError(`the entry is a ${value.kind}: remove it before it is added as a ${type.kind}`);
    }
    return type.view(value, this.journal);
  }

  /** The keys with their values. */
  *[Symbol.iterator](): IterableIterator<[MessageShape<K>, View]> {
    for (const [key, value] of this.pairs()) yield [key, this.view(value, this.journal)];
  }
}
