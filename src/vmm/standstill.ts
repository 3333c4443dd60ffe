/** What stands still while writes wait for room on the host. */
interface Machine {
  setPaused(isPaused: boolean): void;
}

/** Pauses the machine while requests are stalled: its guest would take them for lost, and a user would not know why. */
export class Standstill {
  readonly #tell: (notice: string) => void;
  #machine: Machine | undefined;
  #stalled = 0;
  #isPaused = false;

  constructor(tell: (notice: string) => void) {
    this.#tell = tell;
  }

  /** A machine that is powered on, or undefined when it has ended. */
  connect(machine: Machine | undefined): void {
    this.#machine = machine;
    this.#stalled = 0;
    this.#isPaused = false;
  }

  /** A request waits for room, and why; undefined: one waits no longer. */
  stalled(why: string | undefined): void {
    this.#stalled = Math.max(0, this.#stalled + (why === undefined ? -1 : 1));
    if (why !== undefined && !this.#isPaused) {
      this.#isPaused = true;
      this.#machine?.setPaused(true);
      this.#tell(`${why}; the guest stands still, and goes on when there is room`);
    }
    // The answers to what was stalled come first, so that the guest finds them when it goes on.
    if (this.#stalled === 0 && this.#isPaused) setImmediate(() => this.#goOn());
  }

  #goOn(): void {
    if (this.#stalled > 0 || !this.#isPaused) return;
    this.#isPaused = false;
    if (this.#machine === undefined) return;
    this.#machine.setPaused(false);
    this.#tell('no write waits for room any more; the guest goes on');
  }
}
