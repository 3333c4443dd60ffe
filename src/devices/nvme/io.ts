import { unreachable } from '#base/errors.ts';
import type { BlockBackend, BlockStatus } from '#hw/block.ts';
import { changeRanges, type DiskTransfer, runTransfer, tryTransfer } from '#hw/disk-transfer.ts';
import type { GuestMemory } from '#hw/guest-memory.ts';
import { copyFrom } from '#hw/segments.ts';
import { Transfer } from '#hw/transfer.ts';
import { type Command, type IoRequest, parseIo, parseRanges, prpSegments } from './command.ts';
import type { Namespaces } from './namespaces.ts';
import * as r from './nvme-regs.ts';

const DSM_RANGE_BYTES = 16;

type ReadOrWrite = Extract<IoRequest, { type: 'read' | 'write' }>;

export interface IoContext {
  readonly memory: GuestMemory;
  readonly namespaces: Namespaces;
  readonly pageBytes: number;
  /** Whether the volatile write cache is on: without it every write is made stable. */
  readonly writeCache: boolean;
}

/** The status of a command that is done without a wait; undefined: nothing has been done. */
export function tryIo(command: Command, context: IoContext): number | undefined {
  const disk = context.namespaces.get(command.nsid);
  const request = parseIo(command, disk?.sizeBytes);
  if (disk === undefined || (request.type !== 'read' && request.type !== 'write')) return undefined;
  const transfer = transferOf(command, request, context);
  return typeof transfer !== 'number' && tryTransfer(disk, transfer) ? r.OK : undefined;
}

/** Serves a command of an I/O queue; resolves with its status. */
export async function serveIo(command: Command, context: IoContext): Promise<number> {
  const { namespaces } = context;
  const disk = namespaces.get(command.nsid);
  const request = parseIo(command, disk?.sizeBytes);
  if (request.type === 'flush-all') return await flushAll(namespaces.all);
  if (request.type === 'bad') return request.status;
  return disk === undefined ? r.INVALID_NAMESPACE : await serve(command, request, disk, context);
}

/** The status of one that fails, if any. */
export async function flushAll(disks: readonly BlockBackend[]): Promise<number> {
  const ends = await Promise.all(disks.map((disk) => disk.flush()));
  return statusOf(ends.find((status) => status !== 'ok') ?? 'ok', r.WRITE_FAULT);
}

async function serve(
  command: Command,
  request: Exclude<IoRequest, { type: 'bad' | 'flush-all' }>,
  disk: BlockBackend,
  context: IoContext,
): Promise<number> {
  switch (request.type) {
    case 'nothing':
      return r.OK;
    case 'flush':
      return statusOf(await disk.flush(), r.WRITE_FAULT);
    case 'read':
    case 'write':
      return await transfer(command, request, disk, context);
    case 'write-zeroes': {
      const { offsetBytes, lengthBytes, mayUnmap } = request;
      if (disk.readOnly) return r.READ_ONLY_RANGE;
      const done = await disk.writeZeroes(offsetBytes, lengthBytes, mayUnmap);
      return await afterWrite(done, request, disk, context);
    }
    case 'discard':
      return await discard(command, request.ranges, disk, context);
    default:
      return unreachable(request);
  }
}

function transferOf(
  command: Command,
  request: ReadOrWrite,
  { memory, pageBytes, writeCache }: IoContext,
): DiskTransfer | number {
  const { type, offsetBytes, lengthBytes } = request;
  const segments = prpSegments(memory, command, lengthBytes, pageBytes);
  if (typeof segments === 'number') return segments;
  const data = Transfer.of(memory, segments);
  if (data === undefined) return r.DATA_TRANSFER_ERROR;
  return { type, offsetBytes, data, isDurable: type === 'write' && (request.fua || !writeCache) };
}

async function transfer(
  command: Command,
  request: ReadOrWrite,
  disk: BlockBackend,
  context: IoContext,
): Promise<number> {
  const parsed = transferOf(command, request, context);
  if (typeof parsed === 'number') return parsed;
  const status = await runTransfer(disk, parsed);
  return statusOf(status, request.type === 'read' ? r.READ_ERROR : r.WRITE_FAULT);
}

async function afterWrite(
  done: BlockStatus,
  { fua }: { readonly fua: boolean },
  disk: BlockBackend,
  { writeCache }: IoContext,
): Promise<number> {
  if (done === 'ok' && (fua || !writeCache)) return statusOf(await disk.flush(), r.WRITE_FAULT);
  return statusOf(done, r.WRITE_FAULT);
}

async function discard(
  command: Command,
  count: number,
  disk: BlockBackend,
  context: IoContext,
): Promise<number> {
  if (disk.readOnly) return r.READ_ONLY_RANGE;
  const { memory, pageBytes } = context;
  const segments = prpSegments(memory, command, count * DSM_RANGE_BYTES, pageBytes);
  if (typeof segments === 'number') return segments;
  const list = copyFrom(memory, segments);
  if (list === undefined) return r.DATA_TRANSFER_ERROR;
  const ranges = parseRanges(list, disk.sizeBytes);
  if (typeof ranges === 'number') return ranges;
  const status = await changeRanges(disk, ranges, ({ offsetBytes, lengthBytes }) =>
    disk.discard(offsetBytes, lengthBytes),
  );
  return statusOf(status, r.WRITE_FAULT);
}

export function statusOf(status: BlockStatus, failure: number): number {
  switch (status) {
    case 'ok':
      return r.OK;
    case 'io-error':
      return failure;
    case 'no-space':
      return r.CAPACITY_EXCEEDED;
    case 'read-only':
      return r.READ_ONLY_RANGE;
    default:
      return unreachable(status);
  }
}
