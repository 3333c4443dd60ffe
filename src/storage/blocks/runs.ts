import type { Extent, HostFile } from '../image.ts';
import { fillZeros } from '../zeros.ts';
import type { Place, Run } from './block-map.ts';

type DataRun = Run & { readonly file: NonNullable<Run['file']>; readonly hostOffsetBytes: number };

export function isInPlace(run: Run): run is DataRun {
  return run.compressed !== true && run.file !== undefined && run.hostOffsetBytes !== undefined;
}

/** Places of units, those that lie one behind the other together: the first of them, its index, and how many. */
export function* adjoining(
  places: readonly Place[],
  unitBytes: number,
): Generator<{ readonly place: Place; readonly start: number; readonly count: number }> {
  for (let start = 0; start < places.length; ) {
    const place = places[start];
    if (place === undefined) return;
    let count = 1;
    while (isAt(places[start + count], place.file, place.hostOffsetBytes + count * unitBytes))
      count++;
    yield { place, start, count };
    start += count;
  }
}

function isAt(place: Place | undefined, file: HostFile, hostOffsetBytes: number): boolean {
  return place?.file === file && place.hostOffsetBytes === hostOffsetBytes;
}

export function continues(first: Run, lengthBytes: number, next: Run): boolean {
  if (next.kind !== first.kind || next.compressed === true || next.file !== first.file)
    return false;
  return first.hostOffsetBytes === undefined
    ? next.hostOffsetBytes === undefined
    : next.hostOffsetBytes === first.hostOffsetBytes + lengthBytes;
}

/** As the image at `path` tells it; `there` is what the host has in the place of data, if somebody looked. */
export function extentOf(run: Run, path: string, there?: Run): Extent {
  const { kind, lengthBytes, file, hostOffsetBytes } = run;
  if (run.compressed === true) return { kind, lengthBytes, compressed: true };
  if (file === undefined || hostOffsetBytes === undefined) return { kind, lengthBytes };
  const isFixedHole = run.fixed === true && (there ?? run).kind === 'zero';
  return {
    kind: isFixedHole ? 'zero' : kind,
    lengthBytes,
    hostOffsetBytes,
    ...(file.path === path ? {} : { hostPath: file.path }),
    ...(isFixedHole || there?.kind === 'zero' ? { hole: true } : {}),
  };
}

/** Within the call where the host's memory takes it: the way to a thread and back costs more. */
export async function writeSoon(
  file: HostFile,
  offsetBytes: number,
  from: Uint8Array,
): Promise<void> {
  if (file.tryWrite?.(offsetBytes, [from]) !== true) await file.write(offsetBytes, from);
}

export async function zeroRun(run: DataRun, mayUnmap: boolean): Promise<void> {
  if (mayUnmap && (await run.file.punch(run.hostOffsetBytes, run.lengthBytes))) return;
  await fillZeros(run.file, run.hostOffsetBytes, run.lengthBytes);
}
