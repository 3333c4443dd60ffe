/** How a request to a disk ended: what devices tell apart. */
export type BlockStatus = 'ok' | 'io-error' | 'no-space' | 'read-only';

/** A device with room for several disks, by number, that come and go while the guest runs. */
export interface DiskBays {
  /** Tells the guest. Nothing is at `unit`. */
  attach(unit: number, disk: BlockBackend): void;
  /** Takes a disk away from the guest, and tells it; resolves when nothing of the device uses it any more. */
  detach(unit: number): Promise<void>;
}

/**
 * The disk behind a device. Offsets and lengths are multiples of 512 and lie within `sizeBytes`: the device checks what the
 * guest asks. Nothing rejects; requests may overlap, and those on overlapping ranges have no order.
 */
export interface BlockBackend {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** At most 20 characters. */
  readonly serial: string;
  /** What a guest discards at least, in bytes: discards of less give hardly any room back. */
  readonly unitBytes: number;
  /** The guest's memory as it lies. */
  read(offsetBytes: number, into: readonly Uint8Array[]): Promise<BlockStatus>;
  write(offsetBytes: number, from: readonly Uint8Array[]): Promise<BlockStatus>;
  /**
   * Reads or writes within the call. False: it is not done, and `read` or `write` is to be
   * asked. What is written is as durable as what `write` writes.
   */
  tryRead?(offsetBytes: number, into: readonly Uint8Array[]): boolean;
  tryWrite?(offsetBytes: number, from: readonly Uint8Array[]): boolean;
  writeZeroes(offsetBytes: number, lengthBytes: number, mayUnmap: boolean): Promise<BlockStatus>;
  discard(offsetBytes: number, lengthBytes: number): Promise<BlockStatus>;
  /** Hears of each change of `sizeBytes`. */
  onResize(listener: () => void): void;
  /** Resolves when all writes that had completed are on stable storage. */
  flush(): Promise<BlockStatus>;
}
