import { statSync } from 'node:fs';
import path from 'node:path';
import { nowMs } from '#base/node/now-ms.ts';
import type { DiskImage } from '#storage/image.ts';
import { filesystemOf } from '#storage/node/filesystem.ts';
import type { SourceDisk } from '#storage/ops/concat.ts';
import { readsAsZeros } from '#storage/ops/status.ts';

const SAMPLES = 8;
const SAMPLE_BYTES = 64 * 1024;
/** What the host has in its memory takes a tenth of this. */
const QUICK_MS = 0.5;
/** The first ones wait for V8, too. */
const MOST_SLOW = 3;

/**
 * Has libuv make one thread instead of four, where that reads one piece while this thread writes the other: where the host has the source in
 * its memory, two at once only take the processor from each other. To be called before anything has gone to libuv's threads; what users
 * set themselves stays.
 */
export async function readOnOneThread(
  images: readonly DiskImage[],
  source: SourceDisk,
  target: string,
): Promise<void> {
  const paths = images.flatMap((image) => chainOf(image)).map((image) => image.path);
  if (process.env['UV_THREADPOOL_SIZE'] !== undefined || !isPlainAndNear(target)) return;
  if (paths.every((file) => filesystemOf(file).isLocal) && (await isAtHand(source)))
    process.env['UV_THREADPOOL_SIZE'] = '1';
}

function chainOf(image: DiskImage): DiskImage[] {
  return [image, ...(image.backing === undefined ? [] : chainOf(image.backing))];
}

function isPlainAndNear(target: string): boolean {
  const isPlain = statSync(target, { throwIfNoEntry: false })?.isFile() ?? true;
  return isPlain && filesystemOf(path.dirname(path.resolve(target))).isLocal;
}

/** Whether what lies at some places of a disk is read at once, and is not compressed. */
async function isAtHand(source: SourceDisk): Promise<boolean> {
  const bytes = new Uint8Array(SAMPLE_BYTES);
  let slow = 0;
  // Whole sectors.
  const step = Math.ceil(source.sizeBytes / SAMPLES / SAMPLE_BYTES) * SAMPLE_BYTES;
  for (let sample = 0; sample < SAMPLES && slow <= MOST_SLOW; sample++) {
    const at = step * sample;
    const place = at < source.sizeBytes ? await dataFrom(source, at) : undefined;
    if (place === undefined) continue;
    if (place.isCompressed) return false;
    const startMs = nowMs();
    await source.read(place.at, bytes.subarray(0, Math.min(SAMPLE_BYTES, place.lengthBytes)));
    if (nowMs() - startMs > QUICK_MS) slow++;
  }
  return slow <= MOST_SLOW;
}

/** The first data at `at` or behind the run of zeros that is there. */
async function dataFrom(
  source: SourceDisk,
  at: number,
): Promise<{ at: number; lengthBytes: number; isCompressed: boolean } | undefined> {
  for (const start of [at, at + (await runAt(source, at)).lengthBytes]) {
    if (start >= source.sizeBytes) break;
    const run = await runAt(source, start);
    if (!readsAsZeros(run))
      return { at: start, lengthBytes: run.lengthBytes, isCompressed: run.compressed === true };
  }
  return undefined;
}

async function runAt(source: SourceDisk, at: number) {
  return await source.status(at, source.sizeBytes - at);
}
