/**
 * Value entities: a state that is replaced as a whole.
 *
 * The state is held as bytes, and decoded for each handler that reads it. So what a handler does to
 * its copy without `set` has no effect, and a handler that fails leaves nothing behind.
 */

import { create, fromBinary, type DescMessage, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { byName, detached, packed, unpacked } from "../any.js";
import { Component, type EntityOptions, type Handlers, type Method } from "../component.js";
import { EntityContext, type Caller, type Context } from "../context.js";
import type { Entity } from "../entity.js";
import { type ComponentSchema, Model } from "../generated/firn/v1/function_pb.js";
import type { AnyBytes, Command, Decision, Opening } from "../protocol/frames.js";
import type { AnyService } from "../target.js";

/** What a value entity is declared with. */
export interface ValueEntityOptions<S extends AnyService, D extends DescMessage>
  extends EntityOptions<S> {
  /** The type of the state. */
  state: D;
  /** The handlers, by the names of the methods. */
  handlers: Handlers<S, ValueContext<D>>;
}

/** Declares a value entity: its state is replaced as a whole. */
export function valueEntity<S extends AnyService, D extends DescMessage>(
  service: S,
  options: ValueEntityOptions<S, D>,
): Component<S> {
  const { handlers, state } = options;
  return new ValueEntity<S>({ service, options, handlers, messages: [state] }, state);
}

/** A command of a value entity. */
export class ValueContext<D extends DescMessage = DescMessage> extends EntityContext {
  /** @internal What the handler has done to the state. */
  _change: { state: MessageShape<D> | undefined } | undefined;
  /** @internal The encoded state that the decision leaves, once it was made. */
  _left: AnyBytes | undefined;
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
    if (this._change !== undefined) return this._change.state;
    this.#read ??= { state: decoded(this._entity!.held as AnyBytes | undefined, this.schema) };
    return this.#read.state;
  }

  /** Replaces the state. */
  set(state: MessageInitShape<D>): void {
    this._alive();
    this._change = { state: create(this.schema, state) };
  }

  /** Deletes the entity: the next command finds no state. Timers stay. */
  delete(): void {
    this._alive();
    this._change = { state: undefined };
  }
}

function decoded<D extends DescMessage>(held: AnyBytes | undefined, schema: D): MessageShape<D> | undefined {
  return held === undefined ? undefined : fromBinary(schema, held.value);
}

class ValueEntity<S extends AnyService> extends Component<S> {
  readonly #known: ReadonlyMap<string, DescMessage>;

  constructor(
    declared: ConstructorParameters<typeof Component>[0],
    private readonly state: DescMessage,
  ) {
    super(declared);
    this.#known = byName([state]);
  }

  protected override declare(component: MessageShape<typeof ComponentSchema>): void {
    component.model = Model.VALUE;
    component.state = this.state.typeName;
  }

  override open(entity: Entity, { value }: Opening): void {
    if (value !== undefined) unpacked(value, this.#known); // R43: a state that is damaged shows here
    entity.held = value === undefined ? undefined : detached(value);
  }

  override context(caller: Caller, method: Method, command: Command, receivedAt: number, entity: Entity): Context {
    return new ValueContext(caller, method, command, receivedAt, entity, this.state);
  }

  override decide(context: ValueContext, decision: Decision): void {
    const { version } = context._entity!;
    decision.version = version; // R24
    if (context._change === undefined) return;
    decision.version = version + 1;
    const { state } = context._change;
    context._left = state === undefined ? undefined : packed(this.state, state);
    decision.mutation =
      context._left === undefined ? { kind: "delete" } : { kind: "set", value: context._left };
  }

  override commit(context: ValueContext): void {
    if (context._change === undefined) return;
    const entity = context._entity!;
    entity.held = context._left;
    entity.version++;
  }

  override rollback(): boolean {
    return false;
  }
}
