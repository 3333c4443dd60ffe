import type { DiskImage, HostFile, ImageInfo } from '../image.ts';

/** A run of the disk, all of it of one kind. */
export interface Run {
  readonly kind: 'data' | 'zero' | 'unallocated';
  readonly lengthBytes: number;
  /** Where data lie; where zeros lie, when they are a hole in the file that can be written to as it is. */
  readonly file?: HostFile;
  readonly hostOffsetBytes?: number;
  readonly compressed?: boolean;
  /** The image gave the disk this place from the start: what is a hole of the host file there are its zeros. */
  readonly fixed?: boolean;
}

/** Room for a unit. */
export interface Place {
  readonly file: HostFile;
  readonly hostOffsetBytes: number;
  /** Whether the room reads as zeros as it is. */
  readonly zeroed: boolean;
  /** Whether nobody had it before. */
  readonly isNew?: boolean;
  /** To be called before large room at the end of its file is written to, but not to its end. */
  readonly reachEnd?: () => Promise<void>;
}

/** Room that a unit had, and has no more. */
export interface Freed {
  readonly hostOffsetBytes: number;
  readonly lengthBytes: number;
}

/** Room that was freed, on its way to being given out again. */
export interface FreedRoom {
  /** Nothing in memory leads there any more. */
  give(hostOffsetBytes: number, lengthBytes: number): void;
  /** What was given back, for a commit to begin. Afterwards it is `release`d or, when that failed, `give`n again. */
  takePending(): readonly Freed[];
  /** No table leads there, and no request that is under way: the host has the room back until somebody takes it. */
  release(freed: readonly Freed[]): Promise<void>;
}

/**
 * How a format keeps a disk in files: what differs between formats whose disks are cut into units of one size. A
 * `MappedImage` does the rest. Offsets have been checked to lie on the disk.
 */
export interface BlockMap {
  readonly sizeBytes: number;
  /** What room is taken in. */
  readonly unitBytes: number;
  /** The run from `offsetBytes` on: at least a sector, at most `lengthBytes`, not beyond the unit's end unless all alike. */
  find(offsetBytes: number, lengthBytes: number): Run | Promise<Run>;
  /** Fills `into` from `offsetBytes` of the disk on, all of it in one run that is `compressed`. */
  readCompressed?(run: Run, offsetBytes: number, into: Uint8Array): Promise<void>;
  /** Room for all of a unit. A unit of which parts are data already stays where it is. */
  allocate?(unit: number): Place | Promise<Place>;
  /** Room that `allocate` gave and that could not be written to: whoever asks next gets it. */
  abandon?(place: Place): void;
  /** All of the unit is data now, and is in `place`. Durable after `commit`. */
  link?(unit: number, place: Place): Promise<void>;
  /** As `link`, within the call. False: nothing is done, as a table that is wanted is not in memory. */
  tryLink?(unit: number, place: Place): boolean;
  /** As `link`, of `count` units whose places lie one behind the other. */
  linkRun?(unit: number, count: number, place: Place): Promise<void>;
  /** Writes a whole unit in the format's own way, compressed; where this is, `allocate` and `link` are not called. */
  writeUnit?(unit: number, from: Uint8Array): Promise<void>;
  /** Makes a unit that is not data read as zeros whatever the backing image has; false: the format has no way to say so. */
  markZero?(unit: number): Promise<boolean>;
  /** Called before the first change, once. */
  beforeChange?(): Promise<void>;
  /** Makes all that was written and linked durable: data before what leads to them. */
  commit(): Promise<void>;
  info(): ImageInfo;
  /**
   * Takes a unit that has data its room away, and `give`s that to `tail`: it reads as zeros or, without `asZeros`, as the
   * backing image. False: the format cannot say so. Not with `writeUnit`.
   */
  free?(unit: number, asZeros: boolean): Promise<boolean>;
  /** Only there where units can be freed. */
  readonly tail?: FreedRoom;
  /** Moves the last blocks into the room that was freed and not taken, and makes the file shorter. Nothing is under way. */
  compact?(): Promise<void>;
  /** @throws {ImageError} when the disk cannot get this size: before anything is changed for it. */
  checkResize?(sizeBytes: number): void;
  /** All is committed and compact. When the disk gets smaller, the units behind its new end have been freed, if possible. */
  resize?(sizeBytes: number): Promise<void>;
  setBacking?(name: string | undefined, format: string | undefined): Promise<void>;
  /** As {@link DiskImage.adoptBacking}. */
  adoptBacking?(): Promise<void>;
  /** Commits, unless opened for reading, and closes the files. */
  close(): Promise<void>;
}
