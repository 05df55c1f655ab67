/** Replicas of a replicated entity in memory, which exchange their changes when a test says so. */

import { create, type MessageShape } from "@bufbuild/protobuf";
import type { Component } from "../component.js";
import { DeltaSchema, VotesSchema } from "../generated/firn/v1/function_pb.js";
import type { AnyService } from "../target.js";
import { kit, type Kit, type KitOptions } from "./kit.js";

type DeltaMessage = MessageShape<typeof DeltaSchema>;

/**
 * Makes replicas of an entity: a kit each. What one does the others hear of with
 * {@link Replicas.exchange}.
 *
 * The kits hand deltas on in the order in which they were made, and so decide less than Firn does:
 * of writes to a register at the same time the last that is handed on wins.
 */
export function replicas<S extends AnyService>(
  component: Component<S>,
  count: number,
  options: KitOptions = {},
): Replicas<S> {
  return new Replicas(component, count, options);
}

/** Replicas of an entity. Made by {@link replicas}. */
export class Replicas<S extends AnyService> {
  /** The replicas. */
  readonly kits: readonly Kit<S>[];
  #pending: { from: number; delta: DeltaMessage | undefined }[] = [];
  readonly #votes: boolean[];

  /** @internal */
  constructor(component: Component<S>, count: number, options: KitOptions) {
    this.#votes = Array.from({ length: count }, () => false);
    this.kits = this.#votes.map((_, from) => {
      const one = kit(component, options);
      one.onUpdate = (delta) => this.#pending.push({ from, delta });
      return one;
    });
  }

  /** Tells every replica what the others have done since the last time. */
  exchange(): void {
    for (const { from, delta } of this.#pending.splice(0)) {
      if (delta?.delta.case === "vote") this.#vote(from, delta.delta.value.own);
      else this.kits.forEach((one, to) => to !== from && one.change(delta));
    }
  }

  /** Votes are told as each node sees them. */
  #vote(from: number, own: boolean): void {
    this.#votes[from] = own;
    const yes = this.#votes.filter((vote) => vote).length;
    this.kits.forEach((one, to) => {
      const value = create(VotesSchema, { own: this.#votes[to]!, yes, members: this.kits.length });
      one.change(create(DeltaSchema, { delta: { case: "vote", value } }));
    });
  }
}
