import type { BlockBackend, BlockStatus } from './block.ts';
import type { Transfer } from './transfer.ts';

/** A read or a write of a disk, between it and the guest's memory. */
export interface DiskTransfer {
  readonly type: 'read' | 'write';
  readonly offsetBytes: number;
  readonly data: Transfer;
  /** What is written is on stable storage when the guest has its answer. */
  readonly isDurable: boolean;
}

/** Does it within the call; false: nothing has been done, and `runTransfer` is to be asked. */
export function tryTransfer(
  disk: BlockBackend,
  { type, offsetBytes, data, isDurable }: DiskTransfer,
): boolean {
  if (type === 'write')
    return !disk.readOnly && !isDurable && disk.tryWrite?.(offsetBytes, data.pieces) === true;
  if (disk.tryRead?.(offsetBytes, data.pieces) !== true) return false;
  data.deliver();
  return true;
}

export async function runTransfer(
  disk: BlockBackend,
  { type, offsetBytes, data, isDurable }: DiskTransfer,
): Promise<BlockStatus> {
  if (type === 'read') {
    const status = await disk.read(offsetBytes, data.pieces);
    data.deliver();
    return status;
  }
  if (disk.readOnly) return 'read-only';
  const status = await disk.write(offsetBytes, data.pieces);
  return status === 'ok' && isDurable ? await disk.flush() : status;
}

export interface DiskRange {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** Does `change` to one range after the other, until one fails. */
export async function changeRanges<Range extends DiskRange>(
  disk: BlockBackend,
  ranges: Iterable<Range>,
  change: (range: Range) => Promise<BlockStatus>,
): Promise<BlockStatus> {
  for (const range of ranges) {
    // The disk may have become smaller since the request came.
    if (range.offsetBytes + range.lengthBytes > disk.sizeBytes) return 'io-error';
    const status = await change(range);
    if (status !== 'ok') return status;
  }
  return 'ok';
}
