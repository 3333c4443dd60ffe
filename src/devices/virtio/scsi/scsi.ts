import { unreachable } from '#base/errors.ts';
import type { BlockBackend, BlockStatus, DiskBays } from '#hw/block.ts';
import { DiskRequests } from '#hw/disk-requests.ts';
import {
  changeRanges,
  type DiskRange,
  type DiskTransfer,
  runTransfer,
  tryTransfer,
} from '#hw/disk-transfer.ts';
import type { GuestMemory, Segment } from '#hw/guest-memory.ts';
import { copyFrom, copyTo, slice, totalBytes } from '#hw/segments.ts';
import { Transfer } from '#hw/transfer.ts';
import type { Chain, VirtQueue } from '../queue.ts';
import type { VirtioDevice, VirtioWires } from '../transport/virtio-device.ts';
import { lunOf, MOST_LUN } from './lun.ts';
import { capacity, inquiry, logSense, luns, modeSense, vitalData } from './scsi-answers.ts';
import { parseScsi, parseUnmap, type ScsiCommand } from './scsi-command.ts';
import { EVENT_BYTES, F_CHANGE, F_HOTPLUG, ScsiEvents } from './scsi-events.ts';
import { supportedOpcodes } from './scsi-opcodes.ts';
import * as r from './scsi-regs.ts';
import { verify } from './scsi-verify.ts';

// A SCSI host with target 0, whose logical units are disks. Source: virtio 1.2, 5.6.

const DEVICE_ID = 8;
const MASS_STORAGE_SCSI = 0x01_00_00;
const QUEUE_SIZE = 256;
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
const CONTROL_INCORRECT_LUN = 12;
const CONTROL_OK = 0;
const CONTROL_TYPE_TASK_MANAGEMENT = 0;
/** Of a WRITE SAME, written at once. */
const SAME_BYTES = 64 << 10;

/** How a command ended: what is wrong, and bytes given to the guest, or taken from it. */
interface Outcome {
  readonly sense?: r.Sense;
  readonly movedBytes: number;
}

const fine = (movedBytes = 0): Outcome => ({ movedBytes });
const failed = (sense: r.Sense): Outcome => ({ sense, movedBytes: 0 });

/** What answers even while a unit has something to tell (SPC-4, 5.6), and where there is none. */
const QUESTIONS: readonly ScsiCommand['type'][] = ['inquiry', 'report-luns', 'request-sense'];

/** Where a command's data are. */
interface Data {
  readonly given: readonly Segment[];
  readonly wanted: readonly Segment[];
}

type ReadOrWrite = Extract<ScsiCommand, { type: 'read' | 'write' }>;

/** A command and whom it is for; of a unit without a disk it is refused. */
interface Request {
  readonly lun: number;
  readonly disk: BlockBackend | undefined;
  readonly command: ScsiCommand;
  readonly data: Data;
}

export class VirtioScsi implements VirtioDevice, DiskBays {
  readonly deviceId = DEVICE_ID;
  readonly classCode = MASS_STORAGE_SCSI;
  readonly features = F_CHANGE | F_HOTPLUG;
  readonly queueSizes: readonly number[];
  readonly #memory: GuestMemory;
  readonly #disks = new Map<number, BlockBackend>();
  readonly #requests = new DiskRequests();
  /** What a unit's next command is told instead of being done. */
  readonly #attention = new Map<number, r.Sense>();
  readonly #events: ScsiEvents;
  #queues: readonly (VirtQueue | undefined)[] = [];

  /** `disks`: by logical unit numbers. */
  constructor(wires: VirtioWires, disks: ReadonlyMap<number, BlockBackend>, requestQueues = 1) {
    this.#memory = wires.memory;
    this.#events = new ScsiEvents(wires.memory);
    for (const [lun, disk] of disks) this.#put(lun, disk);
    this.queueSizes = Array.from({ length: 2 + requestQueues }, () => QUEUE_SIZE);
  }

  #put(lun: number, disk: BlockBackend): void {
    this.#disks.set(lun, disk);
    disk.onResize(() => {
      if (this.#disks.get(lun) !== disk) return;
      this.#attention.set(lun, r.CAPACITY_CHANGED);
      this.#events.tell('resized', lun);
    });
  }

  attach(lun: number, disk: BlockBackend): void {
    this.#lunsChanged();
    this.#put(lun, disk);
    this.#events.tell('came', lun);
  }

  async detach(lun: number): Promise<void> {
    this.#disks.delete(lun);
    this.#attention.delete(lun);
    this.#lunsChanged();
    this.#events.tell('went', lun);
    await this.#requests.idle([lun]);
  }

  /** Said by the units that stay (SPC-4, 6.33). */
  #lunsChanged(): void {
    for (const lun of this.#disks.keys())
      if (!this.#attention.has(lun)) this.#attention.set(lun, r.LUNS_CHANGED);
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
    view.setUint16(30, 0, true); // the highest target
    view.setUint32(32, MOST_LUN, true);
    return bytes;
  }

  /** Sizes of sense and command may be chosen; we keep to the ones we offer, which drivers take. */
  writeConfig(): void {}

  start(queues: readonly (VirtQueue | undefined)[], features: bigint): void {
    this.#queues = queues;
    this.#events.start(queues[EVENT_QUEUE], features);
  }

  stop(): void {
    this.#requests.reset();
    this.#queues = [];
    this.#events.stop();
    this.#attention.clear();
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
    if (index === EVENT_QUEUE) {
      this.#events.deliver();
      return;
    }
    this.#requests.notified();
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      if (index === CONTROL_QUEUE) this.#control(queue, chain);
      else this.#begin(queue, chain);
    }
  }

  /** Task management (5.6.6.2): all commands end by themselves, so that each function is done at once. */
  #control(queue: VirtQueue, chain: Chain): void {
    const header = copyFrom(this.#memory, slice(chain.readable, 0, 16));
    const isTask =
      header?.length === 16 &&
      new DataView(header.buffer).getUint32(0, true) === CONTROL_TYPE_TASK_MANAGEMENT;
    const response = isTask ? this.#taskResponse(lunOf(header.subarray(8, 16))) : CONTROL_OK;
    // Asynchronous notifications answer with the events that they will tell of, before the response: none.
    const bytes = isTask ? Uint8Array.of(response) : Uint8Array.of(0, 0, 0, 0, response);
    queue.push(chain, copyTo(this.#memory, chain.writable, bytes));
  }

  #taskResponse(lun: number | undefined): number {
    if (lun === undefined) return CONTROL_BAD_TARGET;
    return this.#disks.has(lun) ? CONTROL_OK : CONTROL_INCORRECT_LUN;
  }

  #begin(queue: VirtQueue, chain: Chain): void {
    const header = copyFrom(this.#memory, slice(chain.readable, 0, REQUEST_HEADER + CDB_BYTES));
    const response = slice(chain.writable, 0, RESPONSE_BYTES);
    if (header?.length !== REQUEST_HEADER + CDB_BYTES || totalBytes(response) < RESPONSE_BYTES) {
      queue.push(chain, 0);
      return;
    }
    const lun = lunOf(header);
    if (lun === undefined) {
      queue.push(chain, copyTo(this.#memory, response, responseOf(RESPONSE_BAD_TARGET)));
      return;
    }
    const given = slice(chain.readable, REQUEST_HEADER + CDB_BYTES);
    const wanted = slice(chain.writable, RESPONSE_BYTES);
    const disk = this.#disks.get(lun);
    const command = parseScsi(new DataView(header.buffer, REQUEST_HEADER), disk?.sizeBytes ?? 0);
    const request: Request = { lun, disk, command, data: { given, wanted } };
    const end = (result: Outcome): void => {
      const isWrite = command.type === 'write';
      const room = totalBytes(isWrite ? given : wanted);
      const written = copyTo(this.#memory, response, responseOf(RESPONSE_OK, result, room));
      queue.push(chain, written + (isWrite ? 0 : result.movedBytes));
    };
    const refused = this.#refusal(request);
    if (refused !== undefined) end(failed(refused));
    else
      this.#requests.begin({
        unit: lun,
        attempt: () => this.#tryServe(request),
        serve: () => this.#serve(request),
        end,
      });
  }

  /** What the unit says instead of doing the command. */
  #refusal({ lun, disk, command }: Request): r.Sense | undefined {
    if (QUESTIONS.includes(command.type)) return undefined;
    return disk === undefined ? r.LUN_NOT_SUPPORTED : this.#takeAttention(lun);
  }

  #takeAttention(lun: number): r.Sense | undefined {
    const sense = this.#attention.get(lun);
    if (sense !== undefined) this.#attention.delete(lun);
    return sense;
  }

  /** The outcome of what is done without a wait; undefined: nothing has been done. */
  #tryServe({ disk, command, data }: Request): Outcome | undefined {
    if (command.type !== 'read' && command.type !== 'write') return undefined;
    const transfer = this.#transferOf(command, data);
    if (disk === undefined || transfer === undefined || !tryTransfer(disk, transfer))
      return undefined;
    return fine(command.lengthBytes);
  }

  async #serve(request: Request): Promise<Outcome> {
    const { disk, command, data } = request;
    switch (command.type) {
      case 'bad':
        return failed(command.sense);
      case 'report-luns':
        return this.#give(luns([...this.#disks.keys()].sort((a, b) => a - b)), command, data);
      case 'request-sense':
        return this.#give(this.#senseOf(request), command, data);
      case 'inquiry':
        if (command.page === undefined) return this.#give(inquiry(disk), command, data);
        break;
      default:
    }
    if (disk === undefined) return failed(r.LUN_NOT_SUPPORTED);
    return await this.#serveDisk(disk, command, data);
  }

  #senseOf({ lun, disk }: Request): Uint8Array {
    if (disk === undefined) return r.senseData(r.LUN_NOT_SUPPORTED);
    return r.senseData(this.#takeAttention(lun) ?? r.NO_SENSE);
  }

  async #serveDisk(
    disk: BlockBackend,
    command: Exclude<ScsiCommand, { type: 'bad' | 'report-luns' | 'request-sense' }>,
    data: Data,
  ): Promise<Outcome> {
    switch (command.type) {
      case 'ready':
        return fine();
      case 'read':
      case 'write':
        return await this.#transfer(disk, command, data);
      case 'verify':
        return await this.#verify(disk, command, data.given);
      case 'write-same':
        return await this.#writeSame(disk, command, data.given);
      case 'unmap':
        return await this.#unmap(disk, command.listBytes, data.given);
      case 'flush':
        return outcomeOf(await disk.flush(), r.WRITE_ERROR);
      case 'inquiry':
        return this.#give(vitalData(command.page ?? 0, disk), command, data);
      case 'mode-sense':
        return this.#give(modeSense(command.page, command.long, disk), command, data);
      case 'capacity':
        return this.#give(capacity(command.long, disk), command, data);
      case 'log-sense':
        return this.#give(logSense(command.page, command.subpage), command, data);
      case 'opcodes':
        return this.#give(supportedOpcodes(command.question), command, data);
      default:
        return unreachable(command);
    }
  }

  async #transfer(disk: BlockBackend, command: ReadOrWrite, data: Data): Promise<Outcome> {
    if (command.type === 'write' && disk.readOnly) return failed(r.WRITE_PROTECTED);
    const transfer = this.#transferOf(command, data);
    if (transfer === undefined) return failed(r.INVALID_FIELD);
    const status = await runTransfer(disk, transfer);
    if (status === 'ok') return fine(command.lengthBytes);
    return outcomeOf(status, command.type === 'read' ? r.READ_ERROR : r.WRITE_ERROR);
  }

  #transferOf(command: ReadOrWrite, { given, wanted }: Data): DiskTransfer | undefined {
    const { type, offsetBytes, lengthBytes, fua } = command;
    const place = slice(type === 'write' ? given : wanted, 0, lengthBytes);
    const data = Transfer.of(this.#memory, place);
    if (data?.lengthBytes !== lengthBytes) return undefined;
    return { type, offsetBytes, data, isDurable: fua };
  }

  async #verify(
    disk: BlockBackend,
    command: Extract<ScsiCommand, { type: 'verify' }>,
    given: readonly Segment[],
  ): Promise<Outcome> {
    const { generation } = this.#requests;
    const sense = await verify(
      disk,
      command,
      { memory: this.#memory, given },
      () => generation !== this.#requests.generation,
    );
    return sense === undefined ? fine() : failed(sense);
  }

  /** A block, again and again; of zeros, which is what drivers use it for, the host need write none. */
  async #writeSame(
    disk: BlockBackend,
    { offsetBytes, lengthBytes, unmap, ofZeros }: Extract<ScsiCommand, { type: 'write-same' }>,
    given: readonly Segment[],
  ): Promise<Outcome> {
    if (disk.readOnly) return failed(r.WRITE_PROTECTED);
    const block = ofZeros
      ? new Uint8Array(r.BLOCK_BYTES)
      : copyFrom(this.#memory, slice(given, 0, r.BLOCK_BYTES));
    if (block?.length !== r.BLOCK_BYTES) return failed(r.INVALID_FIELD);
    if (block.every((byte) => byte === 0))
      return outcomeOf(await disk.writeZeroes(offsetBytes, lengthBytes, unmap), r.WRITE_ERROR);
    const piece = new Uint8Array(Math.min(lengthBytes, SAME_BYTES));
    for (let at = 0; at < piece.length; at += block.length) piece.set(block, at);
    const status = await changeRanges(
      disk,
      this.#parts({ offsetBytes, lengthBytes }, piece.length),
      (part) => disk.write(part.offsetBytes, [piece.subarray(0, part.lengthBytes)]),
    );
    return outcomeOf(status, r.WRITE_ERROR);
  }

  /** Those that come before a reset. */
  *#parts({ offsetBytes, lengthBytes }: DiskRange, mostBytes: number): Generator<DiskRange> {
    const { generation } = this.#requests;
    for (let at = 0; at < lengthBytes && generation === this.#requests.generation; at += mostBytes)
      yield { offsetBytes: offsetBytes + at, lengthBytes: Math.min(mostBytes, lengthBytes - at) };
  }

  async #unmap(disk: BlockBackend, listBytes: number, given: readonly Segment[]): Promise<Outcome> {
    if (disk.readOnly) return failed(r.WRITE_PROTECTED);
    const list = copyFrom(this.#memory, slice(given, 0, listBytes));
    if (list === undefined) return failed(r.INVALID_FIELD);
    const ranges = parseUnmap(new DataView(list.buffer), disk.sizeBytes);
    if ('key' in ranges) return failed(ranges);
    const status = await changeRanges(disk, ranges, ({ offsetBytes, lengthBytes }) =>
      disk.discard(offsetBytes, lengthBytes),
    );
    return outcomeOf(status, r.WRITE_ERROR);
  }

  /** An answer, as much of it as is asked for; undefined: there is none to that question. */
  #give(
    bytes: Uint8Array | undefined,
    { mostBytes }: { readonly mostBytes: number },
    { wanted }: Data,
  ): Outcome {
    if (bytes === undefined) return failed(r.INVALID_FIELD);
    return fine(copyTo(this.#memory, wanted, bytes.subarray(0, mostBytes)));
  }
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
  response: number,
  { sense, movedBytes }: Outcome = fine(),
  roomBytes = 0,
): Uint8Array {
  const bytes = new Uint8Array(RESPONSE_BYTES);
  const view = new DataView(bytes.buffer);
  bytes[11] = response;
  view.setUint32(4, Math.max(0, roomBytes - movedBytes), true);
  if (sense === undefined) return bytes;
  view.setUint32(0, r.SENSE_BYTES, true);
  bytes[10] = r.STATUS_CHECK_CONDITION;
  bytes.set(r.senseData(sense), 12);
  return bytes;
}
