/** Replicated entities: data of which every node that is asked has a replica. */

import { create, fromBinary, toBinary, type MessageShape } from "@bufbuild/protobuf";
import { Component, type EntityOptions, type Handlers, type Method } from "../component.js";
import { Context, type Caller } from "../context.js";
import type { Entity } from "../entity.js";
import { type ComponentSchema, Consistency, DeltaSchema, Model } from "../generated/firn/v1/function_pb.js";
import type { Command, Decision, Opening } from "../protocol/frames.js";
import { Journal, Root, type Store } from "../replicated/store.js";
import type { DataType, View } from "../replicated/types.js";
import type { AnyService } from "../target.js";

/**
 * How many replicas must hold a change durably before it is answered: this node, in memory; more than
 * half of the members; all members.
 */
export type WriteConsistency = "local" | "majority" | "all";

/** What a replicated entity is declared with. */
export interface ReplicatedEntityOptions<S extends AnyService, V> extends EntityOptions<S> {
  /** The type of the data: `data.counter()`, `data.set(Element)` and so on. */
  data: DataType<V>;
  /** How many replicas must hold a change before it is answered; `"local"` if unset. */
  consistency?: WriteConsistency;
  /** The handlers, by the names of the methods. */
  handlers: Handlers<S, ReplicatedContext<V>>;
}

/** Declares a replicated entity. Its methods may stream replies, to show changes as they happen. */
export function replicatedEntity<S extends AnyService, V>(
  service: S,
  options: ReplicatedEntityOptions<S, V>,
): Component<S> {
  const { handlers, data, consistency = "local" } = options;
  const declared = { service, options, handlers, messages: data.messages() };
  return new ReplicatedEntity<S>(declared, data as DataType<unknown>, consistency);
}

/** A command of a replicated entity. */
export class ReplicatedContext<V = View> extends Context {
  /** How many replicas must hold this command's change, if more than the component says. */
  consistency: WriteConsistency = "local";
  /** @internal */
  _isDeleted = false;
  /** @internal */
  _hasChanged = false;
  /** @internal */
  readonly _journal: Journal;
  /** @internal */
  readonly _root: Root;

  /** @internal */
  constructor(
    caller: Caller,
    method: Method,
    command: Command,
    receivedAt: number,
    entity: Entity,
    private readonly dataType: DataType<V>,
  ) {
    super(caller, method, command, receivedAt, entity);
    this._root = entity.held as Root;
    this._journal = new Journal(this._root);
  }

  /** The id of the entity. */
  get entityId(): string {
    return this._entity!.id;
  }

  /** The data. Changing it is all that a handler has to do. */
  get data(): V {
    return this.dataType.view(this._root.store, this._journal);
  }

  /** Deletes the entity, for ever. */
  delete(): void {
    this._alive();
    this._isDeleted = true;
  }

  /**
   * The data now, and again after every change, by whomever; changes that came while the last ones
   * were looked at are one. Ends when the caller has gone, or the entity is deleted.
   *
   * ```ts
   * async *watch(request, context) {
   *   for await (const data of context.changes()) yield shown(data);
   * }
   * ```
   */
  async *changes(): AsyncGenerator<V, void, undefined> {
    const root = this._root;
    for (let seen = -1; !this._isCancelled && !root.isDeleted; ) {
      if (seen === root.shown) {
        await this.#news();
        continue;
      }
      // What came in the same batch is shown at once, not change by change.
      await new Promise((resolve) => setImmediate(resolve));
      if (this._isCancelled || root.isDeleted) return;
      seen = root.shown;
      yield this.data;
    }
  }

  async #news(): Promise<void> {
    this._onCancel ??= new Set();
    const [watchers, cancels] = [this._root.watchers, this._onCancel];
    let wake: () => void = () => {};
    const woken = new Promise<void>((resolve) => {
      wake = resolve;
      watchers.add(wake);
      cancels.add(wake);
    });
    await woken;
    watchers.delete(wake);
    cancels.delete(wake);
  }
}

const CONSISTENCY = {
  local: Consistency.LOCAL,
  majority: Consistency.MAJORITY,
  all: Consistency.ALL,
} as const;

class ReplicatedEntity<S extends AnyService> extends Component<S> {
  constructor(
    declared: ConstructorParameters<typeof Component>[0],
    private readonly data: DataType<unknown>,
    private readonly consistency: WriteConsistency,
  ) {
    super(declared);
  }

  override get isSerial(): boolean {
    return false; // R52: several commands may be open
  }

  protected override declare(component: MessageShape<typeof ComponentSchema>): void {
    component.model = Model.REPLICATED;
    component.data = this.data.number;
    component.consistency = CONSISTENCY[this.consistency];
  }

  override open(entity: Entity, { data }: Opening): void {
    const root = new Root(this.data.newStore());
    if (data !== undefined) applyDelta(root, data); // R52: a change of the empty value
    entity.held = root;
  }

  override context(caller: Caller, method: Method, command: Command, receivedAt: number, entity: Entity): Context {
    return new ReplicatedContext(caller, method, command, receivedAt, entity, this.data);
  }

  override decide(context: ReplicatedContext<unknown>, decision: Decision): void {
    if (context._isDeleted) {
      if (!context._journal.isEmpty) throw new Error("a handler cannot change and delete an entity at once");
      decision.mutation = { kind: "delete" };
      return;
    }
    const change = context._journal.isEmpty ? undefined : context._root.store.delta(context._journal);
    if (change === undefined) return;
    const delta = toBinary(DeltaSchema, create(DeltaSchema, { delta: change }));
    context._hasChanged = true;
    decision.mutation = { kind: "update", delta, consistency: CONSISTENCY[context.consistency] };
  }

  override commit(context: ReplicatedContext<unknown>): void {
    const root = context._root;
    context._journal.end();
    if (context._isDeleted) this.#delete(root);
    else if (context._hasChanged) root.show();
  }

  override rollback(context: ReplicatedContext<unknown>): boolean {
    context._journal.end();
    return !context._journal.rollback();
  }

  override change(entity: Entity, delta: Uint8Array | undefined): void {
    const root = entity.held as Root;
    if (delta === undefined) this.#delete(root);
    else if (delta.length > 0) applyDelta(root, delta);
    root.changes++;
    root.show();
  }

  override emptyStore(): Store {
    return this.data.newStore();
  }

  #delete(root: Root): void {
    root.store = this.data.newStore();
    root.isDeleted = true;
    root.show();
  }
}

function applyDelta(root: Root, bytes: Uint8Array): void {
  const { delta } = fromBinary(DeltaSchema, bytes);
  if (delta.case !== undefined) root.store.apply(delta);
}
