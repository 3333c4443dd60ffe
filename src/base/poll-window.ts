/**
 * To wake a thread takes 20 to 60 µs. A guest that has one request at a time asks for the next 4 KiB within 150, and for the next
 * MiB, which takes the guest and the device thread 300 each, within 400.
 */
const MOST_NS = 500_000;
/** Shorter windows are none. */
const LEAST_NS = 10_000;
const FIRST_NS = 50_000;
/** Two looks so far apart: the host gave the processor to somebody else. */
const PAUSE_NS = 300_000;
/** A thread that has been told of something looks within this, where there is a processor for it. */
const WAKE_NS = 150_000;
/** Who polls where processors are short takes from others, perhaps from those it waits for: these get so long to catch up. */
const LATE_CLOSED_NS = 4_000_000;
/** Others get twice as long each time they come back within `CALM_NS`: V8's compilers come and go, other programs stay. */
const LEAST_CLOSED_NS = 2_000_000;
const MOST_CLOSED_NS = 200_000_000;
const CALM_NS = 20_000_000;
/** Work that is late so many times in turn is no exception. */
const MANY_LATE = 4;

/**
 * How long a thread that has run out of work looks for more before it sleeps, when to be woken takes long: as long as work
 * came within 500 µs of late, and the host has a processor to spare, else not at all. An idle thread costs nothing.
 */
export class PollWindow {
  readonly #nowNs: () => number;
  #ns = 0;
  #late = 0;
  /** Since when `isAwaited`, where the last look has found nothing. */
  #awaitedNs = Number.POSITIVE_INFINITY;
  #closedNs = 0;
  #pausedNs = Number.NEGATIVE_INFINITY;
  #closedUntilNs = 0;

  constructor(nowNs = hostNowNs) {
    this.#nowNs = nowNs;
  }

  get ns(): number {
    return this.#nowNs() < this.#closedUntilNs ? 0 : this.#ns;
  }

  /**
   * Looks for what `isThere`, at most so long, and no longer when the host has no processor to spare. `isAwaited`: who
   * would bring work has been told of something, and has not looked.
   */
  look(isThere: () => boolean, isAwaited: () => boolean, mostNs: number): void {
    let now = this.#nowNs();
    const untilNs = now + mostNs;
    let awaitedNs = this.#awaitedNs;
    while (!isThere()) {
      if (now >= untilNs) {
        this.#awaitedNs = awaitedNs;
        return;
      }
      Atomics.pause();
      const last = now;
      now = this.#nowNs();
      if (!isAwaited()) awaitedNs = Number.POSITIVE_INFINITY;
      else if (awaitedNs > now) awaitedNs = now;
      if (now - last > PAUSE_NS) this.#paused(now);
      else if (now - awaitedNs > WAKE_NS) this.#closedUntilNs = now + LATE_CLOSED_NS;
      else continue;
      break;
    }
    this.#awaitedNs = Number.POSITIVE_INFINITY;
  }

  #paused(nowNs: number): void {
    const isSoon = nowNs - this.#pausedNs < this.#closedNs + CALM_NS;
    this.#pausedNs = nowNs;
    this.#closedNs = isSoon ? Math.min(MOST_CLOSED_NS, this.#closedNs * 2) : LEAST_CLOSED_NS;
    this.#closedUntilNs = nowNs + this.#closedNs;
  }

  /** Work came when the thread had had none for so long, asleep or not. */
  waited(ns: number): void {
    this.#awaitedNs = Number.POSITIVE_INFINITY;
    if (ns > MOST_NS) {
      this.#missed();
      return;
    }
    this.#late = 0;
    if (ns > this.#ns) this.#ns = Math.min(MOST_NS, Math.max(FIRST_NS, this.#ns * 2));
  }

  /** The thread has slept, and goes on after so long without work having come: its own time was up. */
  waitedInVain(ns: number): void {
    this.#awaitedNs = Number.POSITIVE_INFINITY;
    if (ns > MOST_NS) this.#missed();
  }

  #missed(): void {
    if (++this.#late < MANY_LATE) return;
    this.#ns = this.#ns / 2 < LEAST_NS ? 0 : this.#ns / 2;
  }
}

/** Without a BigInt a look, for which a collector would stop the thread. */
export function hostNowNs(): number {
  return performance.now() * 1e6;
}
