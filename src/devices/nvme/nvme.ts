import type { BlockBackend, DiskBays } from '#hw/block.ts';
import { DiskRequests } from '#hw/disk-requests.ts';
import { paddrOf } from '#hw/guest-memory.ts';
import { MSIX_BAR_BYTES, msixCapability } from '../pci/msix.ts';
import type { PciCard, PciCardPlan, PciCardWires } from '../pci/pci-card.ts';
import { Admin, type AdminReply, type QueueAccess } from './admin.ts';
import { type Command, parseCommand } from './command.ts';
import { flushAll, serveIo, tryIo } from './io.ts';
import { Namespaces } from './namespaces.ts';
import * as r from './nvme-regs.ts';
import { CompletionQueue, SubmissionQueue } from './queues.ts';

// An NVMe controller.

const REGISTER_BAR = 0;
const MSIX = { bar: 4, vectors: 33 };
/** I/O queues of each kind, with one vector each and one more for the admin queues. */
const MOST_QUEUES = MSIX.vectors - 1;
const MOST_ENTRIES = 1024;
const TIMEOUT_500MS = 20;
/** Nobody's: drivers go by the class. The identifiers of other virtual controllers make them work round those. */
const VENDOR = { vendorId: 0x1234, deviceId: 0x4e56 };
const PAGE_SHIFT = 12;
const MOST_PAGE_SHIFT = 4;
const ALL_ONES = 0xffff_ffff;

export class Nvme implements PciCard, DiskBays {
  readonly plan: PciCardPlan = {
    name: 'nvme',
    msix: MSIX,
    description: {
      ...VENDOR,
      revision: 2,
      classCode: 0x01_08_02,
      subsystemVendorId: VENDOR.vendorId,
      subsystemId: 1,
      interruptPin: 1,
      bars: new Map([
        [REGISTER_BAR, { kind: 'mem64', sizeBytes: 0x4000 }],
        [MSIX.bar, { kind: 'mem32', sizeBytes: MSIX_BAR_BYTES }],
      ]),
      capabilities: [msixCapability(MSIX)],
    },
  };
  readonly #wires: PciCardWires;
  readonly #namespaces: Namespaces;
  readonly #admin: Admin;
  readonly #submission = new Map<number, SubmissionQueue>();
  readonly #completion = new Map<number, CompletionQueue>();
  readonly #requests = new DiskRequests();
  #config = 0;
  #status = 0;
  #masked = 0;
  #adminSizes = 0;
  #asq = [0, 0];
  #acq = [0, 0];

  /** `disks`: by namespace identifiers; the first one's serial number is the controller's too. */
  constructor(wires: PciCardWires, disks: ReadonlyMap<number, BlockBackend>) {
    this.#wires = wires;
    this.#namespaces = new Namespaces(disks, (nsid) => this.#admin.namespaceChanged(nsid));
    this.#admin = new Admin({
      memory: wires.memory,
      namespaces: this.#namespaces,
      vendorId: VENDOR.vendorId,
      mostQueues: MOST_QUEUES,
      mostEntries: MOST_ENTRIES,
      vectors: MSIX.vectors,
      queues: this.#queueAccess(),
      complete: (command, reply) => {
        const queue = this.#submission.get(0);
        if (queue !== undefined) this.#complete(0, queue, command, reply);
      },
    });
  }

  reset(): void {
    this.#disable();
    this.#config = 0;
    this.#adminSizes = 0;
    this.#asq = [0, 0];
    this.#acq = [0, 0];
  }

  async idle(): Promise<void> {
    await this.#requests.idle();
  }

  attach(nsid: number, disk: BlockBackend): void {
    this.#namespaces.attach(nsid, disk);
  }

  async detach(nsid: number): Promise<void> {
    this.#namespaces.detach(nsid);
    await this.#requests.idle([nsid, r.ALL_NAMESPACES]);
  }

  // ---- Registers.

  readBar(bar: number, offset: number, size: number): number {
    if (bar !== REGISTER_BAR || offset >= r.DOORBELLS) return 0;
    const word = this.#register(offset & ~3);
    return Math.floor(word / 2 ** (8 * (offset & 3))) % 2 ** (8 * size);
  }

  #register(offset: number): number {
    switch (offset) {
      case r.CAP:
        return ((MOST_ENTRIES - 1) | r.CAP_CQR | (TIMEOUT_500MS << r.CAP_TO_SHIFT)) >>> 0;
      case r.CAP + 4:
        return r.CAP_HIGH_NVM | (MOST_PAGE_SHIFT << 20);
      case r.VS:
        return r.VERSION_1_4;
      case r.INTMS:
      case r.INTMC:
        return this.#masked;
      case r.CC:
        return this.#config;
      case r.CSTS:
        // Not ready (7.6.1) means that the guest's memory is touched no more.
        return this.#requests.isIdle ? this.#status : this.#status | r.CSTS_RDY;
      case r.AQA:
        return this.#adminSizes;
      default:
        return this.#address(offset);
    }
  }

  #address(offset: number): number {
    const [pair, index] = [offset < r.ACQ ? this.#asq : this.#acq, (offset >> 2) & 1];
    return offset >= r.ASQ && offset < r.ACQ + 8 ? (pair[index] ?? 0) : 0;
  }

  writeBar(bar: number, offset: number, size: number, value: number): void {
    if (bar !== REGISTER_BAR || size !== 4 || offset % 4 !== 0) return;
    if (offset >= r.DOORBELLS) this.#doorbell((offset - r.DOORBELLS) >> 2, value);
    else this.#write(offset, value);
  }

  #write(offset: number, value: number): void {
    switch (offset) {
      case r.INTMS:
        this.#masked = (this.#masked | value) >>> 0;
        this.#pin();
        return;
      case r.INTMC:
        this.#masked = (this.#masked & ~value) >>> 0;
        this.#pin();
        return;
      case r.CC:
        this.#configure(value);
        return;
      case r.AQA:
        this.#adminSizes = value & 0x0fff_0fff;
        return;
      default:
        if (offset >= r.ASQ && offset < r.ASQ + 8) this.#asq[(offset >> 2) & 1] = value;
        else if (offset >= r.ACQ && offset < r.ACQ + 8) this.#acq[(offset >> 2) & 1] = value;
    }
  }

  #configure(value: number): void {
    const was = this.#config;
    this.#config = value;
    const enabled = (value & r.CC_EN) !== 0;
    if (enabled && !(was & r.CC_EN)) this.#enable();
    else if (!enabled && was & r.CC_EN) this.#disable();
    if ((value >>> r.CC_SHN_SHIFT) & 3) void this.#shutDown();
    else this.#status &= ~r.CSTS_SHST_DONE;
  }

  get #pageBytes(): number {
    return 1 << (PAGE_SHIFT + ((this.#config >>> r.CC_MPS_SHIFT) & 0xf));
  }

  #enable(): void {
    const entries = (shift: number) => ((this.#adminSizes >>> shift) & 0xfff) + 1;
    const place = ([low = 0, high = 0]: readonly number[], count: number) => ({
      paddr: paddrOf(low & ~0xfff, high),
      entries: count,
    });
    const sizes = (this.#config >>> r.CC_IOSQES_SHIFT) & 0xff;
    const wrong =
      ((this.#config >>> r.CC_MPS_SHIFT) & 0xf) > MOST_PAGE_SHIFT ||
      (sizes !== 0 && sizes !== 0x46) ||
      entries(0) < 2 ||
      entries(16) < 2;
    if (wrong) {
      this.#status |= r.CSTS_CFS;
      return;
    }
    const { memory } = this.#wires;
    this.#completion.set(
      0,
      new CompletionQueue(memory, place(this.#acq, entries(16)), { vector: 0, enabled: true }),
    );
    const submission = new SubmissionQueue(memory, place(this.#asq, entries(0)), 0, () =>
      this.#hasRoom(0),
    );
    this.#submission.set(0, submission);
    this.#status |= r.CSTS_RDY;
  }

  #disable(): void {
    this.#requests.reset();
    this.#submission.clear();
    this.#completion.clear();
    this.#admin.reset();
    this.#status = 0;
    this.#masked = 0;
    this.#pin();
  }

  async #shutDown(): Promise<void> {
    const { generation } = this.#requests;
    await this.idle();
    await flushAll(this.#namespaces.all);
    if (generation === this.#requests.generation) this.#status |= r.CSTS_SHST_DONE;
  }

  // ---- Queues.

  #queueAccess(): QueueAccess {
    const { memory } = this.#wires;
    return {
      hasCompletion: (id) => this.#completion.has(id),
      hasSubmission: (id) => this.#submission.has(id),
      isUsed: (id) => [...this.#submission.values()].some((queue) => queue.cqId === id),
      createCompletion: (id, place, interrupt) =>
        void this.#completion.set(id, new CompletionQueue(memory, place, interrupt)),
      createSubmission: (id, place, cqId) =>
        void this.#submission.set(
          id,
          new SubmissionQueue(memory, place, cqId, () => this.#hasRoom(cqId)),
        ),
      deleteCompletion: (id) => void this.#completion.delete(id),
      deleteSubmission: (id) => void this.#submission.delete(id),
    };
  }

  #hasRoom(cqId: number): boolean {
    return this.#completion.get(cqId)?.isFull !== true;
  }

  #goOn(id: number, queue: SubmissionQueue): void {
    if (queue.isHeldBack) this.#drain(id, queue);
  }

  #doorbell(index: number, value: number): void {
    const id = index >> 1;
    if (index & 1) {
      const queue = this.#completion.get(id);
      if (queue?.setHead(value & 0xffff)) this.#interrupt(queue);
      this.#pin();
      for (const [sqId, submission] of this.#submission)
        if (submission.cqId === id) this.#goOn(sqId, submission);
      return;
    }
    const queue = this.#submission.get(id);
    this.#requests.notified();
    if (queue?.setTail(value & 0xffff)) this.#drain(id, queue);
  }

  #drain(id: number, queue: SubmissionQueue): void {
    for (let entry = queue.take(); entry !== undefined; entry = queue.take()) {
      const command = parseCommand(entry);
      if (id === 0) this.#serveAdmin(queue, command);
      else this.#serveIo(id, queue, command);
    }
  }

  #serveAdmin(queue: SubmissionQueue, command: Command): void {
    const reply = this.#admin.serve(command, this.#pageBytes);
    if (reply instanceof Promise)
      this.#requests.track(command.nsid, reply, (late) => this.#end(0, queue, command, late));
    else if (reply !== undefined) this.#complete(0, queue, command, reply);
  }

  #serveIo(id: number, queue: SubmissionQueue, command: Command): void {
    const context = {
      memory: this.#wires.memory,
      namespaces: this.#namespaces,
      pageBytes: this.#pageBytes,
      writeCache: this.#admin.writeCache,
    };
    this.#requests.begin({
      unit: command.nsid,
      attempt: () => tryIo(command, context),
      serve: () => serveIo(command, context),
      end: (status) => this.#end(id, queue, command, { status, result: 0 }),
    });
  }

  /** The answer goes to the queue that is there now, or to nobody. */
  #end(id: number, queue: SubmissionQueue, command: Command, reply: AdminReply): void {
    if (this.#submission.get(id) === queue) this.#complete(id, queue, command, reply);
  }

  #complete(sqId: number, queue: SubmissionQueue, command: Command, reply: AdminReply): void {
    queue.answered();
    const to = this.#completion.get(queue.cqId);
    if (to === undefined) return;
    to.post({ sqId, sqHead: queue.head, commandId: command.id, ...reply });
    this.#interrupt(to);
    this.#goOn(sqId, queue);
  }

  #interrupt(queue: CompletionQueue): void {
    if (!queue.interrupts) return;
    if (this.#wires.interrupts.isMsixEnabled) this.#wires.interrupts.msix(queue.vector);
    else this.#pin();
  }

  /** INTx#: asserted while an unread answer's vector is not masked. */
  #pin(): void {
    let asserted = false;
    if (!this.#wires.interrupts.isMsixEnabled && this.#masked !== ALL_ONES)
      for (const queue of this.#completion.values())
        asserted ||= queue.interrupts && queue.hasUnread && (this.#masked & 1) === 0;
    this.#wires.interrupts.setIntx(asserted);
  }
}
