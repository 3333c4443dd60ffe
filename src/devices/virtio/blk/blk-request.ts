import { type GuestMemory, paddrOf, type Segment } from '#hw/guest-memory.ts';
import { copyFrom, slice, totalBytes } from '#hw/segments.ts';
import type { Chain } from '../queue.ts';

// Requests of a block device. Source: virtio 1.2, 5.2.6.

const T_IN = 0;
const T_OUT = 1;
const T_FLUSH = 4;
const T_GET_ID = 8;
const T_DISCARD = 11;
const T_WRITE_ZEROES = 13;
const HEADER_BYTES = 16;
export const SECTOR_BYTES = 512;
const RANGE_BYTES = 16;
const RANGE_UNMAP = 1;

/** The most ranges and sectors of a discard that the configuration offers. */
export const MOST_RANGES = 16;
export const MOST_RANGE_SECTORS = 0x40_0000;
/** Longer requests are refused: a driver may name the same memory in all its buffers. */
const MOST_BYTES = 64 << 20;

export interface SectorRange {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly mayUnmap: boolean;
}

export type BlkRequest =
  | {
      readonly type: 'read' | 'write';
      readonly offsetBytes: number;
      readonly data: readonly Segment[];
    }
  | { readonly type: 'flush' }
  | { readonly type: 'get-id'; readonly data: readonly Segment[] }
  | { readonly type: 'discard' | 'write-zeroes'; readonly ranges: readonly SectorRange[] }
  | { readonly type: 'unsupported' }
  | { readonly type: 'refused' };

/** A request and where its status goes; undefined for a chain with no place for that. */
export interface ParsedBlk {
  readonly request: BlkRequest;
  readonly status: Segment;
  /** Bytes of the writable part before the status. */
  readonly dataBytes: number;
}

const REFUSED: BlkRequest = { type: 'refused' };

/** For a disk of `sizeBytes`. */
export function parseBlk(
  memory: GuestMemory,
  chain: Chain,
  sizeBytes: number,
): ParsedBlk | undefined {
  const dataBytes = totalBytes(chain.writable) - 1;
  const [status] = slice(chain.writable, dataBytes, 1);
  const header = copyFrom(memory, slice(chain.readable, 0, HEADER_BYTES));
  if (status === undefined || header?.length !== HEADER_BYTES) return undefined;
  const view = new DataView(header.buffer);
  const offsetBytes = paddrOf(view.getUint32(8, true), view.getUint32(12, true)) * SECTOR_BYTES;
  const given = slice(chain.readable, HEADER_BYTES);
  const wanted = slice(chain.writable, 0, dataBytes);
  const request = (): BlkRequest => {
    switch (view.getUint32(0, true)) {
      case T_IN:
        return transfer('read', offsetBytes, wanted, sizeBytes);
      case T_OUT:
        return transfer('write', offsetBytes, given, sizeBytes);
      case T_FLUSH:
        return { type: 'flush' };
      case T_GET_ID:
        return { type: 'get-id', data: wanted };
      case T_DISCARD:
        return parseRanges('discard', memory, given, sizeBytes);
      case T_WRITE_ZEROES:
        return parseRanges('write-zeroes', memory, given, sizeBytes);
      default:
        return { type: 'unsupported' };
    }
  };
  return { request: request(), status, dataBytes };
}

function transfer(
  type: 'read' | 'write',
  offsetBytes: number,
  data: readonly Segment[],
  sizeBytes: number,
): BlkRequest {
  const lengthBytes = totalBytes(data);
  const isWhole = lengthBytes % SECTOR_BYTES === 0 && lengthBytes <= MOST_BYTES;
  if (!isWhole || offsetBytes + lengthBytes > sizeBytes) return REFUSED;
  return { type, offsetBytes, data };
}

function parseRanges(
  type: 'discard' | 'write-zeroes',
  memory: GuestMemory,
  data: readonly Segment[],
  sizeBytes: number,
): BlkRequest {
  const lengthBytes = totalBytes(data);
  if (lengthBytes % RANGE_BYTES !== 0 || lengthBytes > MOST_RANGES * RANGE_BYTES) return REFUSED;
  const bytes = copyFrom(memory, data);
  if (bytes === undefined) return REFUSED;
  const view = new DataView(bytes.buffer);
  const ranges: SectorRange[] = [];
  for (let at = 0; at < bytes.length; at += RANGE_BYTES) {
    const first = paddrOf(view.getUint32(at, true), view.getUint32(at + 4, true));
    const sectors = view.getUint32(at + 8, true);
    const flags = view.getUint32(at + 12, true);
    // 5.2.6.2: unknown flags, and for a discard any, are unsupported.
    if (flags & ~(type === 'discard' ? 0 : RANGE_UNMAP)) return { type: 'unsupported' };
    if (sectors > MOST_RANGE_SECTORS || (first + sectors) * SECTOR_BYTES > sizeBytes)
      return REFUSED;
    if (sectors === 0) continue;
    ranges.push({
      offsetBytes: first * SECTOR_BYTES,
      lengthBytes: sectors * SECTOR_BYTES,
      mayUnmap: (flags & RANGE_UNMAP) !== 0,
    });
  }
  return { type, ranges };
}
