/** Runs jobs beside each other, up to a limit. After a failure no job is started; `add` and `drain` throw it. */
export class Flight {
  /** How many; a change counts from the next job on. */
  limit: number;
  #running = 0;
  #failure: { readonly error: unknown } | undefined;
  /** Called when a job ends. */
  #wake: () => void = () => {};

  constructor(limit: number) {
    this.limit = limit;
  }

  /** Resolves when the job was started, which is when there is room for it. One call at a time. */
  async add(job: () => Promise<void>): Promise<void> {
    while (this.#running >= this.limit) await this.#nextEnd();
    this.#throwFailure();
    this.#running++;
    job().then(this.#end, this.#fail);
  }

  /** Resolves when all have ended; also after a failure, which it throws then. */
  async drain(): Promise<void> {
    while (this.#running > 0) await this.#nextEnd();
    this.#throwFailure();
  }

  #nextEnd(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  readonly #end = (): void => {
    this.#running--;
    this.#wake();
  };

  readonly #fail = (error: unknown): void => {
    this.#failure ??= { error };
    this.#end();
  };

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
