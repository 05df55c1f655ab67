/** An incarnation: one life of an entity in the memory of this process. */

import type { Component } from "./component.js";
import type { Context } from "./context.js";
import type { Command } from "./protocol/frames.js";

/** Shared by all entities without any, which are most. */
const NO_COMMANDS: Command[] = [];
const NO_CONTEXTS = new Set<Context>();

export class Entity {
  /** What the model keeps: the state. */
  held: unknown;
  /** Whether the queue is being gone through. */
  isDraining = false;
  #waiting = NO_COMMANDS;
  #running = NO_CONTEXTS;

  constructor(
    readonly incarnation: number,
    readonly component: Component,
    readonly id: string,
    /** The version of the state (R24). */
    public version: number,
  ) {}

  /** Whether every command that came was answered (R42). */
  get isIdle(): boolean {
    return this.#running.size === 0 && this.#waiting.length === 0;
  }

  /** Whether a handler has not returned yet. */
  get isRunning(): boolean {
    return this.#running.size > 0;
  }

  /** A command waits for the one that is handled (R21). */
  wait(command: Command): void {
    if (this.#waiting === NO_COMMANDS) this.#waiting = [];
    this.#waiting.push(command);
  }

  /** The command that has waited longest. */
  next(): Command | undefined {
    if (this.#waiting.length > 0) return this.#waiting.shift();
    this.#waiting = NO_COMMANDS;
    return undefined;
  }

  /** A handler goes on while other frames come: several do so only of replicated entities. */
  begun(context: Context): void {
    if (this.#running === NO_CONTEXTS) this.#running = new Set();
    this.#running.add(context);
  }

  /** A command was answered. */
  over(context: Context): void {
    if (this.#running === NO_CONTEXTS) return;
    this.#running.delete(context);
    if (this.#running.size === 0) this.#running = NO_CONTEXTS;
  }

  /** Forgets what waits, and gives what runs. */
  drop(): Context[] {
    this.#waiting = NO_COMMANDS;
    return [...this.#running];
  }
}
