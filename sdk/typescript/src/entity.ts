/** An incarnation: one life of an entity in the memory of this process. */

import type { Component } from "./component.js";
import type { Context } from "./context.js";
import type { Command } from "./protocol/frames.js";

export class Entity {
  /** What the model keeps: the state. */
  held: unknown;
  /** Commands that wait for the one that is handled (R21). */
  readonly queue: Command[] = [];
  /** Handlers that have not returned yet: several only of replicated entities. */
  readonly running = new Set<Context>();
  /** Whether the queue is being gone through. */
  isDraining = false;

  constructor(
    readonly incarnation: number,
    readonly component: Component,
    readonly id: string,
    /** The version of the state (R24). */
    public version: number,
  ) {}

  /** Whether every command that came was answered (R42). */
  get isIdle(): boolean {
    return this.running.size === 0 && this.queue.length === 0;
  }
}
