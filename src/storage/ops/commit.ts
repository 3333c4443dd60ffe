import type { DiskImage } from '../image.ts';
import { concatenated } from './concat.ts';
import { type CopyHost, copyDisk, type OnProgress } from './copy.ts';

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
