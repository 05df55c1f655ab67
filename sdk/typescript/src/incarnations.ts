/** The incarnations that are held: a bounded cache (R44). */

import type { Entity } from "./entity.js";

export class Incarnations {
  readonly #all = new Map<number, Entity>();
  /** Those that have answered all, the longest idle first. */
  readonly #idle = new Set<Entity>();

  /** @param evicted what to do with one that has to give way */
  constructor(
    private readonly capacity: number,
    private readonly evicted: (entity: Entity) => void,
  ) {}

  get size(): number {
    return this.#all.size;
  }

  get(incarnation: number): Entity | undefined {
    return this.#all.get(incarnation);
  }

  /**
   * Adds one that is about to get busy. Those idle longest give way. If none is idle there are more
   * than the capacity for a while, but never more than commands are open beside it.
   */
  add(entity: Entity): void {
    this.#all.set(entity.incarnation, entity);
    if (this.#all.size <= this.capacity) return;
    for (const longest of this.#idle) {
      if (this.#all.size <= this.capacity) break;
      this.#idle.delete(longest);
      this.#all.delete(longest.incarnation);
      this.evicted(longest);
    }
  }

  /** It has a command to answer. */
  busy(entity: Entity): void {
    this.#idle.delete(entity);
  }

  /** It has answered every command that came. */
  idle(entity: Entity): void {
    if (!this.#all.has(entity.incarnation)) return;
    if (this.#all.size > this.capacity) {
      this.#all.delete(entity.incarnation);
      this.evicted(entity);
      return;
    }
    this.#idle.add(entity);
  }

  remove(incarnation: number): Entity | undefined {
    const entity = this.#all.get(incarnation);
    if (entity === undefined) return undefined;
    this.#all.delete(incarnation);
    this.#idle.delete(entity);
    return entity;
  }

  /** Removes all, and gives them. */
  clear(): Entity[] {
    const all = [...this.#all.values()];
    this.#all.clear();
    this.#idle.clear();
    return all;
  }
}
