import type { Extent, HostFile } from '../image.ts';
import { fillZeros } from '../zeros.ts';
import type { Place, Run } from './block-map.ts';

type DataRun = Run & { readonly file: NonNullable<Run['file']>; readonly hostOffsetBytes: number };

export function isInPlace(run: Run): run is DataRun {
  return run.compressed !== true && run.file !== undefined && run.hostOffsetBytes !== undefined;
}

export function isNext(place: Place, distanceBytes: number, next: Place | undefined): boolean {
  return (
    next !== undefined &&
    next.file === place.file &&
    next.hostOffsetBytes === place.hostOffsetBytes + distanceBytes
  );
}

export function continues(first: Run, lengthBytes: number, next: Run): boolean {
  if (next.kind !== first.kind || next.compressed === true || next.file !== first.file)
    return false;
  return first.hostOffsetBytes === undefined
    ? next.hostOffsetBytes === undefined
    : next.hostOffsetBytes === first.hostOffsetBytes + lengthBytes;
}

/** As the image at `path` tells it. */
export function extentOf(run: Run, path: string): Extent {
  const { kind, lengthBytes, file, hostOffsetBytes } = run;
  if (run.compressed === true) return { kind, lengthBytes, compressed: true };
  return {
    kind,
    lengthBytes,
    ...(hostOffsetBytes === undefined ? {} : { hostOffsetBytes }),
    ...(file === undefined || file.path === path ? {} : { hostPath: file.path }),
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
