/** What a disk may do in a second; undefined: as much as it can. */
export interface IoLimits {
  readonly requestsPerSecond?: number;
  readonly bytesPerSecond?: number;
}

export interface LimitClock {
  nowMs(): number;
  /** Resolves that much later. */
  wait(ms: number): Promise<void>;
}

/** What has not been used may be used at once, for as much as a tenth of a second's worth. */
const BURST_SECONDS = 0.1;

/** A bucket that fills with time; what is taken beyond its content is waited for. */
class Bucket {
  readonly #perSecond: number;
  #content: number;
  #sinceMs: number;

  constructor(perSecond: number, nowMs: number) {
    this.#perSecond = perSecond;
    this.#content = perSecond * BURST_SECONDS;
    this.#sinceMs = nowMs;
  }

  /** Milliseconds until what is taken is there. */
  take(amount: number, nowMs: number): number {
    const gained = ((nowMs - this.#sinceMs) / 1000) * this.#perSecond;
    this.#content = Math.min(this.#perSecond * BURST_SECONDS, this.#content + gained) - amount;
    this.#sinceMs = nowMs;
    return this.#content >= 0 ? 0 : (-this.#content / this.#perSecond) * 1000;
  }
}

/** Holds requests back so that a disk keeps its limits; they begin in the order in which they come. */
export class IoLimiter {
  readonly #clock: LimitClock;
  readonly #requests: Bucket | undefined;
  readonly #bytes: Bucket | undefined;

  constructor(limits: IoLimits, clock: LimitClock) {
    const { requestsPerSecond, bytesPerSecond } = limits;
    const now = clock.nowMs();
    this.#clock = clock;
    this.#requests =
      requestsPerSecond === undefined ? undefined : new Bucket(requestsPerSecond, now);
    this.#bytes = bytesPerSecond === undefined ? undefined : new Bucket(bytesPerSecond, now);
  }

  /** Resolves when a request for so many bytes may begin; undefined: at once. */
  admit(lengthBytes: number): Promise<void> | undefined {
    const now = this.#clock.nowMs();
    const ms = Math.max(
      this.#requests?.take(1, now) ?? 0,
      this.#bytes?.take(lengthBytes, now) ?? 0,
    );
    return ms === 0 ? undefined : this.#clock.wait(ms);
  }
}
