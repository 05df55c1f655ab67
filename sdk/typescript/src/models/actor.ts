/** Actors: a state with tags and timers. Held as value entities are: the state as bytes. */

import { create, fromBinary, type DescMessage, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { byName, detached, packed, unpacked } from "../any.js";
import { Component, type EntityOptions, type Handlers, type Method } from "../component.js";
import { EntityContext, type Caller, type Context } from "../context.js";
import type { Entity } from "../entity.js";
import { type ComponentSchema, Durability, Model } from "../generated/firn/v1/function_pb.js";
import type { ActorFrame, Command, Decision, Opening } from "../protocol/frames.js";
import type { AnyService } from "../target.js";

/** What an actor is declared with. */
export interface ActorOptions<S extends AnyService, D extends DescMessage> extends EntityOptions<S> {
  /** The type of the state. */
  state: D;
  /**
   * When the state becomes durable: before its command is answered (`"commit"`, the default), or later
   * (`"write_behind"`): what was not written when Firn is killed is lost.
   */
  durability?: "commit" | "write_behind";
  /** The handlers, by the names of the methods. */
  handlers: Handlers<S, ActorContext<D>>;
}

/** Declares an actor: an entity with a state, tags and timers. */
export function actor<S extends AnyService, D extends DescMessage>(
  service: S,
  options: ActorOptions<S, D>,
): Component<S> {
  const { handlers, state, durability = "commit" } = options;
  return new ActorComponent<S>({ service, options, handlers, messages: [state] }, state, durability);
}

/** A command of an actor. */
export class ActorContext<D extends DescMessage = DescMessage> extends EntityContext {
  /** @internal */
  _state: { state: MessageShape<D> | undefined } | undefined;
  /** @internal */
  _tags: ReadonlyMap<string, string> | undefined;
  /** @internal Whether the last word on the state was to delete it. */
  _isDeleted = false;
  /** @internal */
  _left: ActorFrame | undefined;
  #read: { state: MessageShape<D> | undefined } | undefined;

  /** @internal */
  constructor(
    caller: Caller,
    method: Method,
    command: Command,
    receivedAt: number,
    entity: Entity,
    private readonly schema: D,
  ) {
    super(caller, method, command, receivedAt, entity);
  }

  /** The state; undefined if there is none. It changes by {@link set} only. */
  get state(): MessageShape<D> | undefined {
    if (this._state !== undefined) return this._state.state;
    if (this.#read === undefined) {
      const { state } = this._entity!.held as ActorFrame;
      this.#read = { state: state === undefined ? undefined : fromBinary(this.schema, state.value) };
    }
    return this.#read.state;
  }

  /** The tags: text under names. */
  get tags(): ReadonlyMap<string, string> {
    return this._tags ?? (this._entity!.held as ActorFrame).tags;
  }

  /** Replaces the state. */
  set(state: MessageInitShape<D>): void {
    this._alive();
    this._state = { state: create(this.schema, state) };
    this._isDeleted = false;
  }

  /** Replaces all tags: at most 64, of at most 1 KiB each. */
  setTags(tags: Iterable<readonly [string, string]> | Readonly<Record<string, string>>): void {
    this._alive();
    this._tags = new Map(Symbol.iterator in tags ? (tags as Iterable<[string, string]>) : Object.entries(tags));
    this._isDeleted = false;
  }

  /** Deletes the actor: the next command finds no state and no tags. Timers stay. */
  delete(): void {
    this._alive();
    this._state = { state: undefined };
    this._tags = new Map();
    this._isDeleted = true;
  }
}

class ActorComponent<S extends AnyService> extends Component<S> {
  readonly #known: ReadonlyMap<string, DescMessage>;

  constructor(
    declared: ConstructorParameters<typeof Component>[0],
    private readonly state: DescMessage,
    private readonly durability: "commit" | "write_behind",
  ) {
    super(declared);
    this.#known = byName([state]);
  }

  protected override declare(component: MessageShape<typeof ComponentSchema>): void {
    component.model = Model.ACTOR;
    component.state = this.state.typeName;
    component.durability =
      this.durability === "write_behind" ? Durability.WRITE_BEHIND : Durability.COMMIT;
  }

  override open(entity: Entity, { actor: frame }: Opening): void {
    const state = frame?.state;
    if (state !== undefined) unpacked(state, this.#known); // R43: a state that is damaged shows here
    entity.held = {
      state: state === undefined ? undefined : detached(state),
      tags: frame?.tags ?? new Map(),
    } satisfies ActorFrame;
  }

  override context(caller: Caller, method: Method, command: Command, receivedAt: number, entity: Entity): Context {
    return new ActorContext(caller, method, command, receivedAt, entity, this.state);
  }

  override decide(context: ActorContext, decision: Decision): void {
    const entity = context._entity!;
    decision.version = entity.version; // R24
    if (context._state === undefined && context._tags === undefined) return;
    decision.version++;
    const held = entity.held as ActorFrame;
    const changed = context._state;
    const left: ActorFrame = {
      state:
        changed === undefined
          ? held.state
          : changed.state === undefined
            ? undefined
            : packed(this.state, changed.state),
      tags: new Map(context._tags ?? held.tags), // R54: tags replace those before
    };
    context._left = left;
    decision.mutation = context._isDeleted ? { kind: "delete" } : { kind: "actor", ...left };
  }

  override commit(context: ActorContext): void {
    if (context._left === undefined) return;
    const entity = context._entity!;
    entity.held = context._left;
    entity.version++;
  }

  override rollback(): boolean {
    return false;
  }
}
