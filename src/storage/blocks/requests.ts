import { Epochs } from './epochs.ts';

/** The requests on a disk: what must not meet them waits until they have ended, or has them wait. */
export class Requests {
  readonly #epochs = new Epochs();
  /** They wait for it. */
  #gate: Promise<void> | undefined;

  /** Whether what is done within a call may be done now. */
  get isOpen(): boolean {
    return this.#gate === undefined;
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    while (this.#gate !== undefined) await this.#gate;
    const epoch = this.#epochs.enter();
    try {
      return await task();
    } finally {
      this.#epochs.leave(epoch);
    }
  }

  /** Calls `then` when all that run now have ended. */
  after(then: () => void): void {
    this.#epochs.after(then);
  }

  /** Runs `task` while no request is under way. */
  async alone<T>(task: () => Promise<T>): Promise<T> {
    while (this.#gate !== undefined) await this.#gate;
    let open = (): void => {};
    this.#gate = new Promise((resolve) => {
      open = resolve;
    });
    try {
      await new Promise<void>((resolve) => this.#epochs.after(resolve));
      return await task();
    } finally {
      this.#gate = undefined;
      open();
    }
  }
}
