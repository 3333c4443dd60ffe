/** Guest-physical memory as devices and loaders see it. RAM only: an address outside RAM throws `RangeError`. */
export interface GuestMemory {
  /** Bytes of RAM from guest-physical 0 (the machine decides what lies above a hole). */
  readonly sizeBytes: number;
  /** A copy of `length` bytes at `paddr`. */
  read(paddr: number, length: number): Uint8Array;
  /** Writes as a device would (DMA): translated code on those pages is dropped. */
  write(paddr: number, bytes: Uint8Array): void;
  fill(paddr: number, length: number, byte: number): void;
}
