/** Runs jobs beside each other, up to a limit. After a failure no job is started; `add` and `drain` throw it. */
export class Flight {
  readonly #limit: number;
  readonly #running = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Resolves when the job was started, which is when there is room for it. */
  async add(job: () => Promise<void>): Promise<void> {
    while (this.#running.size >= this.#limit) await Promise.race(this.#running);
    this.#throwFailure();
    const running: Promise<void> = job().then(
      () => this.#end(running),
      (error: unknown) => {
        this.#failure ??= { error };
        this.#end(running);
      },
    );
    this.#running.add(running);
  }

  /** Resolves when all have ended; also after a failure, which it throws then. */
  async drain(): Promise<void> {
    await Promise.all(this.#running);
    this.#throwFailure();
  }

  #end(running: Promise<void>): void {
    this.#running.delete(running);
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
