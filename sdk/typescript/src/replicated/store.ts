/**
 * Replicated data as the SDK holds it, and how a delta is made of what a handler does.
 *
 * A {@link Store} holds a value. Handlers see it through a view, which belongs to one command: it
 * changes the store at once and notes in the command's {@link Journal} what it did. From the journal
 * come the delta of the decision, and the way back if the handler fails.
 */

import type { MessageShape } from "@bufbuild/protobuf";
import type { DeltaSchema } from "../generated/firn/v1/function_pb.js";
import type { AnyBytes } from "../protocol/frames.js";

/** A delta without its message around. */
export type Delta = Exclude<MessageShape<typeof DeltaSchema>["delta"], { case: undefined }>;

/** The value of an entity, and who is to be told when it changes. */
export class Root {
  /** Counts what handlers and Firn do to the value, so that a handler knows if it was alone. */
  changes = 0;
  /** Counts what can be shown: decided changes, and those of others. */
  shown = 0;
  isDeleted = false;
  readonly watchers = new Set<() => void>();

  constructor(public store: Store) {}

  /** There is something new to show. */
  show(): void {
    this.shown++;
    for (const wake of [...this.watchers]) wake();
  }
}

/** A replicated value. `C` is what a journal notes of it. */
export abstract class Store<C = unknown> {
  /** What it is a value of, if it is one in a map. */
  parent: { touch(journal: Journal): void } | undefined;

  /** The name of its type, as in deltas. */
  abstract readonly kind: Delta["case"];

  /** What a journal notes at first. */
  abstract newChange(): C;

  /** Takes a change from elsewhere. Throws if it is one of another type. */
  abstract apply(delta: Delta): void;

  /** What a journal has done to it; undefined for nothing. */
  abstract delta(journal: Journal): Delta | undefined;

  /** The value, as a change of the empty one. */
  abstract whole(): Delta;
}

/** What one command does to the data. */
export class Journal {
  readonly #changes = new Map<Store, unknown>();
  readonly #undo: (() => void)[] = [];
  #first = 0;
  #isOver = false;

  constructor(readonly root: Root) {}

  /** Notes that the store is changed, and how it is changed back. */
  note<C>(store: Store<C>, undo: () => void): C {
    if (this.#isOver) {
      throw new Error("the command was answered already: change the data before the handler returns");
    }
    if (this.#undo.length === 0) this.#first = this.root.changes;
    this.root.changes++;
    this.#undo.push(undo);
    return this.touch(store);
  }

  /** What was noted of a store. */
  of<C>(store: Store<C>): C | undefined {
    return this.#changes.get(store) as C | undefined;
  }

  /** What was noted of a store, which is changed by what happens to a part of it. */
  touch<C>(store: Store<C>): C {
    const known = this.#changes.get(store);
    if (known !== undefined) return known as C;
    const change = store.newChange();
    this.#changes.set(store, change);
    store.parent?.touch(this);
    return change;
  }

  /** The command was answered: its views change nothing any more. */
  end(): void {
    this.#isOver = true;
  }

  get isEmpty(): boolean {
    return this.#undo.length === 0;
  }

  /**
   * Takes everything back. Returns false if that cannot be done, since others have changed the value
   * meanwhile.
   */
  rollback(): boolean {
    if (this.isEmpty) return true;
    if (this.root.changes !== this.#first + this.#undo.length) return false;
    for (const undo of this.#undo.reverse()) undo();
    return true;
  }
}

/** A key for maps and sets of the language: elements are compared as they are, type URL and bytes. */
export function keyOf({ typeUrl, value }: AnyBytes): string {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  return `${typeUrl}\n${bytes.toString("latin1")}`;
}

/** Says that a delta does not fit. */
export function misfit(store: Store, delta: Delta): Error {
  return new Error(`a change of a ${delta.case} came for a ${store.kind}`);
}
