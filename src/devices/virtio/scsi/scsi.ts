import { unreachable } from '#base/errors.ts';
import type { BlockBackend, BlockStatus } from '#hw/block.ts';
import type { GuestMemory, Segment } from '#hw/guest-memory.ts';
import { copyFrom, copyTo, slice, totalBytes } from '#hw/segments.ts';
import { Transfer } from '#hw/transfer.ts';
import type { Chain, VirtQueue } from '../queue.ts';
import type { VirtioDevice, VirtioWires } from '../transport/virtio-device.ts';
import { capacity, inquiry, luns, modeSense, vitalData } from './scsi-answers.ts';
import { parseScsi, parseUnmap, type ScsiCommand } from './scsi-command.ts';
import * as r from './scsi-regs.ts';

// A SCSI host with one disk, target 0. Source: virtio 1.2, 5.6.

const DEVICE_ID = 8;
const MASS_STORAGE_SCSI = 0x01_00_00;
const QUEUE_SIZE = 256;
/** Of one notification, served before other work of the thread has its turn. */
const MOST_AT_ONCE = 64;
/** Changes of the disk's parameters are told. */
const F_CHANGE = 1n << 2n;
/** 5.6.6.3: parameters have changed, in a disk's own way: ASC 2A, ASCQ 09, its capacity. */
const EVENT_PARAM_CHANGE = 3;
const CAPACITY_CHANGED = 0x092a;
const EVENT_BYTES = 16;
const CONTROL_QUEUE = 0;
const EVENT_QUEUE = 1;

const CONFIG_BYTES = 36;
const SENSE_AREA = 96;
const CDB_BYTES = 32;
/** LUN, ID, three bytes of priorities. */
const REQUEST_HEADER = 19;
const RESPONSE_BYTES = 12 + SENSE_AREA;

const RESPONSE_OK = 0;
const RESPONSE_BAD_TARGET = 3;
const CONTROL_BAD_TARGET = 3;
const CONTROL_OK = 0;
const CONTROL_TYPE_TASK_MANAGEMENT = 0;

/** How a command ended: bytes given to the guest, or what is wrong. */
interface Outcome {
  readonly sense?: r.Sense;
  readonly filledBytes: number;
}

const fine = (filledBytes = 0): Outcome => ({ filledBytes });
const failed = (sense: r.Sense): Outcome => ({ sense, filledBytes: 0 });

export class VirtioScsi implements VirtioDevice {
  readonly deviceId = DEVICE_ID;
  readonly classCode = MASS_STORAGE_SCSI;
  readonly features = F_CHANGE;
  readonly queueSizes: readonly number[];
  readonly #memory: GuestMemory;
  readonly #disk: BlockBackend;
  readonly #underWay = new Set<Promise<void>>();
  #queues: readonly (VirtQueue | undefined)[] = [];
  #generation = 0;
  /** The driver listens for changes; one is to be told when it has given room for it. */
  #listens = false;
  #hasChanged = false;

  constructor(wires: VirtioWires, disk: BlockBackend, requestQueues = 1) {
    this.#memory = wires.memory;
    this.#disk = disk;
    disk.onResize(() => {
      this.#hasChanged = this.#listens;
      this.#tellChange();
    });
    this.queueSizes = Array.from({ length: 2 + requestQueues }, () => QUEUE_SIZE);
  }

  /** 5.6.4. */
  config(): Uint8Array {
    const bytes = new Uint8Array(CONFIG_BYTES);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, this.queueSizes.length - 2, true);
    view.setUint32(4, QUEUE_SIZE - 2, true);
    view.setUint32(8, r.MOST_TRANSFER_BYTES / r.BLOCK_BYTES, true);
    view.setUint32(12, QUEUE_SIZE / 2, true);
    view.setUint32(16, EVENT_BYTES, true);
    view.setUint32(20, SENSE_AREA, true);
    view.setUint32(24, CDB_BYTES, true);
    view.setUint16(30, 0, true); // the highest target, and LUN, are 0
    return bytes;
  }

  /** Sizes of sense and command may be chosen; we keep to the ones we offer, which drivers take. */
  writeConfig(): void {}

  start(queues: readonly (VirtQueue | undefined)[], features: bigint): void {
    this.#queues = queues;
    this.#listens = (features & F_CHANGE) !== 0n;
  }

  stop(): void {
    this.#generation++;
    this.#queues = [];
    this.#listens = false;
    this.#hasChanged = false;
  }

  get isIdle(): boolean {
    return this.#underWay.size === 0;
  }

  async idle(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  notify(index: number): void {
    const queue = this.#queues[index];
    if (queue === undefined) return;
    if (index === EVENT_QUEUE) {
      this.#tellChange();
      return;
    }
    let count = 0;
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      if (index === CONTROL_QUEUE) this.#control(queue, chain);
      else this.#begin(queue, chain, count++ < MOST_AT_ONCE);
    }
  }

  /** Buffers for events wait for events. */
  #tellChange(): void {
    if (!this.#hasChanged) return;
    const queue = this.#queues[EVENT_QUEUE];
    const chain = queue?.pop();
    if (queue === undefined || chain === undefined) return;
    this.#hasChanged = false;
    const event = new Uint8Array(EVENT_BYTES);
    const view = new DataView(event.buffer);
    view.setUint32(0, EVENT_PARAM_CHANGE, true);
    event.set([1, 0, 0, 0], 4); // LUN 0 of target 0
    view.setUint32(12, CAPACITY_CHANGED, true);
    queue.push(chain, copyTo(this.#memory, chain.writable, event));
  }

  /** Task management (5.6.6.2): all commands end by themselves, so that each function is done at once. */
  #control(queue: VirtQueue, chain: Chain): void {
    const header = copyFrom(this.#memory, slice(chain.readable, 0, 16));
    const isTask =
      header?.length === 16 &&
      new DataView(header.buffer).getUint32(0, true) === CONTROL_TYPE_TASK_MANAGEMENT;
    const isOurs = isTask && isDisk(header.subarray(8, 16));
    const response = isTask && !isOurs ? CONTROL_BAD_TARGET : CONTROL_OK;
    // Asynchronous notifications answer with the events that they will tell of, before the response: none.
    const bytes = isTask ? Uint8Array.of(response) : Uint8Array.of(0, 0, 0, 0, response);
    queue.push(chain, copyTo(this.#memory, chain.writable, bytes));
  }

  #begin(queue: VirtQueue, chain: Chain, mayTry: boolean): void {
    const request = copyFrom(this.#memory, slice(chain.readable, 0, REQUEST_HEADER + CDB_BYTES));
    const response = slice(chain.writable, 0, RESPONSE_BYTES);
    if (request?.length !== REQUEST_HEADER + CDB_BYTES || totalBytes(response) < RESPONSE_BYTES) {
      queue.push(chain, 0);
      return;
    }
    const isOurs = isDisk(request.subarray(0, 8));
    const given = slice(chain.readable, REQUEST_HEADER + CDB_BYTES);
    const wanted = slice(chain.writable, RESPONSE_BYTES);
    const command = parseScsi(new DataView(request.buffer, REQUEST_HEADER), this.#disk.sizeBytes);
    const end = (result: Outcome): void => {
      const left = totalBytes(command.type === 'write' ? given : wanted);
      const answer = responseOf(result, isOurs, left);
      const written = copyTo(this.#memory, response, answer);
      queue.push(chain, written + result.filledBytes);
    };
    const done = mayTry && isOurs ? this.#tryServe(command, given, wanted) : undefined;
    if (done !== undefined) {
      end(done);
      return;
    }
    const generation = this.#generation;
    const outcome = isOurs ? this.#serve(command, given, wanted) : Promise.resolve(fine());
    const served = outcome.then((result) => {
      this.#underWay.delete(served);
      if (generation === this.#generation) end(result);
    });
    this.#underWay.add(served);
  }

  /** The outcome of what is done without a wait; undefined: nothing has been done. */
  #tryServe(
    command: ScsiCommand,
    given: readonly Segment[],
    wanted: readonly Segment[],
  ): Outcome | undefined {
    if (command.type !== 'read' && command.type !== 'write') return undefined;
    const { type, offsetBytes, lengthBytes, fua } = command;
    const isWrite = type === 'write';
    if (isWrite && (this.#disk.readOnly || fua)) return undefined;
    const data = Transfer.of(this.#memory, slice(isWrite ? given : wanted, 0, lengthBytes));
    if (data?.lengthBytes !== lengthBytes) return undefined;
    if (isWrite) return this.#disk.tryWrite?.(offsetBytes, data.pieces) ? fine() : undefined;
    if (this.#disk.tryRead?.(offsetBytes, data.pieces) !== true) return undefined;
    data.deliver();
    return fine(lengthBytes);
  }

  async #serve(
    command: ScsiCommand,
    given: readonly Segment[],
    wanted: readonly Segment[],
  ): Promise<Outcome> {
    switch (command.type) {
      case 'bad':
        return failed(command.sense);
      case 'ready':
        return fine();
      case 'read':
        return await this.#read(command, wanted);
      case 'write':
        return await this.#write(command, given);
      case 'write-same':
        return await this.#writeSame(command, given);
      case 'unmap':
        return await this.#unmap(command.listBytes, given);
      case 'flush':
        return outcomeOf(await this.#disk.flush(), r.WRITE_ERROR);
      default:
        return this.#tell(command, wanted);
    }
  }

  async #read(
    { offsetBytes, lengthBytes }: Extract<ScsiCommand, { type: 'read' | 'write' }>,
    wanted: readonly Segment[],
  ): Promise<Outcome> {
    const data = Transfer.of(this.#memory, slice(wanted, 0, lengthBytes));
    if (data === undefined || data.lengthBytes !== lengthBytes) return failed(r.INVALID_FIELD);
    const status = await this.#disk.read(offsetBytes, data.forGuest);
    data.deliver();
    return status === 'ok' ? fine(lengthBytes) : outcomeOf(status, r.READ_ERROR);
  }

  async #write(
    { offsetBytes, lengthBytes, fua }: Extract<ScsiCommand, { type: 'read' | 'write' }>,
    given: readonly Segment[],
  ): Promise<Outcome> {
    if (this.#disk.readOnly) return failed(r.WRITE_PROTECTED);
    const data = Transfer.of(this.#memory, slice(given, 0, lengthBytes));
    if (data === undefined || data.lengthBytes !== lengthBytes) return failed(r.INVALID_FIELD);
    const status = await this.#disk.write(offsetBytes, data.fromGuest());
    if (status !== 'ok' || !fua) return outcomeOf(status, r.WRITE_ERROR);
    return outcomeOf(await this.#disk.flush(), r.WRITE_ERROR);
  }

  /** Of zeros, which is what drivers use it for. */
  async #writeSame(
    { offsetBytes, lengthBytes, unmap }: Extract<ScsiCommand, { type: 'write-same' }>,
    given: readonly Segment[],
  ): Promise<Outcome> {
    if (this.#disk.readOnly) return failed(r.WRITE_PROTECTED);
    const block = copyFrom(this.#memory, slice(given, 0, r.BLOCK_BYTES));
    if (block === undefined || block.some((byte) => byte !== 0)) return failed(r.INVALID_FIELD);
    return outcomeOf(await this.#disk.writeZeroes(offsetBytes, lengthBytes, unmap), r.WRITE_ERROR);
  }

  async #unmap(listBytes: number, given: readonly Segment[]): Promise<Outcome> {
    if (this.#disk.readOnly) return failed(r.WRITE_PROTECTED);
    const list = copyFrom(this.#memory, slice(given, 0, listBytes));
    if (list === undefined) return failed(r.INVALID_FIELD);
    const ranges = parseUnmap(new DataView(list.buffer), this.#disk.sizeBytes);
    if ('key' in ranges) return failed(ranges);
    for (const { offsetBytes, lengthBytes } of ranges) {
      const status = await this.#disk.discard(offsetBytes, lengthBytes);
      if (status !== 'ok') return outcomeOf(status, r.WRITE_ERROR);
    }
    return fine();
  }

  #tell(
    command: Extract<ScsiCommand, { readonly mostBytes: number }>,
    wanted: readonly Segment[],
  ): Outcome {
    const bytes = this.#answer(command);
    if (bytes === undefined) return failed(r.INVALID_FIELD);
    return fine(copyTo(this.#memory, wanted, bytes.subarray(0, command.mostBytes)));
  }

  #answer(command: Extract<ScsiCommand, { readonly mostBytes: number }>): Uint8Array | undefined {
    switch (command.type) {
      case 'inquiry':
        return command.page === undefined ? inquiry() : vitalData(command.page, this.#disk);
      case 'mode-sense':
        return modeSense(command.page, command.long, this.#disk);
      case 'capacity':
        return capacity(command.long, this.#disk);
      case 'report-luns':
        return luns();
      case 'request-sense':
        return r.senseData(r.NO_SENSE);
      default:
        return unreachable(command);
    }
  }
}

/** Target 0, LUN 0 (5.6.6.1); the well-known address of REPORT LUNS too. */
function isDisk(lun: Uint8Array): boolean {
  const [first = 0, target = 0, high = 0, low = 0] = lun;
  return first === 1 && target === 0 && (high & 0x3f) === 0 && low === 0;
}

function outcomeOf(status: BlockStatus, failure: r.Sense): Outcome {
  switch (status) {
    case 'ok':
      return fine();
    case 'io-error':
      return failed(failure);
    case 'no-space':
      return failed(r.NO_SPACE);
    case 'read-only':
      return failed(r.WRITE_PROTECTED);
    default:
      return unreachable(status);
  }
}

/** 5.6.6.1: sense length, residual, status qualifier, status, response, sense. */
function responseOf(
  { sense, filledBytes }: Outcome,
  isOurs: boolean,
  leftBytes: number,
): Uint8Array {
  const bytes = new Uint8Array(RESPONSE_BYTES);
  const view = new DataView(bytes.buffer);
  bytes[11] = isOurs ? RESPONSE_OK : RESPONSE_BAD_TARGET;
  if (sense === undefined) return bytes;
  view.setUint32(0, r.SENSE_BYTES, true);
  view.setUint32(4, Math.max(0, leftBytes - filledBytes), true);
  bytes[10] = r.STATUS_CHECK_CONDITION;
  bytes.set(r.senseData(sense), 12);
  return bytes;
}
