/** Guest RAM as a device on the device thread reaches it, while the guest runs. */
export interface GuestMemory {
  /** The bytes at `paddr`, not a copy; undefined unless all of them are RAM. The guest may change them at any time. */
  bytes(paddr: number, lengthBytes: number): Uint8Array | undefined;
  /** A device has changed bytes that `bytes` gave: to be said before the guest can learn of it. */
  wrote(paddr: number, lengthBytes: number): void;
}

/** A piece of guest memory that a request names. */
export interface Segment {
  readonly paddr: number;
  readonly lengthBytes: number;
}

/** A 64-bit address from two words; beyond 2^53 it is rounded, and no RAM is there. */
export function paddrOf(low: number, high: number): number {
  return (high >>> 0) * 2 ** 32 + (low >>> 0);
}
