import { hostNowNs, PollWindow } from '#base/poll-window.ts';

/** Other work of the thread waits at most so long. */
const TURN_NS = 50_000;

/** The end of the link to a vCPU that a poll looks at. */
export interface Polled {
  readonly hasPosted: boolean;
  /** The vCPU has been interrupted, and has not looked why. */
  readonly isAwaited: boolean;
  /** What is posted after this is told by a wake. */
  sleep(): void;
}

/** When the device thread serves what is posted, looks for more, and sleeps. */
export class DevicePoll {
  readonly #link: Polled;
  readonly #serve: () => void;
  readonly #nowNs: () => number;
  readonly #window: PollWindow;
  #isAsleep = true;
  #idleSinceNs = 0;
  #isStopped = false;

  /** `serve` takes what is posted, all or as much as is good at once; `nowNs` is the time that passes for this thread. */
  constructor(link: Polled, serve: () => void, nowNs = hostNowNs) {
    this.#link = link;
    this.#serve = serve;
    this.#nowNs = nowNs;
    this.#window = new PollWindow(nowNs);
  }

  /** Something has been posted while this thread slept. */
  wake(): void {
    // A wake may come late, when its cause has been seen already.
    if (!this.#isAsleep || this.#isStopped) return;
    this.#isAsleep = false;
    this.#window.waited(this.#nowNs() - this.#idleSinceNs);
    this.#turn();
  }

  stop(): void {
    this.#isStopped = true;
  }

  #turn(): void {
    const link = this.#link;
    const hasPosted = (): boolean => link.hasPosted;
    const isAwaited = (): boolean => link.isAwaited;
    const endNs = this.#nowNs() + TURN_NS;
    while (!this.#isStopped) {
      if (link.hasPosted) {
        this.#serve();
        this.#idleSinceNs = this.#nowNs();
      }
      const untilNs = Math.min(endNs, this.#idleSinceNs + this.#window.ns);
      this.#window.look(hasPosted, isAwaited, untilNs - this.#nowNs());
      const now = this.#nowNs();
      if (now >= this.#idleSinceNs + this.#window.ns && this.#sleep()) return;
      if (now >= endNs) {
        setImmediate(() => this.#turn());
        return;
      }
    }
  }

  /** False when something was posted meanwhile. */
  #sleep(): boolean {
    if (this.#link.hasPosted) return false;
    this.#link.sleep();
    this.#isAsleep = !this.#link.hasPosted;
    return this.#isAsleep;
  }
}
