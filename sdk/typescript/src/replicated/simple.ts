/** Counters, flags, registers and votes. */

import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { byName, detached, packed, unpacked } from "../any.js";
import { Write_Clock, WriteSchema, VotesSchema } from "../generated/firn/v1/function_pb.js";
import type { AnyBytes } from "../protocol/frames.js";
import { misfit, Store, type Delta, type Journal } from "./store.js";

type Amount = { by: bigint };

export class CounterStore extends Store<Amount> {
  value = 0n;

  constructor(readonly kind: "counter" | "growCounter") {
    super();
  }

  override newChange(): Amount {
    return { by: 0n };
  }

  override apply(delta: Delta): void {
    if (delta.case !== this.kind) throw misfit(this, delta);
    this.value += delta.value as bigint;
  }

  override delta(journal: Journal): Delta | undefined {
    const by = journal.of(this)?.by ?? 0n;
    return by === 0n ? undefined : { case: this.kind, value: by };
  }

  override whole(): Delta {
    return { case: this.kind, value: this.value };
  }

  change(journal: Journal, by: bigint): void {
    if (by === 0n) return;
    const change = journal.note(this, () => {
      this.value -= by;
    });
    change.by += by;
    this.value += by;
  }
}

/** A counter that goes up and down. */
export class Counter {
  /** The type of the data. */
  readonly type = "counter";

  /** @internal */
  constructor(
    private readonly store: CounterStore,
    private readonly journal: Journal,
  ) {}

  /** The number. */
  get value(): bigint {
    return this.store.value;
  }

  /** Adds to it; a negative number takes away. */
  increment(by: bigint | number = 1): void {
    this.store.change(this.journal, BigInt(by));
  }

  /** Takes away from it. */
  decrement(by: bigint | number = 1): void {
    this.store.change(this.journal, -BigInt(by));
  }
}

/** A counter that only goes up. */
export class GrowCounter {
  /** The type of the data. */
  readonly type = "growCounter";

  /** @internal */
  constructor(
    private readonly store: CounterStore,
    private readonly journal: Journal,
  ) {}

  /** The number. */
  get value(): bigint {
    return this.store.value;
  }

  /** Adds to it; not a negative number. */
  increment(by: bigint | number = 1): void {
    if (by < 0) throw new RangeError(`a counter that only grows cannot change by ${by}`);
    this.store.change(this.journal, BigInt(by));
  }
}

export class FlagStore extends Store<true> {
  readonly kind = "flag";
  isOn = false;

  override newChange(): true {
    return true;
  }

  override apply(delta: Delta): void {
    if (delta.case !== "flag") throw misfit(this, delta);
    if (delta.value) this.isOn = true;
  }

  override delta(journal: Journal): Delta | undefined {
    return journal.of(this) === undefined ? undefined : { case: "flag", value: true };
  }

  override whole(): Delta {
    return { case: "flag", value: this.isOn };
  }

  turnOn(journal: Journal): void {
    if (this.isOn) return;
    journal.note(this, () => {
      this.isOn = false;
    });
    this.isOn = true;
  }
}

/** A flag that, once on, stays on. */
export class Flag {
  /** The type of the data. */
  readonly type = "flag";

  /** @internal */
  constructor(
    private readonly store: FlagStore,
    private readonly journal: Journal,
  ) {}

  /** Whether it is on. */
  get value(): boolean {
    return this.store.isOn;
  }

  /** Turns it on. */
  turnOn(): void {
    this.store.turnOn(this.journal);
  }
}

type Write = { write: MessageShape<typeof WriteSchema> | undefined };

export class RegisterStore extends Store<Write> {
  readonly kind = "register";
  value: AnyBytes | undefined;

  override newChange(): Write {
    return { write: undefined };
  }

  override apply(delta: Delta): void {
    if (delta.case !== "register") throw misfit(this, delta);
    this.value = delta.value.value && detached(delta.value.value);
  }

  override delta(journal: Journal): Delta | undefined {
    const write = journal.of(this)?.write;
    return write === undefined ? undefined : { case: "register", value: write };
  }

  override whole(): Delta {
    const { value } = this;
    const write = value === undefined ? create(WriteSchema) : create(WriteSchema, { value: create(AnySchema, value) });
    return { case: "register", value: write };
  }

  write(journal: Journal, value: AnyBytes, options: WriteOptions): void {
    const before = this.value;
    const write = create(WriteSchema, {
      value: create(AnySchema, value),
      clock: CLOCKS[options.clock ?? "default"],
      custom: BigInt(options.custom ?? 0),
    });
    const change = journal.note(this, () => {
      this.value = before;
    });
    change.write = write;
    this.value = value;
  }
}

/** How a write to a register is stamped. The write with the greatest stamp wins. */
export interface WriteOptions {
  /**
   * `"default"`: the wall clock, or one more than the present stamp. `"reverse"`: the wall clock
   * negated, so the first write wins. `"custom"`: the number `custom`; a smaller one than the present
   * loses. `"custom_auto_increment"`: that number, or one more than the present stamp.
   */
  clock?: "default" | "reverse" | "custom" | "custom_auto_increment";
  /** The number of the custom clocks. */
  custom?: bigint | number;
}

const CLOCKS = {
  default: Write_Clock.DEFAULT,
  reverse: Write_Clock.REVERSE,
  custom: Write_Clock.CUSTOM,
  custom_auto_increment: Write_Clock.CUSTOM_AUTO_INCREMENT,
} as const;

/** A value that is replaced as a whole; of several writes at once, one wins. */
export class Register<D extends DescMessage = DescMessage> {
  /** The type of the data. */
  readonly type = "register";

  /** @internal */
  constructor(
    private readonly store: RegisterStore,
    private readonly journal: Journal,
    private readonly schema: D,
  ) {}

  /** The value; undefined if none was written. */
  get value(): MessageShape<D> | undefined {
    const { value } = this.store;
    return value && (unpacked(value, byName([this.schema])) as MessageShape<D>);
  }

  /** Writes a value. */
  set(value: MessageInitShape<D>, options: WriteOptions = {}): void {
    this.store.write(this.journal, packed(this.schema, value as object), options);
  }
}

export class VoteStore extends Store<true> {
  readonly kind = "vote";
  own = false;
  yes = 0;
  members = 1;

  override newChange(): true {
    return true;
  }

  override apply(delta: Delta): void {
    if (delta.case !== "vote") throw misfit(this, delta);
    ({ own: this.own, yes: this.yes, members: this.members } = delta.value);
  }

  override delta(journal: Journal): Delta | undefined {
    if (journal.of(this) === undefined) return undefined;
    return { case: "vote", value: create(VotesSchema, { own: this.own }) };
  }

  override whole(): Delta {
    const { own, yes, members } = this;
    return { case: "vote", value: create(VotesSchema, { own, yes, members }) };
  }

  vote(journal: Journal, own: boolean): void {
    if (this.own === own) return;
    journal.note(this, () => this.#set(!own));
    this.#set(own);
  }

  #set(own: boolean): void {
    this.own = own;
    this.yes += own ? 1 : -1;
  }
}

/** One vote for each node. */
export class Vote {
  /** The type of the data. */
  readonly type = "vote";

  /** @internal */
  constructor(
    private readonly store: VoteStore,
    private readonly journal: Journal,
  ) {}

  /** This node's vote. */
  get own(): boolean {
    return this.store.own;
  }

  /** How many members vote yes. */
  get yes(): number {
    return this.store.yes;
  }

  /** How many members there are. */
  get members(): number {
    return this.store.members;
  }

  /** Votes for this node. */
  set(own: boolean): void {
    this.store.vote(this.journal, own);
  }
}
