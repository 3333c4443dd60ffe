import type { BlockBackend } from '#hw/block.ts';
import type { GuestMemory, Segment } from '#hw/guest-memory.ts';
import { copyFrom, slice, totalBytes } from '#hw/segments.ts';
import type { ScsiCommand } from './scsi-command.ts';
import * as r from './scsi-regs.ts';

/** Read at once. */
const PIECE_BYTES = 1 << 20;

/**
 * VERIFY (SBC-3, 5.29): reads a range and, where it is to be compared, compares it with what the guest gave. Undefined: it is
 * sound. `isOver` ends it early, after a reset.
 */
export async function verify(
  disk: BlockBackend,
  command: Extract<ScsiCommand, { type: 'verify' }>,
  { memory, given }: { readonly memory: GuestMemory; readonly given: readonly Segment[] },
  isOver: () => boolean,
): Promise<r.Sense | undefined> {
  const { offsetBytes, lengthBytes, compare } = command;
  const wantedBytes = compare === 'all' ? lengthBytes : compare === 'block' ? r.BLOCK_BYTES : 0;
  if (totalBytes(slice(given, 0, wantedBytes)) < wantedBytes) return r.INVALID_FIELD;
  for (let at = 0; at < lengthBytes && !isOver(); at += PIECE_BYTES) {
    const piece = new Uint8Array(Math.min(PIECE_BYTES, lengthBytes - at));
    if ((await disk.read(offsetBytes + at, [piece])) !== 'ok') return r.READ_ERROR;
    if (compare === 'nothing') continue;
    const from = compare === 'all' ? at : 0;
    const expected = copyFrom(memory, slice(given, from, Math.min(piece.length, wantedBytes)));
    if (expected === undefined) return r.INVALID_FIELD;
    if (!repeats(piece, expected)) return r.MISCOMPARE;
  }
  return undefined;
}

/** Whether `bytes` are `pattern`, again and again. */
function repeats(bytes: Uint8Array, pattern: Uint8Array): boolean {
  return bytes.every((byte, at) => byte === pattern[at % pattern.length]);
}
