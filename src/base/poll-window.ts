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
/** Who polls then takes from others, perhaps from those it waits for. */
const CLOSED_NS = 200_000_000;

/**
 * How long a thread that has run out of work looks for more before it sleeps, when to be woken takes long: as long as work
 * came within 500 µs of late, and the host has a processor to spare, else not at all. An idle thread costs nothing.
 */
export class PollWindow {
  readonly #nowNs: () => number;
  #ns = 0;
  #closedUntilNs = 0;

  constructor(nowNs: () => number) {
    this.#nowNs = nowNs;
  }

  get ns(): number {
    return this.#nowNs() < this.#closedUntilNs ? 0 : this.#ns;
  }

  /** Looks until `untilNs` for what `isThere`; gives the time. */
  look(isThere: () => boolean, untilNs: number): number {
    let now = this.#nowNs();
    while (now < untilNs && !isThere()) {
      Atomics.pause();
      const last = now;
      now = this.#nowNs();
      if (now - last > PAUSE_NS) this.#closedUntilNs = now + CLOSED_NS;
    }
    return now;
  }

  /** Work came when the thread had had none for so long, asleep or not. */
  waited(ns: number): void {
    if (ns > MOST_NS) this.#ns = this.#ns / 2 < LEAST_NS ? 0 : this.#ns / 2;
    else if (ns > this.#ns) this.#ns = Math.min(MOST_NS, Math.max(FIRST_NS, this.#ns * 2));
  }
}
