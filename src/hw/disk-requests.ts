/** Of one notification, served before other work of the thread has its turn. */
const MOST_AT_ONCE = 64;

export interface DiskRequest<Answer> {
  /** The disk that it is for, of those that share the device. */
  readonly unit: number;
  /** Serves it within the call; undefined: nothing has been done. */
  readonly attempt: () => Answer | undefined;
  readonly serve: () => Promise<Answer>;
  /** Gives the guest the answer. */
  readonly end: (answer: Answer) => void;
}

/** The requests of a device: done within the call that brought them while that is quick, else under way. */
export class DiskRequests {
  readonly #underWay = new Map<Promise<void>, number>();
  /** Grows with each reset. */
  #generation = 0;
  #attemptsLeft = MOST_AT_ONCE;

  /** A number of them is about to begin. */
  notified(): void {
    this.#attemptsLeft = MOST_AT_ONCE;
  }

  begin<Answer>({ unit, attempt, serve, end }: DiskRequest<Answer>): void {
    const now = this.#attemptsLeft > 0 ? attempt() : undefined;
    this.#attemptsLeft--;
    if (now === undefined) this.track(unit, serve(), end);
    else end(now);
  }

  /** Ends a request with what `served` resolves with, unless a reset comes before. */
  track<Answer>(unit: number, served: Promise<Answer>, end: (answer: Answer) => void): void {
    const generation = this.#generation;
    const ended = served.then((answer) => {
      this.#underWay.delete(ended);
      if (generation === this.#generation) end(answer);
    });
    this.#underWay.set(ended, unit);
  }

  /** Whether a reset has come since: grows with each. */
  get generation(): number {
    return this.#generation;
  }

  /** What is under way ends without an answer. */
  reset(): void {
    this.#generation++;
  }

  get isIdle(): boolean {
    return this.#underWay.size === 0;
  }

  /** Resolves when what is under way now has ended: all, or that of some units. */
  async idle(units?: readonly number[]): Promise<void> {
    const its = [...this.#underWay].filter(([, unit]) => units?.includes(unit) ?? true);
    await Promise.all(its.map(([ended]) => ended));
  }
}
