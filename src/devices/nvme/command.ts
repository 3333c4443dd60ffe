import type { GuestMemory, Segment } from '#hw/guest-memory.ts';
import { paddrOf } from '#hw/guest-memory.ts';
import * as r from './nvme-regs.ts';

// Submission queue entries, as a guest wrote them: pure, and apart from what serves them.

/** Fields that all commands have (NVM Express 1.4, figure 105). */
export interface Command {
  readonly opcode: number;
  readonly id: number;
  readonly nsid: number;
  readonly prp1: number;
  readonly prp2: number;
  /** CDW10 to CDW15. */
  readonly cdw: readonly number[];
}

/** `entry` has 64 bytes, which nobody changes meanwhile. */
export function parseCommand(entry: Uint8Array): Command {
  const view = new DataView(entry.buffer, entry.byteOffset, entry.byteLength);
  const word = (index: number): number => view.getUint32(index * 4, true);
  return {
    opcode: word(0) & 0xff,
    id: word(0) >>> 16,
    nsid: word(1),
    prp1: paddrOf(word(6), word(7)),
    prp2: paddrOf(word(8), word(9)),
    cdw: [10, 11, 12, 13, 14, 15].map(word),
  };
}

/** A run of blocks, in bytes. */
export interface BlockRange {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export type IoRequest =
  | ({ readonly type: 'read' } & BlockRange)
  | ({ readonly type: 'write'; readonly fua: boolean } & BlockRange)
  | ({
      readonly type: 'write-zeroes';
      readonly mayUnmap: boolean;
      readonly fua: boolean;
    } & BlockRange)
  | { readonly type: 'discard'; readonly ranges: number }
  | { readonly type: 'nothing' }
  | { readonly type: 'flush' }
  | { readonly type: 'flush-all' }
  | { readonly type: 'bad'; readonly status: number };

const bad = (status: number): IoRequest => ({ type: 'bad', status });

/** A command of an I/O queue, for a namespace of `sizeBytes`; undefined: there is none of the command's. */
export function parseIo(command: Command, sizeBytes: number | undefined): IoRequest {
  const { opcode, nsid, cdw } = command;
  const [low = 0, high = 0, control = 0] = cdw;
  if (opcode === r.IO_FLUSH && nsid === r.ALL_NAMESPACES) return { type: 'flush-all' };
  if (sizeBytes === undefined) return bad(r.INVALID_NAMESPACE);
  switch (opcode) {
    case r.IO_FLUSH:
      return { type: 'flush' };
    case r.IO_DSM:
      if ((high & r.DSM_DEALLOCATE) === 0) return { type: 'nothing' };
      return { type: 'discard', ranges: (low & 0xff) + 1 };
    case r.IO_READ:
    case r.IO_WRITE:
    case r.IO_WRITE_ZEROES:
      break;
    default:
      return bad(r.INVALID_OPCODE);
  }
  const range = blocks(paddrOf(low, high), (control & 0xffff) + 1, sizeBytes);
  if (range === undefined) return bad(r.LBA_OUT_OF_RANGE);
  const fua = (control & r.RW_FUA) !== 0;
  if (opcode === r.IO_WRITE_ZEROES)
    return { type: 'write-zeroes', mayUnmap: (control & r.WZ_DEALLOCATE) !== 0, fua, ...range };
  if (range.lengthBytes > r.MOST_TRANSFER_BYTES) return bad(r.INVALID_FIELD);
  return opcode === r.IO_READ ? { type: 'read', ...range } : { type: 'write', fua, ...range };
}

function blocks(first: number, count: number, sizeBytes: number): BlockRange | undefined {
  if (first + count > sizeBytes / r.BLOCK_BYTES) return undefined;
  return { offsetBytes: first * r.BLOCK_BYTES, lengthBytes: count * r.BLOCK_BYTES };
}

const DSM_RANGE_BYTES = 16;

/** The ranges of a Dataset Management command (figure 381), or a status. */
export function parseRanges(list: Uint8Array, sizeBytes: number): readonly BlockRange[] | number {
  const view = new DataView(list.buffer, list.byteOffset, list.byteLength);
  const ranges: BlockRange[] = [];
  for (let at = 0; at < list.length; at += DSM_RANGE_BYTES) {
    const count = view.getUint32(at + 4, true);
    const first = paddrOf(view.getUint32(at + 8, true), view.getUint32(at + 12, true));
    const range = blocks(first, count, sizeBytes);
    if (range === undefined) return r.LBA_OUT_OF_RANGE;
    if (count > 0) ranges.push(range);
  }
  return ranges;
}

/** The memory that PRP entries name (4.3), or a status. `pageBytes` is the controller's memory page size. */
export function prpSegments(
  memory: GuestMemory,
  command: Command,
  lengthBytes: number,
  pageBytes: number,
): readonly Segment[] | number {
  const { prp1, prp2 } = command;
  if (prp1 % 4 !== 0) return r.PRP_OFFSET_INVALID;
  const first = Math.min(lengthBytes, pageBytes - (prp1 % pageBytes));
  const segments: Segment[] = [{ paddr: prp1, lengthBytes: first }];
  const left = lengthBytes - first;
  if (left === 0) return segments;
  if (left <= pageBytes) {
    if (prp2 % pageBytes !== 0) return r.PRP_OFFSET_INVALID;
    segments.push({ paddr: prp2, lengthBytes: left });
    return segments;
  }
  const status = walkList(memory, prp2, left, pageBytes, segments);
  return status === r.OK ? segments : status;
}

const PRP_BYTES = 8;

/** The last entry of a page leads to the next list when more follow than fit: each step adds a page, so it ends. */
function walkList(
  memory: GuestMemory,
  listPaddr: number,
  lengthBytes: number,
  pageBytes: number,
  segments: Segment[],
): number {
  let at = listPaddr;
  let left = lengthBytes;
  if (at % PRP_BYTES !== 0) return r.PRP_OFFSET_INVALID;
  while (left > 0) {
    const inPage = Math.floor((pageBytes - (at % pageBytes)) / PRP_BYTES);
    const wanted = Math.ceil(left / pageBytes);
    const count = Math.min(inPage, wanted);
    const bytes = memory.bytes(at, count * PRP_BYTES);
    if (bytes === undefined) return r.DATA_TRANSFER_ERROR;
    const list = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let index = 0; index < count; index++) {
      const place = index * PRP_BYTES;
      const entry = paddrOf(list.getUint32(place, true), list.getUint32(place + 4, true));
      if (entry % pageBytes !== 0) return r.PRP_OFFSET_INVALID;
      if (index === count - 1 && count < wanted) {
        at = entry;
        break;
      }
      const lengthHere = Math.min(left, pageBytes);
      segments.push({ paddr: entry, lengthBytes: lengthHere });
      left -= lengthHere;
    }
  }
  return r.OK;
}
