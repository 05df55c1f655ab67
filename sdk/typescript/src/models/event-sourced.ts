/**
 * Event sourced entities: a state that is what its events add up to.
 *
 * The folded state is held as a message. A handler reads it and emits events, which are folded at
 * once. If the handler then fails, what is held is ahead of what is stored, and the incarnation is let
 * go of (R43).
 */

import { create, type DescMessage, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { byName, detached, packed, unpacked } from "../any.js";
import { Component, type EntityOptions, type Handlers, type Method } from "../component.js";
import { EntityContext, type Caller, type Context } from "../context.js";
import type { Entity } from "../entity.js";
import { type ComponentSchema, Model } from "../generated/firn/v1/function_pb.js";
import type { AnyBytes, Command, Decision, Opening } from "../protocol/frames.js";
import type { AnyService } from "../target.js";

/** What an event sourced entity is declared with. */
export interface EventSourcedEntityOptions<
  S extends AnyService,
  D extends DescMessage,
  E extends DescMessage,
> extends EntityOptions<S> {
  /** The type of the state, which is also that of the snapshots. */
  state: D;
  /** The types of the events. */
  events: readonly E[];
  /** The state before the first event; an empty message if unset. */
  empty?: () => MessageInitShape<D>;
  /**
   * Folds an event into the state: gives the new state, or changes the one that it was given and
   * returns nothing. It does nothing else, and never fails: it runs again whenever the entity is
   * loaded.
   */
  apply: (state: MessageShape<D>, event: MessageShape<E>) => MessageInitShape<D> | void;
  /** After how many events a snapshot is stored; never if unset. */
  snapshotEvery?: number;
  /** The handlers, by the names of the methods. */
  handlers: Handlers<S, EventSourcedContext<D, E>>;
}

/** Declares an event sourced entity: its state is what its events add up to. */
export function eventSourcedEntity<S extends AnyService, D extends DescMessage, E extends DescMessage>(
  service: S,
  options: EventSourcedEntityOptions<S, D, E>,
): Component<S> {
  const { handlers, state, events, snapshotEvery = 0 } = options;
  if (!Number.isInteger(snapshotEvery) || snapshotEvery < 0) {
    throw new RangeError(`snapshotEvery has to be a number of events, not ${snapshotEvery}`);
  }
  const messages = [state, ...events];
  const erased = options as unknown as EventSourcedEntityOptions<AnyService, DescMessage, DescMessage>;
  return new EventSourcedEntity<S>({ service, options, handlers, messages }, erased);
}

/** A command of an event sourced entity. */
export class EventSourcedContext<
  D extends DescMessage = DescMessage,
  E extends DescMessage = DescMessage,
> extends EntityContext {
  /** @internal */
  _events: AnyBytes[] | undefined;
  /** @internal */
  _isDeleted = false;
  /** @internal */
  _state: MessageShape<D>;

  /** @internal */
  constructor(
    caller: Caller,
    method: Method,
    command: Command,
    receivedAt: number,
    entity: Entity,
    private readonly model: EventSourcedEntity<AnyService>,
  ) {
    super(caller, method, command, receivedAt, entity);
    this._state = entity.held as MessageShape<D>;
  }

  /** The state with all events folded, also those emitted just now. Only events change it. */
  get state(): MessageShape<D> {
    return this._state;
  }

  /** Says that an event happened, and folds it into the state. */
  emit<Event extends E>(schema: Event, event: MessageInitShape<Event>): void {
    this._alive();
    if (this._isDeleted) throw new Error("an entity that was deleted cannot emit events");
    const packedEvent = packed(schema, event as object);
    if (!this.model.knows(schema)) {
      throw new TypeError(`${schema.typeName} is no event of ${this._method.service.typeName}: add it to events`);
    }
    this._events ??= [];
    this._events.push(packedEvent);
    const message = create(schema, event) as MessageShape<DescMessage>;
    this._state = this.model.fold(this._state, message) as MessageShape<D>;
  }

  /** Deletes the entity: the next command finds the empty state. Timers stay. */
  delete(): void {
    this._alive();
    this._isDeleted = true;
    this._state = this.model.empty() as MessageShape<D>;
  }
}

class EventSourcedEntity<S extends AnyService> extends Component<S> {
  readonly #events: ReadonlyMap<string, DescMessage>;
  readonly #snapshots: ReadonlyMap<string, DescMessage>;

  constructor(
    declared: ConstructorParameters<typeof Component>[0],
    private readonly entity: EventSourcedEntityOptions<AnyService, DescMessage, DescMessage>,
  ) {
    super(declared);
    this.#events = byName(entity.events);
    this.#snapshots = byName([entity.state]);
  }

  knows(event: DescMessage): boolean {
    return this.#events.has(event.typeName);
  }

  empty(): MessageShape<DescMessage> {
    return create(this.entity.state, this.entity.empty?.());
  }

  fold(state: MessageShape<DescMessage>, event: MessageShape<DescMessage>): MessageShape<DescMessage> {
    const folded = this.entity.apply(state, event);
    return folded === undefined ? state : create(this.entity.state, folded);
  }

  protected override declare(component: MessageShape<typeof ComponentSchema>): void {
    component.model = Model.EVENT_SOURCED;
    component.state = this.entity.state.typeName;
    component.events = [...this.#events.keys()];
    component.snapshotEvery = this.entity.snapshotEvery ?? 0;
  }

  override open(entity: Entity, { history }: Opening): void {
    // R51: the snapshot, or nothing, and the events after it.
    const snapshot = history?.snapshot;
    let state =
      snapshot === undefined ? this.empty() : unpacked(detached(snapshot), this.#snapshots);
    for (const event of history?.events ?? []) {
      state = this.fold(state, unpacked(detached(event), this.#events));
    }
    entity.held = state;
  }

  override context(caller: Caller, method: Method, command: Command, receivedAt: number, entity: Entity): Context {
    return new EventSourcedContext(caller, method, command, receivedAt, entity, this as never);
  }

  override decide(context: EventSourcedContext, decision: Decision): void {
    const { version } = context._entity!;
    decision.version = version;
    if (context._isDeleted) {
      decision.version = 0; // R24
      decision.mutation = { kind: "delete" };
    } else if (context._events !== undefined) {
      decision.version = version + context._events.length; // R24
      const every = this.entity.snapshotEvery ?? 0;
      // R51: when the number of events reaches or passes a multiple.
      const isDue = every > 0 && Math.floor(decision.version / every) > Math.floor(version / every);
      const snapshot = isDue ? packed(this.entity.state, context._state) : undefined;
      decision.mutation = { kind: "append", events: context._events, snapshot };
    }
  }

  override commit(context: EventSourcedContext): void {
    const entity = context._entity!;
    entity.held = context._state;
    if (context._isDeleted) entity.version = 0;
    else entity.version += context._events?.length ?? 0;
  }

  override rollback(context: EventSourcedContext): boolean {
    return context._events !== undefined; // R43
  }
}
