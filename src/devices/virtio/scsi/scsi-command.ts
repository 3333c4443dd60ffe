import type { OpcodesQuestion } from './scsi-opcodes.ts';
import * as r from './scsi-regs.ts';

// Command descriptor blocks, as a guest wrote them: pure.

export type ScsiCommand =
  | {
      readonly type: 'read' | 'write';
      readonly offsetBytes: number;
      readonly lengthBytes: number;
      readonly fua: boolean;
    }
  | {
      readonly type: 'verify';
      readonly offsetBytes: number;
      readonly lengthBytes: number;
      /** With data that the guest gives: of the whole length, or a block that stands there again and again. */
      readonly compare: 'nothing' | 'all' | 'block';
    }
  | { readonly type: 'flush' }
  | {
      readonly type: 'write-same';
      readonly offsetBytes: number;
      readonly lengthBytes: number;
      readonly unmap: boolean;
      /** Zeros are written, and none are given. */
      readonly ofZeros: boolean;
    }
  | { readonly type: 'unmap'; readonly listBytes: number }
  | { readonly type: 'inquiry'; readonly page: number | undefined; readonly mostBytes: number }
  | {
      readonly type: 'mode-sense';
      readonly page: number;
      readonly long: boolean;
      readonly mostBytes: number;
    }
  | { readonly type: 'capacity'; readonly long: boolean; readonly mostBytes: number }
  | { readonly type: 'opcodes'; readonly question: OpcodesQuestion; readonly mostBytes: number }
  | {
      readonly type: 'log-sense';
      readonly page: number;
      readonly subpage: number;
      readonly mostBytes: number;
    }
  | { readonly type: 'report-luns' | 'request-sense'; readonly mostBytes: number }
  | { readonly type: 'ready' }
  | { readonly type: 'bad'; readonly sense: r.Sense };

const bad = (sense: r.Sense): ScsiCommand => ({ type: 'bad', sense });
const FUA = 1 << 3;
const UNMAP_BIT = 1 << 3;
/** Of WRITE SAME: what is not there, blocks that hold their own address, and (16 alone) that no data are given. */
const ANCHOR_OR_ADDRESSES = 0x16;
const NO_DATA_OUT = 1;

interface Blocks {
  readonly first: number;
  readonly count: number;
  readonly flags: number;
}

/** The fields of READ, WRITE and their kin, by the length of the command. */
function blocks(cdb: DataView): Blocks {
  const flags = cdb.getUint8(1);
  switch (cdb.getUint8(0) >> 5) {
    case 0:
      // 6 bytes: 21 bits of address, and 0 is 256 blocks.
      return { first: cdb.getUint32(0) & 0x1f_ffff, count: cdb.getUint8(4) || 256, flags: 0 };
    case 4:
      return { first: Number(cdb.getBigUint64(2)), count: cdb.getUint32(10), flags };
    case 5:
      return { first: cdb.getUint32(2), count: cdb.getUint32(6), flags };
    default:
      return { first: cdb.getUint32(2), count: cdb.getUint16(7), flags };
  }
}

/** `cdb` has 32 bytes; the disk `sizeBytes`. */
export function parseScsi(cdb: DataView, sizeBytes: number): ScsiCommand {
  const opcode = cdb.getUint8(0);
  switch (opcode) {
    case r.READ_6:
    case r.READ_10:
    case r.READ_12:
    case r.READ_16:
      return transfer('read', blocks(cdb), sizeBytes);
    case r.WRITE_6:
    case r.WRITE_10:
    case r.WRITE_12:
    case r.WRITE_16:
      return transfer('write', blocks(cdb), sizeBytes);
    case r.VERIFY_10:
    case r.VERIFY_12:
    case r.VERIFY_16:
      return parseVerify(blocks(cdb), sizeBytes);
    case r.WRITE_SAME_10:
      return writeSame(blocks(cdb), sizeBytes);
    case r.WRITE_SAME_16:
      return writeSame(blocks(cdb), sizeBytes, NO_DATA_OUT);
    case r.SYNCHRONIZE_CACHE_10:
    case r.SYNCHRONIZE_CACHE_16:
      return { type: 'flush' };
    case r.UNMAP:
      return { type: 'unmap', listBytes: cdb.getUint16(7) };
    case r.TEST_UNIT_READY:
    case r.START_STOP:
    case r.PREVENT_REMOVAL:
      return { type: 'ready' };
    default:
      return parseQuestion(cdb, opcode);
  }
}

/** Commands whose answer tells of the disk. */
function parseQuestion(cdb: DataView, opcode: number): ScsiCommand {
  switch (opcode) {
    case r.INQUIRY: {
      const hasPage = (cdb.getUint8(1) & 1) !== 0;
      if (!hasPage && cdb.getUint8(2) !== 0) return bad(r.INVALID_FIELD);
      const page = hasPage ? cdb.getUint8(2) : undefined;
      return { type: 'inquiry', page, mostBytes: cdb.getUint16(3) };
    }
    case r.MODE_SENSE_6:
      return {
        type: 'mode-sense',
        page: cdb.getUint8(2) & 0x3f,
        long: false,
        mostBytes: cdb.getUint8(4),
      };
    case r.MODE_SENSE_10:
      return {
        type: 'mode-sense',
        page: cdb.getUint8(2) & 0x3f,
        long: true,
        mostBytes: cdb.getUint16(7),
      };
    case r.READ_CAPACITY_10:
      return { type: 'capacity', long: false, mostBytes: 8 };
    case r.SERVICE_ACTION_IN_16:
      if ((cdb.getUint8(1) & 0x1f) !== r.READ_CAPACITY_16) return bad(r.INVALID_FIELD);
      return { type: 'capacity', long: true, mostBytes: cdb.getUint32(10) };
    case r.LOG_SENSE:
      return parseLogSense(cdb);
    case r.MAINTENANCE_IN:
      return parseOpcodes(cdb);
    case r.REPORT_LUNS:
      return { type: 'report-luns', mostBytes: cdb.getUint32(6) };
    case r.REQUEST_SENSE:
      return { type: 'request-sense', mostBytes: cdb.getUint8(4) };
    default:
      return bad(r.INVALID_OPCODE);
  }
}

const LOG_SAVE = 1;

/** Nothing is saved, and pages are given from their first parameter on. */
function parseLogSense(cdb: DataView): ScsiCommand {
  if ((cdb.getUint8(1) & LOG_SAVE) !== 0 || cdb.getUint16(5) !== 0) return bad(r.INVALID_FIELD);
  return {
    type: 'log-sense',
    page: cdb.getUint8(2) & 0x3f,
    subpage: cdb.getUint8(3),
    mostBytes: cdb.getUint16(7),
  };
}

const OPCODES_ABOUT = ['all', 'opcode', 'action', 'either'] as const;
const OPCODES_TIMES = 0x80;

function parseOpcodes(cdb: DataView): ScsiCommand {
  const options = cdb.getUint8(2);
  const about = OPCODES_ABOUT[options & 7];
  if ((cdb.getUint8(1) & 0x1f) !== r.SUPPORTED_OPCODES || about === undefined)
    return bad(r.INVALID_FIELD);
  return {
    type: 'opcodes',
    question: {
      about,
      opcode: cdb.getUint8(3),
      action: cdb.getUint16(4),
      withTimes: (options & OPCODES_TIMES) !== 0,
    },
    mostBytes: cdb.getUint32(6),
  };
}

const PROTECTION = 0xe0;
/** By BYTCHK; 2 is reserved. */
const COMPARE = ['nothing', 'all', undefined, 'block'] as const;

function parseVerify({ first, count, flags }: Blocks, sizeBytes: number): ScsiCommand {
  const compare = COMPARE[(flags >> 1) & 3];
  if ((flags & PROTECTION) !== 0 || compare === undefined) return bad(r.INVALID_FIELD);
  const range = bytesOf(first, count, sizeBytes);
  if (range === undefined) return bad(r.OUT_OF_RANGE);
  const mostBytes = compare === 'all' ? r.MOST_TRANSFER_BYTES : r.MOST_BLOCKS * r.BLOCK_BYTES;
  if (range.lengthBytes > mostBytes) return bad(r.INVALID_FIELD);
  return { type: 'verify', ...range, compare };
}

function transfer(
  type: 'read' | 'write',
  { first, count, flags }: Blocks,
  sizeBytes: number,
): ScsiCommand {
  const range = bytesOf(first, count, sizeBytes);
  if (range === undefined) return bad(r.OUT_OF_RANGE);
  if (range.lengthBytes > r.MOST_TRANSFER_BYTES) return bad(r.INVALID_FIELD);
  return { type, ...range, fua: (flags & FUA) !== 0 };
}

/** 0 blocks are all to the end (SBC-3, 5.45). */
function writeSame({ first, count, flags }: Blocks, sizeBytes: number, ndob = 0): ScsiCommand {
  if ((flags & ANCHOR_OR_ADDRESSES) !== 0) return bad(r.INVALID_FIELD);
  const rest = sizeBytes / r.BLOCK_BYTES - first;
  const blocks = count || Math.max(rest, 0);
  const range = bytesOf(first, blocks, sizeBytes);
  if (range === undefined) return bad(r.OUT_OF_RANGE);
  if (blocks > r.MOST_BLOCKS) return bad(r.INVALID_FIELD);
  const ofZeros = (flags & ndob) !== 0;
  return { type: 'write-same', ...range, unmap: (flags & UNMAP_BIT) !== 0, ofZeros };
}

interface Range {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

function bytesOf(first: number, count: number, sizeBytes: number): Range | undefined {
  if (first + count > sizeBytes / r.BLOCK_BYTES) return undefined;
  return { offsetBytes: first * r.BLOCK_BYTES, lengthBytes: count * r.BLOCK_BYTES };
}

const UNMAP_HEADER_BYTES = 8;
const UNMAP_RANGE_BYTES = 16;

/** The ranges of an UNMAP's parameter list (SBC-3, 5.28), or what is wrong with them. */
export function parseUnmap(list: DataView, sizeBytes: number): readonly Range[] | r.Sense {
  if (list.byteLength < UNMAP_HEADER_BYTES) return list.byteLength === 0 ? [] : r.INVALID_PARAMETER;
  const end = Math.min(list.byteLength, UNMAP_HEADER_BYTES + list.getUint16(2));
  const ranges: Range[] = [];
  for (let at = UNMAP_HEADER_BYTES; at + UNMAP_RANGE_BYTES <= end; at += UNMAP_RANGE_BYTES) {
    const range = bytesOf(Number(list.getBigUint64(at)), list.getUint32(at + 8), sizeBytes);
    if (range === undefined) return r.OUT_OF_RANGE;
    if (range.lengthBytes > 0) ranges.push(range);
  }
  return ranges.length > r.MOST_UNMAP_RANGES ? r.INVALID_PARAMETER : ranges;
}
