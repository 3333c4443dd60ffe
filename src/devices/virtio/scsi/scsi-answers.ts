import type { BlockBackend } from '#hw/block.ts';
import * as r from './scsi-regs.ts';

// What a disk tells of itself. Sources: SPC-4, 6.6 (INQUIRY), 7.5 (mode pages), 7.8 (vital product data); SBC-3, 6.6.

const VENDOR = 'RING0';
const PRODUCT = 'DISK';
const REVISION = '1';

function ascii(text: string, length: number): Uint8Array {
  return new TextEncoder().encode(text.slice(0, length).padEnd(length));
}

/** No disk has the number; the target could have one there (SPC-4, table 175). */
const NO_DISK = 0x7f;

export function inquiry(disk: BlockBackend | undefined): Uint8Array {
  const bytes = new Uint8Array(36);
  bytes[0] = disk === undefined ? NO_DISK : 0;
  bytes[2] = 6; // SPC-4
  bytes[3] = 2; // response format
  bytes[4] = bytes.length - 5;
  bytes[7] = 2; // commands are queued
  bytes.set(ascii(VENDOR, 8), 8);
  bytes.set(ascii(PRODUCT, 16), 16);
  bytes.set(ascii(REVISION, 4), 32);
  return bytes;
}

/** A page of vital product data; undefined when there is none. */
export function vitalData(page: number, disk: BlockBackend): Uint8Array | undefined {
  const body = vitalBody(page, disk);
  if (body === undefined) return undefined;
  const bytes = new Uint8Array(4 + body.length);
  bytes[1] = page;
  bytes[2] = body.length >> 8;
  bytes[3] = body.length;
  bytes.set(body, 4);
  return bytes;
}

function vitalBody(page: number, disk: BlockBackend): Uint8Array | undefined {
  switch (page) {
    case 0x00:
      return Uint8Array.of(0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2);
    case 0x80:
      return ascii(disk.serial, 20);
    case 0x83: {
      // One designator: ASCII, chosen by the vendor (T10).
      const name = ascii(VENDOR, 8);
      const serial = new TextEncoder().encode(disk.serial);
      return Uint8Array.of(2, 1, 0, name.length + serial.length, ...name, ...serial);
    }
    case 0xb0:
      return blockLimits(disk);
    case 0xb1: {
      const bytes = new Uint8Array(60);
      bytes[1] = 1; // does not rotate
      return bytes;
    }
    case 0xb2:
      // UNMAP and WRITE SAME (10 and 16) unmap, what is unmapped reads as zeros; thin.
      return Uint8Array.of(0, 0xe4, 2, 0);
    default:
      return undefined;
  }
}

function blockLimits(disk: BlockBackend): Uint8Array {
  const bytes = new Uint8Array(60);
  const view = new DataView(bytes.buffer);
  view.setUint32(4, r.MOST_TRANSFER_BYTES / r.BLOCK_BYTES);
  view.setUint32(16, r.MOST_BLOCKS);
  view.setUint32(20, r.MOST_UNMAP_RANGES);
  view.setUint32(24, Math.max(1, disk.unitBytes / r.BLOCK_BYTES));
  view.setBigUint64(32, BigInt(r.MOST_BLOCKS));
  return bytes;
}

/** The caching page, or all pages, behind a header; undefined for another page. */
export function modeSense(page: number, long: boolean, disk: BlockBackend): Uint8Array | undefined {
  const CACHING = 8;
  const ALL = 0x3f;
  if (page !== CACHING && page !== ALL) return undefined;
  const caching = new Uint8Array(20);
  caching[0] = CACHING;
  caching[1] = caching.length - 2;
  caching[2] = 1 << 2; // writes are cached
  const protection = (disk.readOnly ? 1 << 7 : 0) | (1 << 4); // FUA is known
  const header = long
    ? Uint8Array.of(0, 6 + caching.length, 0, protection, 0, 0, 0, 0)
    : Uint8Array.of(3 + caching.length, 0, protection, 0);
  return Uint8Array.of(...header, ...caching);
}

const LOG_SUBPAGES = 0xff;
const LOG_HAS_SUBPAGE = 0x40;

/** The page that says which log pages there are: itself, with its list of subpages; undefined for another page (SPC-4, 7.3). */
export function logSense(page: number, subpage: number): Uint8Array | undefined {
  if (page !== 0) return undefined;
  if (subpage === 0) return Uint8Array.of(0, 0, 0, 1, 0);
  if (subpage !== LOG_SUBPAGES) return undefined;
  const pairs = [0, 0, 0, LOG_SUBPAGES];
  return Uint8Array.of(LOG_HAS_SUBPAGE, LOG_SUBPAGES, 0, pairs.length, ...pairs);
}

export function capacity(long: boolean, disk: BlockBackend): Uint8Array {
  const last = disk.sizeBytes / r.BLOCK_BYTES - 1;
  const bytes = new Uint8Array(long ? 32 : 8);
  const view = new DataView(bytes.buffer);
  if (!long) {
    view.setUint32(0, Math.min(last, 0xffff_ffff));
    view.setUint32(4, r.BLOCK_BYTES);
    return bytes;
  }
  const UNMAPPED_READS_ZEROS = 0xc0;
  view.setBigUint64(0, BigInt(last));
  view.setUint32(8, r.BLOCK_BYTES);
  view.setUint8(13, 3); // 8 blocks to a physical one
  view.setUint8(14, UNMAPPED_READS_ZEROS);
  return bytes;
}

const LUN_BYTES = 8;

export function luns(numbers: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(LUN_BYTES * (1 + numbers.length));
  new DataView(bytes.buffer).setUint32(0, LUN_BYTES * numbers.length);
  for (const [index, lun] of numbers.entries()) bytes[LUN_BYTES * (1 + index) + 1] = lun;
  return bytes;
}
