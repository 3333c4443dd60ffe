import { SECTOR_BYTES } from '../image.ts';
import type { SourceDisk } from './concat.ts';

/** A run of the disk that cannot be read. */
export interface Lost {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/**
 * Fills `into` with what can be read of the disk from `offsetBytes` on, which cannot be as a whole. What is lost, sectors or
 * compressed clusters, becomes zeros; what lies around it does not.
 */
export async function readAround(
  source: SourceDisk,
  offsetBytes: number,
  into: Uint8Array,
  signal?: AbortSignal,
): Promise<Lost[]> {
  const lost: Lost[] = [];
  const read = async (from: number, length: number, leastBytes: number): Promise<void> => {
    signal?.throwIfAborted();
    const part = into.subarray(from, from + length);
    try {
      await source.read(offsetBytes + from, part);
    } catch {
      if (length > leastBytes) {
        const half = Math.ceil(length / 2 / SECTOR_BYTES) * SECTOR_BYTES;
        await read(from, half, leastBytes);
        await read(from + half, length - half, leastBytes);
        return;
      }
      part.fill(0);
      note(lost, offsetBytes + from, length);
    }
  };
  for (let done = 0; done < into.length; ) {
    const run = await source.status(offsetBytes + done, into.length - done);
    await read(done, run.lengthBytes, run.compressed === true ? run.lengthBytes : SECTOR_BYTES);
    done += run.lengthBytes;
  }
  return lost;
}

function note(lost: Lost[], offsetBytes: number, lengthBytes: number): void {
  const last = lost.at(-1);
  if (last === undefined || last.offsetBytes + last.lengthBytes < offsetBytes)
    lost.push({ offsetBytes, lengthBytes });
  else lost.splice(-1, 1, { ...last, lengthBytes: last.lengthBytes + lengthBytes });
}
