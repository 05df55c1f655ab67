/** The requests of a call that streams them. */

/** Requests as they come; taking them gives Firn leave to send more (R61). */
export class Requests<T> implements AsyncIterable<T> {
  #waiting: T[] = [];
  #ended = false;
  #failed: Error | undefined;
  #wake: (() => void) | undefined;
  /** How many came that the handler has not taken, or of which Firn was not told. */
  #ungranted = 0;
  #taken = 0;

  /**
   * @param window how many Firn may send before it is granted more
   * @param grant grants more
   */
  constructor(
    private readonly window: number,
    private readonly grant: (amount: number) => void,
  ) {}

  /** Takes what has come. Returns whether Firn was allowed to send it. */
  push(request: T): boolean {
    if (this.#ended) return true;
    if (this.#ungranted >= this.window) return false; // R61
    this.#ungranted++;
    this.#waiting.push(request);
    this.#wake?.();
    return true;
  }

  /** No more come; what came is still there. */
  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** No more come, and what came is of no use. */
  fail(error: Error): void {
    if (this.#ended && this.#waiting.length === 0) return;
    this.#waiting = [];
    this.#failed = error;
    this.end();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      while (this.#waiting.length > 0) {
        const request = this.#waiting.shift()!;
        this.#taken++;
        // Half the window at a time: a grant for each message would double the frames.
        if (this.#taken * 2 >= this.window && !this.#ended) {
          this.#ungranted -= this.#taken;
          this.grant(this.#taken);
          this.#taken = 0;
        }
        yield request;
      }
      if (this.#failed !== undefined) throw this.#failed;
      if (this.#ended) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }
}
