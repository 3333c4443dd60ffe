import { type DiskImage, type Extent, SECTOR_BYTES } from '../image.ts';

/** How a run of the disk lies in a chain of images. */
export interface Status {
  readonly lengthBytes: number;
  readonly kind: 'data' | 'zero';
  /** How many images below the top one the image lies that says so; for what none has, the last that was asked. */
  readonly depth: number;
  /** As `depth`; but zeros past the end of an image are that image's, though they count as its overlay's in `depth`. */
  readonly decidedAt: number;
  /** False when no image of the chain says anything of it. */
  readonly present: boolean;
  readonly hostOffsetBytes?: number;
  readonly hostPath?: string;
  readonly compressed?: boolean;
  /** As in the extent of an image. */
  readonly hole?: boolean;
}

/** Whether an image has given it room. */
export function isData({ kind, hole }: Status): boolean {
  return kind === 'data' || hole === true;
}

/** Whether that is known without a look at the bytes. */
export function readsAsZeros({ kind, hole }: Status): boolean {
  return kind === 'zero' || hole === true;
}

/** A run of the disk, and where it starts. */
export interface DiskRun extends Status {
  readonly offsetBytes: number;
}

/** The run that starts at `offsetBytes`, cut at `lengthBytes`, as `top` and what lies behind it have it. */
export async function statusAt(
  top: DiskImage,
  offsetBytes: number,
  lengthBytes: number,
): Promise<Status> {
  let image = top;
  let length = lengthBytes;
  for (let depth = 0; ; depth++) {
    const extent = await image.extent(offsetBytes, length);
    length = extent.lengthBytes;
    const { kind, hostOffsetBytes, compressed, hole } = extent;
    const taken =
      hostOffsetBytes === undefined
        ? {}
        : { hostOffsetBytes, hostPath: extent.hostPath ?? image.path };
    if (kind !== 'unallocated')
      return {
        lengthBytes: length,
        kind,
        depth,
        decidedAt: depth,
        present: true,
        ...taken,
        ...(compressed === true ? { compressed } : {}),
        ...(hole === true ? { hole } : {}),
      };
    const { backing } = image;
    const zeros = { lengthBytes: length, kind: 'zero', depth, present: false } as const;
    if (backing === undefined) return { ...zeros, ...taken, decidedAt: depth };
    if (offsetBytes >= backing.sizeBytes) return { ...zeros, decidedAt: depth + 1 };
    length = Math.min(length, backing.sizeBytes - offsetBytes);
    image = backing;
  }
}

/**
 * How much of a run whose status, as {@link statusAt} tells it, cannot be read the images say nothing of that lie above the one
 * that fails.
 */
export async function untoldBytes(
  top: DiskImage,
  offsetBytes: number,
  lengthBytes: number,
): Promise<number> {
  let length = lengthBytes;
  // The last one fails, if all others can be read.
  for (let image = top; image.backing !== undefined; image = image.backing) {
    const extent = await firstExtent(image, offsetBytes, length);
    if (extent === undefined) return length;
    length = extent.lengthBytes;
    if (extent.kind !== 'unallocated' || offsetBytes >= image.backing.sizeBytes) return length;
    length = Math.min(length, image.backing.sizeBytes - offsetBytes);
  }
  return length;
}

/** Of less than `lengthBytes` where not all can be read; undefined: not even the first sector can. */
async function firstExtent(
  image: DiskImage,
  offsetBytes: number,
  lengthBytes: number,
): Promise<Extent | undefined> {
  for (let length = lengthBytes; ; length = halfOf(length))
    try {
      return await image.extent(offsetBytes, length);
    } catch {
      if (length <= SECTOR_BYTES) return undefined;
    }
}

/** In whole sectors, and not nothing. */
export function halfOf(lengthBytes: number): number {
  return Math.ceil(lengthBytes / 2 / SECTOR_BYTES) * SECTOR_BYTES;
}

function continues(first: Status, next: Status): boolean {
  const expected =
    first.hostOffsetBytes === undefined ? undefined : first.hostOffsetBytes + first.lengthBytes;
  return (
    next.kind === first.kind &&
    next.depth === first.depth &&
    next.decidedAt === first.decidedAt &&
    next.present === first.present &&
    next.compressed === first.compressed &&
    isData(next) === isData(first) &&
    next.hostPath === first.hostPath &&
    next.hostOffsetBytes === expected
  );
}

/** All runs from `startBytes` to `endBytes`; neighbours that lie alike and adjoin in the host file are one. */
export async function* runsOf(
  image: DiskImage,
  startBytes: number,
  endBytes: number,
): AsyncGenerator<DiskRun> {
  let run: DiskRun | undefined;
  for (let at = startBytes; at < endBytes; ) {
    const next = await statusAt(image, at, endBytes - at);
    if (run !== undefined && continues(run, next)) {
      run = { ...run, lengthBytes: run.lengthBytes + next.lengthBytes };
    } else {
      if (run !== undefined) yield run;
      run = { ...next, offsetBytes: at };
    }
    at += next.lengthBytes;
  }
  if (run !== undefined) yield run;
}
