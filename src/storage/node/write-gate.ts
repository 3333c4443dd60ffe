/** Lets writes run beside each other, or one of them alone. */
export class WriteGate {
  #running = 0;
  /** Resolves when those that were to run alone have. */
  #alone: Promise<void> | undefined;
  #left: (() => void) | undefined;

  async beside<T>(write: () => Promise<T>): Promise<T> {
    while (this.#alone !== undefined) await this.#alone;
    this.#running++;
    try {
      return await write();
    } finally {
      this.#running--;
      if (this.#running === 0) this.#left?.();
    }
  }

  async alone<T>(write: () => Promise<T>): Promise<T> {
    while (this.#alone !== undefined) await this.#alone;
    let open: () => void = () => {};
    this.#alone = new Promise((resolve) => {
      open = resolve;
    });
    try {
      if (this.#running > 0)
        await new Promise<void>((resolve) => {
          this.#left = resolve;
        });
      return await write();
    } finally {
      this.#left = undefined;
      this.#alone = undefined;
      open();
    }
  }
}
