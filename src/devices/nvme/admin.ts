import type { GuestMemory } from '#hw/guest-memory.ts';
import { copyTo } from '#hw/segments.ts';
import { type Command, prpSegments } from './command.ts';
import {
  identifyController,
  identifyNamespace,
  inactiveNamespace,
  namespaceDescriptors,
  namespaceList,
} from './identify.ts';
import { statusOf } from './io.ts';
import { isNamespaceId, type Namespaces } from './namespaces.ts';
import * as r from './nvme-regs.ts';

// The admin command set. Source: NVM Express 1.4, chapter 5.

export interface AdminReply {
  readonly status: number;
  readonly result: number;
}

interface Place {
  readonly paddr: number;
  readonly entries: number;
}

export interface QueueAccess {
  hasCompletion(id: number): boolean;
  hasSubmission(id: number): boolean;
  /** Whether a submission queue has its answers go there. */
  isUsed(completionId: number): boolean;
  createCompletion(
    id: number,
    place: Place,
    interrupt: { readonly vector: number; readonly enabled: boolean },
  ): void;
  createSubmission(id: number, place: Place, completionId: number): void;
  deleteCompletion(id: number): void;
  deleteSubmission(id: number): void;
}

export interface AdminOptions {
  readonly memory: GuestMemory;
  readonly namespaces: Namespaces;
  readonly vendorId: number;
  readonly mostQueues: number;
  readonly mostEntries: number;
  readonly vectors: number;
  readonly queues: QueueAccess;
  /** Answers a command that had to wait. */
  readonly complete: (command: Command, reply: AdminReply) => void;
}

const MOST_EVENT_REQUESTS = 4;
const LOG_BYTES = 4096;
/** Of Get Log Page: what was told may not be told again. */
const RETAIN_EVENT = 1 << 15;
const ERASE_USER_DATA = 1;
const ROOM_TEMPERATURE_K = 300;
const COMMAND_SUPPORTED = 1;
const SUPPORTED = [
  ...[r.ADMIN_DELETE_SQ, r.ADMIN_CREATE_SQ, r.ADMIN_GET_LOG, r.ADMIN_DELETE_CQ, r.ADMIN_CREATE_CQ],
  ...[r.ADMIN_IDENTIFY, r.ADMIN_ABORT, r.ADMIN_SET_FEATURES, r.ADMIN_GET_FEATURES],
  ...[r.ADMIN_ASYNC_EVENT, r.ADMIN_FORMAT],
];

/** Features that are kept and change nothing, with their first values. */
const KEPT_FEATURES: ReadonlyMap<number, number> = new Map([
  [r.FEATURE_ARBITRATION, 6],
  [r.FEATURE_POWER, 0],
  [r.FEATURE_TEMPERATURE, 343],
  [r.FEATURE_ERROR_RECOVERY, 0],
  [r.FEATURE_WRITE_CACHE, 1],
  [r.FEATURE_COALESCING, 0],
  [r.FEATURE_ATOMICITY, 0],
  [r.FEATURE_ASYNC_EVENTS, 0],
]);

const done = (result = 0): AdminReply => ({ status: r.OK, result });
const failed = (status: number): AdminReply => ({ status, result: 0 });

export class Admin {
  readonly #options: AdminOptions;
  #features = new Map(KEPT_FEATURES);
  #eventRequests: Command[] = [];
  /** Namespaces that are not what they were; and the guest has been told, but has not looked. */
  readonly #changed = new Set<number>();
  #isTold = false;
  #resets = 0;

  constructor(options: AdminOptions) {
    this.#options = options;
  }

  reset(): void {
    this.#resets++;
    this.#features = new Map(KEPT_FEATURES);
    this.#eventRequests = [];
    this.#changed.clear();
    this.#isTold = false;
  }

  namespaceChanged(nsid: number): void {
    this.#changed.add(nsid);
    this.#tellChange();
  }

  /** 5.2: an event is told once, until the guest has read the log page that it names. */
  #tellChange(): void {
    const isWanted = (this.#features.get(r.FEATURE_ASYNC_EVENTS) ?? 0) & r.EVENT_NAMESPACE;
    if (this.#changed.size === 0 || this.#isTold || !isWanted) return;
    const command = this.#eventRequests.shift();
    if (command === undefined) return;
    this.#isTold = true;
    this.#options.complete(command, done(r.NOTICE_NAMESPACE));
  }

  get writeCache(): boolean {
    return ((this.#features.get(r.FEATURE_WRITE_CACHE) ?? 1) & 1) !== 0;
  }

  /** Undefined: the answer comes when there is an event. */
  serve(command: Command, pageBytes: number): AdminReply | Promise<AdminReply> | undefined {
    switch (command.opcode) {
      case r.ADMIN_CREATE_CQ:
        return failed(this.#createCompletion(command, pageBytes));
      case r.ADMIN_CREATE_SQ:
        return failed(this.#createSubmission(command, pageBytes));
      case r.ADMIN_DELETE_CQ:
        return failed(this.#deleteCompletion(command));
      case r.ADMIN_DELETE_SQ:
        return failed(this.#deleteSubmission(command));
      case r.ADMIN_IDENTIFY:
        return failed(this.#identify(command, pageBytes));
      case r.ADMIN_GET_LOG:
        return failed(this.#log(command, pageBytes));
      case r.ADMIN_SET_FEATURES:
        return this.#setFeature(command);
      case r.ADMIN_GET_FEATURES:
        return this.#getFeature(command);
      case r.ADMIN_ABORT:
        return done(1); // not aborted: it will complete (5.1)
      case r.ADMIN_ASYNC_EVENT:
        if (this.#eventRequests.length >= MOST_EVENT_REQUESTS)
          return failed(r.EVENT_LIMIT_EXCEEDED);
        this.#eventRequests.push(command);
        this.#tellChange();
        return undefined;
      case r.ADMIN_FORMAT:
        return this.#format(command).then(failed);
      default:
        return failed(r.INVALID_OPCODE);
    }
  }

  /** What Create commands have in common: number and size of the queue. */
  #queueFields(command: Command, pageBytes: number): { id: number; place: Place } | number {
    const [first = 0, second = 0] = command.cdw;
    const { mostQueues, mostEntries } = this.#options;
    const id = first & 0xffff;
    const entries = (first >>> 16) + 1;
    const IS_CONTIGUOUS = 1;
    if (id === 0 || id > mostQueues) return r.QID_INVALID;
    if (entries < 2 || entries > mostEntries) return r.QUEUE_SIZE_INVALID;
    if ((second & IS_CONTIGUOUS) === 0) return r.INVALID_FIELD;
    if (command.prp1 % pageBytes !== 0) return r.PRP_OFFSET_INVALID;
    return { id, place: { paddr: command.prp1, entries } };
  }

  #createCompletion(command: Command, pageBytes: number): number {
    const fields = this.#queueFields(command, pageBytes);
    if (typeof fields === 'number') return fields;
    const { queues, vectors } = this.#options;
    const flags = command.cdw[1] ?? 0;
    const vector = flags >>> 16;
    if (queues.hasCompletion(fields.id)) return r.QID_INVALID;
    if (vector >= vectors) return r.VECTOR_INVALID;
    queues.createCompletion(fields.id, fields.place, { vector, enabled: (flags & 2) !== 0 });
    return r.OK;
  }

  #createSubmission(command: Command, pageBytes: number): number {
    const fields = this.#queueFields(command, pageBytes);
    if (typeof fields === 'number') return fields;
    const { queues } = this.#options;
    const completionId = (command.cdw[1] ?? 0) >>> 16;
    if (queues.hasSubmission(fields.id)) return r.QID_INVALID;
    if (completionId === 0 || !queues.hasCompletion(completionId)) return r.CQ_INVALID;
    queues.createSubmission(fields.id, fields.place, completionId);
    return r.OK;
  }

  #deleteCompletion(command: Command): number {
    const { queues } = this.#options;
    const id = (command.cdw[0] ?? 0) & 0xffff;
    if (id === 0 || !queues.hasCompletion(id)) return r.QID_INVALID;
    if (queues.isUsed(id)) return r.QUEUE_DELETION_INVALID;
    queues.deleteCompletion(id);
    return r.OK;
  }

  #deleteSubmission(command: Command): number {
    const { queues } = this.#options;
    const id = (command.cdw[0] ?? 0) & 0xffff;
    if (id === 0 || !queues.hasSubmission(id)) return r.QID_INVALID;
    queues.deleteSubmission(id);
    return r.OK;
  }

  #identify(command: Command, pageBytes: number): number {
    const data = this.#identifyData(command);
    return typeof data === 'number' ? data : this.#give(command, data, pageBytes);
  }

  #identifyData(command: Command): Uint8Array | number {
    const { namespaces, vendorId } = this.#options;
    const { nsid } = command;
    const disk = namespaces.get(nsid);
    switch ((command.cdw[0] ?? 0) & 0xff) {
      case 0:
        if (disk !== undefined) return identifyNamespace(disk);
        return isNamespaceId(nsid) ? inactiveNamespace() : r.INVALID_NAMESPACE;
      case 1:
        return identifyController(namespaces.serial, vendorId);
      case 2:
        if (nsid >= r.ALL_NAMESPACES - 1) return r.INVALID_NAMESPACE;
        return namespaceList(namespaces.above(nsid));
      case 3:
        return disk === undefined ? r.INVALID_NAMESPACE : namespaceDescriptors(nsid, disk);
      default:
        return r.INVALID_FIELD;
    }
  }

  #give(command: Command, data: Uint8Array, pageBytes: number): number {
    const { memory } = this.#options;
    const segments = prpSegments(memory, command, data.length, pageBytes);
    if (typeof segments === 'number') return segments;
    return copyTo(memory, segments, data) === data.length ? r.OK : r.DATA_TRANSFER_ERROR;
  }

  /** 5.23. There is one format, so that what is left of the command is that it erases. */
  async #format({ nsid, cdw: [settings = 0] }: Command): Promise<number> {
    const { namespaces } = this.#options;
    const one = namespaces.get(nsid);
    const disks = nsid === r.ALL_NAMESPACES ? namespaces.all : one === undefined ? [] : [one];
    if (disks.length === 0) return r.INVALID_NAMESPACE;
    const [format, protection, erase] = [
      settings & 0xf,
      (settings >>> 5) & 7,
      (settings >>> 9) & 7,
    ];
    if (format !== 0 || protection !== 0) return r.FORMAT_INVALID;
    if (erase > ERASE_USER_DATA) return r.INVALID_FIELD;
    if (disks.some(({ readOnly }) => readOnly)) return r.READ_ONLY_RANGE;
    const resets = this.#resets;
    for (const disk of disks) {
      if (resets !== this.#resets) break; // nobody waits for it any more
      const status = await disk.writeZeroes(0, disk.sizeBytes, true);
      if (status !== 'ok') return statusOf(status, r.WRITE_FAULT);
    }
    return r.OK;
  }

  /** Log pages (5.14.1): errors, health, firmware slots, changed namespaces, commands supported. */
  #log(command: Command, pageBytes: number): number {
    const [first = 0, second = 0, offset = 0] = command.cdw;
    const lengthBytes = ((((second & 0xffff) << 16) | (first >>> 16)) >>> 0) * 4 + 4;
    const page = new Uint8Array(LOG_BYTES);
    const view = new DataView(page.buffer);
    switch (first & 0xff) {
      case 1:
        break;
      case 2:
        view.setUint16(1, ROOM_TEMPERATURE_K, true);
        page[3] = 100; // per cent of spare capacity
        page[4] = 10; // and when to warn
        break;
      case 3:
        page[0] = 1;
        break;
      case r.LOG_CHANGED_NAMESPACES:
        page.set(namespaceList([...this.#changed].sort((a, b) => a - b)));
        break;
      case 5:
        for (const opcode of SUPPORTED) view.setUint32(opcode * 4, COMMAND_SUPPORTED, true);
        for (const opcode of [r.IO_FLUSH, r.IO_WRITE, r.IO_READ, r.IO_WRITE_ZEROES, r.IO_DSM])
          view.setUint32(1024 + opcode * 4, COMMAND_SUPPORTED, true);
        break;
      default:
        return r.LOG_INVALID;
    }
    if (offset % 4 !== 0 || offset + lengthBytes > LOG_BYTES) return r.INVALID_FIELD;
    if ((first & 0xff) === r.LOG_CHANGED_NAMESPACES && (first & RETAIN_EVENT) === 0) {
      this.#changed.clear();
      this.#isTold = false;
    }
    return this.#give(command, page.subarray(offset, offset + lengthBytes), pageBytes);
  }

  #setFeature(command: Command): AdminReply {
    const [first = 0, value = 0] = command.cdw;
    const id = first & 0xff;
    if (id === r.FEATURE_QUEUES) return this.#queueCount(value);
    if (id === r.FEATURE_VECTOR) return done();
    if (!this.#features.has(id)) return failed(r.INVALID_FIELD);
    this.#features.set(id, value);
    return done();
  }

  /** 0's based, at most as many as asked for. */
  #queueCount(value: number): AdminReply {
    const most = this.#options.mostQueues - 1;
    const submission = Math.min(value & 0xffff, most);
    const completion = Math.min(value >>> 16, most);
    return done((completion << 16) | submission);
  }

  #getFeature(command: Command): AdminReply {
    const [first = 0, value = 0] = command.cdw;
    const id = first & 0xff;
    const most = this.#options.mostQueues - 1;
    if (id === r.FEATURE_QUEUES) return done((most << 16) | most);
    if (id === r.FEATURE_VECTOR) return done(value & 0xffff);
    const kept = this.#features.get(id);
    return kept === undefined ? failed(r.INVALID_FIELD) : done(kept);
  }
}
