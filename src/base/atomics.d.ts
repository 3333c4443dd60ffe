// Of ECMAScript 2026, which TypeScript's library does not have yet.
interface Atomics {
  /** Tells the processor that the thread is polling. */
  pause(iterations?: number): void;
}
