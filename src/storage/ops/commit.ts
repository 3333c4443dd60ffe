import type { DiskImage } from '../image.ts';
import { concatenated } from './concat.ts';
import { type CopyHost, copyDisk, type OnProgress } from './copy.ts';
import { runsOf } from './status.ts';

export interface CommitRequest {
  /** With the chain behind it. */
  readonly top: DiskImage;
  /** One of that chain, opened for writing on its own. */
  readonly base: DiskImage;
  /** How many images below `top` it lies. */
  readonly baseDepth: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: OnProgress;
  readonly bytesPerSecond?: number;
  readonly host?: CopyHost;
}

/** Writes what the images above `base` say into it, makes it as large as the top one, and flushes it. */
export async function commitDisk(request: CommitRequest): Promise<void> {
  const { top, base, baseDepth } = request;
  if (baseDepth === 1) await keepUsable(top, base);
  if (base.sizeBytes < top.sizeBytes) await base.resize?.(top.sizeBytes);
  await copyDisk({
    source: concatenated([top]),
    target: base,
    sparseBytes: 4096,
    targetIsZero: false,
    sharedDepth: baseDepth,
    ...(request.host === undefined ? {} : { host: request.host }),
    ...(request.signal === undefined ? {} : { signal: request.signal }),
    ...(request.onProgress === undefined ? {} : { onProgress: request.onProgress }),
    ...(request.bytesPerSecond === undefined ? {} : { bytesPerSecond: request.bytesPerSecond }),
  });
  await base.flush();
}

/**
 * Formats that refuse images whose parent was written to are told that it was, before it is: what reaches the parent is what
 * the top says itself, so that the top shows the same on the old parent, on the new one, and on any in between.
 */
async function keepUsable(top: DiskImage, base: DiskImage): Promise<void> {
  if (top.adoptBacking === undefined || !(await willChange(top, base))) return;
  // With its first change, of which this is the least, the base gets another identifier.
  await base.write(0, new Uint8Array(0));
  await base.flush();
  await top.adoptBacking();
}

async function willChange(top: DiskImage, base: DiskImage): Promise<boolean> {
  if (base.sizeBytes < top.sizeBytes) return true;
  for await (const { decidedAt } of runsOf(top, 0, top.sizeBytes)) if (decidedAt === 0) return true;
  return false;
}
