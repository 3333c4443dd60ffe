import type { IoLimits, RateLimit } from '#control/vm.ts';

export interface LimitClock {
  nowMs(): number;
  /** Resolves that much later. */
  wait(ms: number): Promise<void>;
}

/** What has not been used may be used at once: of the steady rate, without a burst, and of the burst's. */
const SLACK_SECONDS = 0.1;

/** A bucket that fills with time; what is taken beyond its content is waited for. */
class Bucket {
  readonly #perSecond: number;
  readonly #size: number;
  #content: number;
  #sinceMs: number;

  constructor(perSecond: number, seconds: number, nowMs: number) {
    this.#perSecond = perSecond;
    this.#size = perSecond * seconds;
    this.#content = this.#size;
    this.#sinceMs = nowMs;
  }

  /** One as large as a burst at a higher rate, which fills at the lower. */
  static ofBurst(perSecond: number, burst: NonNullable<RateLimit['burst']>, nowMs: number): Bucket {
    return new Bucket(perSecond, (burst.perSecond * burst.seconds) / perSecond, nowMs);
  }

  /** Milliseconds until what is taken is there. */
  take(amount: number, nowMs: number): number {
    const gained = ((nowMs - this.#sinceMs) / 1000) * this.#perSecond;
    this.#content = Math.min(this.#size, this.#content + gained) - amount;
    this.#sinceMs = nowMs;
    return this.#content >= 0 ? 0 : (-this.#content / this.#perSecond) * 1000;
  }
}

/** One limit: the long run, and in bursts the rate that they may have. */
class Limit {
  readonly #buckets: readonly Bucket[];

  constructor({ perSecond, burst }: RateLimit, nowMs: number) {
    this.#buckets =
      burst === undefined
        ? [new Bucket(perSecond, SLACK_SECONDS, nowMs)]
        : [
            Bucket.ofBurst(perSecond, burst, nowMs),
            new Bucket(burst.perSecond, SLACK_SECONDS, nowMs),
          ];
  }

  take(amount: number, nowMs: number): number {
    return Math.max(...this.#buckets.map((bucket) => bucket.take(amount, nowMs)));
  }
}

/** Holds requests back so that a disk keeps its limits; they begin in the order in which they come. */
export class IoLimiter {
  readonly #clock: LimitClock;
  readonly #bytesPerCount: number;
  readonly #requests: { readonly read: readonly Limit[]; readonly write: readonly Limit[] };
  readonly #bytes: { readonly read: readonly Limit[]; readonly write: readonly Limit[] };

  constructor(limits: IoLimits, clock: LimitClock) {
    const nowMs = clock.nowMs();
    const { requests, bytes } = limits;
    // What both kinds share is one object.
    const both = (total: RateLimit | undefined, read?: RateLimit, write?: RateLimit) => {
      const shared = total === undefined ? [] : [new Limit(total, nowMs)];
      const own = (limit: RateLimit | undefined) =>
        limit === undefined ? shared : [...shared, new Limit(limit, nowMs)];
      return { read: own(read), write: own(write) };
    };
    this.#clock = clock;
    this.#bytesPerCount = limits.bytesPerRequest ?? Number.POSITIVE_INFINITY;
    this.#requests = both(requests?.total, requests?.read, requests?.write);
    this.#bytes = both(bytes?.total, bytes?.read, bytes?.write);
  }

  /** Resolves when a request for so many bytes may begin; undefined: at once. */
  admit(kind: 'read' | 'write', lengthBytes: number): Promise<void> | undefined {
    const nowMs = this.#clock.nowMs();
    const count = Math.max(1, Math.ceil(lengthBytes / this.#bytesPerCount));
    let ms = 0;
    for (const limit of this.#requests[kind]) ms = Math.max(ms, limit.take(count, nowMs));
    for (const limit of this.#bytes[kind]) ms = Math.max(ms, limit.take(lengthBytes, nowMs));
    return ms === 0 ? undefined : this.#clock.wait(ms);
  }
}
