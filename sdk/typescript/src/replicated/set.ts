/** Sets. */

import { create, type DescMessage, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { byName, detached, packed, unpacked } from "../any.js";
import { ElementsSchema, SetDeltaSchema } from "../generated/firn/v1/function_pb.js";
import type { AnyBytes } from "../protocol/frames.js";
import { keyOf, misfit, Store, type Delta, type Journal } from "./store.js";

interface SetChange {
  cleared: boolean;
  removed: Map<string, AnyBytes>;
  added: Map<string, AnyBytes>;
}

export class SetStore extends Store<SetChange> {
  elements = new Map<string, AnyBytes>();

  constructor(readonly kind: "set" | "growSet") {
    super();
  }

  override newChange(): SetChange {
    return { cleared: false, removed: new Map(), added: new Map() };
  }

  override apply(delta: Delta): void {
    if (delta.case !== this.kind) throw misfit(this, delta);
    if (delta.case === "growSet") {
      for (const it of delta.value.elements) this.elements.set(keyOf(it), detached(it));
    } else if (delta.case === "set") {
      const { cleared, removed, added } = delta.value;
      if (cleared) this.elements.clear();
      for (const it of removed) this.elements.delete(keyOf(it));
      for (const it of added) this.elements.set(keyOf(it), detached(it));
    }
  }

  override delta(journal: Journal): Delta | undefined {
    const change = journal.of(this);
    if (change === undefined) return undefined;
    const { cleared } = change;
    const [removed, added] = [anys(change.removed), anys(change.added)];
    if (!cleared && removed.length === 0 && added.length === 0) return undefined;
    return this.kind === "growSet"
      ? { case: "growSet", value: create(ElementsSchema, { elements: added }) }
      : { case: "set", value: create(SetDeltaSchema, { cleared, removed, added }) };
  }

  override whole(): Delta {
    const added = anys(this.elements);
    return this.kind === "growSet"
      ? { case: "growSet", value: create(ElementsSchema, { elements: added }) }
      : { case: "set", value: create(SetDeltaSchema, { added }) };
  }

  add(journal: Journal, element: AnyBytes): void {
    const key = keyOf(element);
    if (this.elements.has(key)) return;
    const change = journal.note(this, () => this.elements.delete(key));
    if (!change.removed.delete(key)) change.added.set(key, element);
    this.elements.set(key, element);
  }

  remove(journal: Journal, element: AnyBytes): void {
    const key = keyOf(element);
    if (!this.elements.has(key)) return;
    const change = journal.note(this, () => this.elements.set(key, element));
    if (!change.added.delete(key) && !change.cleared) change.removed.set(key, element);
    this.elements.delete(key);
  }

  clear(journal: Journal): void {
    if (this.elements.size === 0) return;
    const before = this.elements;
    const change = journal.note(this, () => {
      this.elements = before;
    });
    change.cleared = true;
    change.removed.clear();
    change.added.clear();
    this.elements = new Map();
  }
}

function anys(elements: ReadonlyMap<string, AnyBytes>): MessageShape<typeof AnySchema>[] {
  return [...elements.values()].map((it) => create(AnySchema, it));
}

/** What all sets can do. */
abstract class SetView<D extends DescMessage> implements Iterable<MessageShape<D>> {
  /** @internal */
  constructor(
    protected readonly store: SetStore,
    protected readonly journal: Journal,
    protected readonly schema: D,
  ) {}

  /** How many elements there are. */
  get size(): number {
    return this.store.elements.size;
  }

  /** Whether an element is in it. */
  has(element: MessageInitShape<D>): boolean {
    return this.store.elements.has(keyOf(packed(this.schema, element as object)));
  }

  /** Adds an element. */
  add(element: MessageInitShape<D>): void {
    this.store.add(this.journal, packed(this.schema, element as object));
  }

  /** The elements. */
  *[Symbol.iterator](): IterableIterator<MessageShape<D>> {
    const schemas = byName([this.schema]);
    for (const it of this.store.elements.values()) yield unpacked(it, schemas) as MessageShape<D>;
  }
}

/** A set of messages that only grows. */
export class GrowSet<D extends DescMessage = DescMessage> extends SetView<D> {
  /** The type of the data. */
  readonly type = "growSet";
}

/** A set of messages. Adding wins over a removal at the same time elsewhere. */
export class ReplicatedSet<D extends DescMessage = DescMessage> extends SetView<D> {
  /** The type of the data. */
  readonly type = "set";

  /** Removes an element. */
  remove(element: MessageInitShape<D>): void {
    this.store.remove(this.journal, packed(this.schema, element as object));
  }

  /** Removes all elements. */
  clear(): void {
    this.store.clear(this.journal);
  }
}
