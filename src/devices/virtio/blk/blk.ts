import { unreachable } from '#base/errors.ts';
import type { BlockBackend, BlockStatus } from '#hw/block.ts';
import { DiskRequests } from '#hw/disk-requests.ts';
import { changeRanges, type DiskTransfer, runTransfer, tryTransfer } from '#hw/disk-transfer.ts';
import type { GuestMemory, Segment } from '#hw/guest-memory.ts';
import { copyTo } from '#hw/segments.ts';
import { Transfer } from '#hw/transfer.ts';
import type { Chain, VirtQueue } from '../queue.ts';
import type { VirtioDevice, VirtioWires } from '../transport/virtio-device.ts';
import {
  type BlkRequest,
  MOST_RANGE_SECTORS,
  MOST_RANGES,
  type ParsedBlk,
  parseBlk,
  SECTOR_BYTES,
  type SectorRange,
} from './blk-request.ts';

// The block device. Source: virtio 1.2, 5.2.

const DEVICE_ID = 2;
const MASS_STORAGE = 0x01_00_00;

const F_SEG_MAX = 1n << 2n;
const F_READ_ONLY = 1n << 5n;
const F_BLK_SIZE = 1n << 6n;
const F_FLUSH = 1n << 9n;
const F_TOPOLOGY = 1n << 10n;
const F_CONFIG_WCE = 1n << 11n;
const F_MQ = 1n << 12n;
const F_DISCARD = 1n << 13n;
const F_WRITE_ZEROES = 1n << 14n;

const CONFIG_BYTES = 60;
const CONFIG_WRITEBACK = 32;
const QUEUE_SIZE = 256;
/** Data buffers of a request: what a chain as long as the queue has besides header and status. */
const MOST_SEGMENTS = QUEUE_SIZE - 2;
const ID_BYTES = 20;
/** What the host likes best: pages of 4 KiB, as its file systems have them. */
const PHYSICAL_EXPONENT = 3;

const STATUS_OK = 0;
const STATUS_IO_ERROR = 1;
const STATUS_UNSUPPORTED = 2;

type ReadOrWrite = Extract<BlkRequest, { type: 'read' | 'write' }>;

/** An answer: the status, and how many bytes before it were filled. */
interface Answer {
  readonly status: number;
  readonly filledBytes: number;
}

const answer = (status: number, filledBytes = 0): Answer => ({ status, filledBytes });

export class VirtioBlk implements VirtioDevice {
  readonly deviceId = DEVICE_ID;
  readonly classCode = MASS_STORAGE;
  readonly features: bigint;
  readonly queueSizes: readonly number[];
  readonly #memory: GuestMemory;
  readonly #disk: BlockBackend;
  readonly #requests = new DiskRequests();
  #queues: readonly (VirtQueue | undefined)[] = [];
  #features = 0n;
  #writeback = 1;

  constructor(wires: VirtioWires, disk: BlockBackend, queues = 1) {
    this.#memory = wires.memory;
    this.#disk = disk;
    this.queueSizes = Array.from({ length: queues }, () => QUEUE_SIZE);
    this.features =
      F_SEG_MAX |
      F_BLK_SIZE |
      F_FLUSH |
      F_TOPOLOGY |
      F_CONFIG_WCE |
      F_MQ |
      (disk.readOnly ? F_READ_ONLY : F_DISCARD | F_WRITE_ZEROES);
  }

  /** 5.2.4. */
  config(): Uint8Array {
    const bytes = new Uint8Array(CONFIG_BYTES);
    const view = new DataView(bytes.buffer);
    const { sizeBytes, unitBytes } = this.#disk;
    view.setBigUint64(0, BigInt(sizeBytes / SECTOR_BYTES), true);
    view.setUint32(12, MOST_SEGMENTS, true);
    view.setUint32(20, SECTOR_BYTES, true);
    view.setUint8(24, PHYSICAL_EXPONENT);
    view.setUint16(26, 1 << PHYSICAL_EXPONENT, true);
    view.setUint8(CONFIG_WRITEBACK, this.#writeback);
    view.setUint16(34, this.queueSizes.length, true);
    view.setUint32(36, MOST_RANGE_SECTORS, true);
    view.setUint32(40, MOST_RANGES, true);
    view.setUint32(44, Math.max(1, unitBytes / SECTOR_BYTES), true);
    view.setUint32(48, MOST_RANGE_SECTORS, true);
    view.setUint32(52, MOST_RANGES, true);
    view.setUint8(56, 1);
    return bytes;
  }

  /** Its first field is the size. */
  onConfigChange(listener: () => void): void {
    this.#disk.onResize(listener);
  }

  writeConfig(offset: number, byte: number): void {
    if (offset === CONFIG_WRITEBACK) this.#writeback = byte & 1;
  }

  start(queues: readonly (VirtQueue | undefined)[], features: bigint): void {
    this.#queues = queues;
    this.#features = features;
  }

  stop(): void {
    this.#requests.reset();
    this.#queues = [];
    this.#writeback = 1;
  }

  get isIdle(): boolean {
    return this.#requests.isIdle;
  }

  async idle(): Promise<void> {
    await this.#requests.idle();
  }

  notify(index: number): void {
    const queue = this.#queues[index];
    if (queue === undefined) return;
    this.#requests.notified();
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop())
      this.#begin(queue, chain);
  }

  #begin(queue: VirtQueue, chain: Chain): void {
    const parsed = parseBlk(this.#memory, chain, this.#disk.sizeBytes);
    if (parsed === undefined) {
      queue.push(chain, 0);
      return;
    }
    this.#requests.begin({
      unit: 0,
      attempt: () => this.#tryServe(parsed.request),
      serve: () => this.#serve(parsed.request),
      end: (done) => this.#end(queue, chain, parsed, done),
    });
  }

  #end(queue: VirtQueue, chain: Chain, parsed: ParsedBlk, { status, filledBytes }: Answer): void {
    const written = copyTo(this.#memory, [parsed.status], Uint8Array.of(status));
    // The count tells of a run from the beginning (2.7.8.2): with a gap before the status it ends there.
    queue.push(chain, filledBytes === parsed.dataBytes ? filledBytes + written : filledBytes);
  }

  /** The answer to what is done without a wait; undefined: nothing has been answered. */
  #tryServe(request: BlkRequest): Answer | undefined {
    if (request.type !== 'read' && request.type !== 'write') return undefined;
    const transfer = this.#transferOf(request);
    if (transfer === undefined || !tryTransfer(this.#disk, transfer)) return undefined;
    return answer(STATUS_OK, filledBy(transfer));
  }

  async #serve(request: BlkRequest): Promise<Answer> {
    switch (request.type) {
      case 'read':
      case 'write':
        return await this.#transfer(request);
      case 'flush':
        return answer(statusOf(await this.#disk.flush()));
      case 'get-id':
        return this.#identify(request.data);
      case 'discard':
      case 'write-zeroes':
        return await this.#clear(request.type, request.ranges);
      case 'unsupported':
        return answer(STATUS_UNSUPPORTED);
      case 'refused':
        return answer(STATUS_IO_ERROR);
      default:
        return unreachable(request);
    }
  }

  async #transfer(request: ReadOrWrite): Promise<Answer> {
    const transfer = this.#transferOf(request);
    if (transfer === undefined) return answer(STATUS_IO_ERROR);
    const status = await runTransfer(this.#disk, transfer);
    return answer(statusOf(status), filledBy(transfer));
  }

  #transferOf({ type, offsetBytes, data: segments }: ReadOrWrite): DiskTransfer | undefined {
    const data = Transfer.of(this.#memory, segments);
    return data && { type, offsetBytes, data, isDurable: !this.#isCached };
  }

  async #clear(type: 'discard' | 'write-zeroes', ranges: readonly SectorRange[]): Promise<Answer> {
    if (this.#disk.readOnly) return answer(STATUS_IO_ERROR);
    const status = await changeRanges(
      this.#disk,
      ranges,
      ({ offsetBytes, lengthBytes, mayUnmap }) =>
        type === 'discard'
          ? this.#disk.discard(offsetBytes, lengthBytes)
          : this.#disk.writeZeroes(offsetBytes, lengthBytes, mayUnmap),
    );
    return answer(statusOf(status !== 'ok' || this.#isCached ? status : await this.#disk.flush()));
  }

  /** 5.2.6.2: without a cache, and for a driver that knows no flush, what is written is stable when it is answered. */
  get #isCached(): boolean {
    return this.#writeback === 1 && (this.#features & F_FLUSH) !== 0n;
  }

  #identify(data: readonly Segment[]): Answer {
    const id = new Uint8Array(ID_BYTES);
    id.set(new TextEncoder().encode(this.#disk.serial).subarray(0, ID_BYTES));
    return answer(STATUS_OK, copyTo(this.#memory, data, id));
  }
}

function filledBy({ type, data }: DiskTransfer): number {
  return type === 'read' ? data.lengthBytes : 0;
}

function statusOf(status: BlockStatus): number {
  return status === 'ok' ? STATUS_OK : STATUS_IO_ERROR;
}
