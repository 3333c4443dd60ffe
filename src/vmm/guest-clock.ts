import type { Clock } from '#hw/device.ts';

/** The guest's time, which stands still while the machine does. */
export class GuestClock implements Clock {
  readonly #hostNs: () => number;
  readonly #hostWallMs: () => number;
  #stoodStillNs = 0;

  /** `hostNs` has its zero at power-on and always runs. */
  constructor(hostNs: () => number, hostWallMs: () => number) {
    this.#hostNs = hostNs;
    this.#hostWallMs = hostWallMs;
  }

  nowNs(): number {
    return this.#hostNs() - this.#stoodStillNs;
  }

  wallMs(): number {
    return this.#hostWallMs();
  }

  /** Lets no time pass while `wait` runs. */
  standStill(wait: () => void): void {
    const began = this.#hostNs();
    wait();
    this.#stoodStillNs += this.#hostNs() - began;
  }
}
