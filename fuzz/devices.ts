// A target for each disk device: drivers that ask for what none should, while requests are under way.
import { Nvme } from '#devices/nvme/nvme.ts';
import * as n from '#devices/nvme/nvme-regs.ts';
import { VirtioBlk } from '#devices/virtio/blk/blk.ts';
import { F_EVENT_INDEX, F_INDIRECT, F_PACKED, F_VERSION_1 } from '#devices/virtio/queue.ts';
import { VirtioScsi } from '#devices/virtio/scsi/scsi.ts';
import { PackedDriver, type RingDriver, SplitDriver } from '#devices/virtio/testing.ts';
import { VirtioMmio } from '#devices/virtio/transport/mmio.ts';
import * as m from '#devices/virtio/transport/mmio-regs.ts';
import { VirtioPci } from '#devices/virtio/transport/pci.ts';
import * as p from '#devices/virtio/transport/pci-regs.ts';
import type { BlockStatus, DiskBays } from '#hw/block.ts';
import { randomNumbers, TestDisk, TestInterrupts, TestMemory } from '#hw/testing.ts';
import { totalLength } from '#storage/pieces.ts';
import type { Target } from './images.ts';

type Random = (limit: number) => number;

const RAM_BYTES = 1 << 20;
const DISK_BYTES = 1 << 20;
const STEPS = 150;
/** More than any device may have asked for at once: four queues of 1024. */
const MOST_UNDER_WAY = 4096;

/** A disk that answers when told to, in any order, and fails when it is asked for what it has not. */
class SlowDisk extends TestDisk {
  readonly #random: Random;
  #waiting: (() => void)[] = [];
  requests = 0;
  /** What a device did that it must not. */
  fault: string | undefined;

  constructor(random: Random) {
    super(DISK_BYTES);
    this.#random = random;
    this.readOnly = random(8) === 0;
  }

  async #later(now: () => Promise<BlockStatus>): Promise<BlockStatus> {
    this.requests++;
    if (this.#waiting.length > MOST_UNDER_WAY) this.fault ??= 'a device asks without end';
    if (this.#random(2) > 0)
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    // Of another size by now: a backend says that it has failed.
    return await now().catch(() => 'io-error' as const);
  }

  #change(now: () => Promise<BlockStatus>): Promise<BlockStatus> {
    if (this.readOnly) this.fault ??= 'a device writes to a disk that may only be read';
    return this.#later(now);
  }

  override read(offsetBytes: number, into: readonly Uint8Array[]): Promise<BlockStatus> {
    this.#check(offsetBytes, totalLength(into));
    return this.#later(async () => await super.read(offsetBytes, into));
  }

  override write(offsetBytes: number, from: readonly Uint8Array[]): Promise<BlockStatus> {
    this.#check(offsetBytes, totalLength(from));
    return this.#change(async () => await super.write(offsetBytes, from));
  }

  override writeZeroes(at: number, lengthBytes: number, unmap: boolean): Promise<BlockStatus> {
    this.#check(at, lengthBytes);
    return this.#change(async () => await super.writeZeroes(at, lengthBytes, unmap));
  }

  override discard(offsetBytes: number, lengthBytes: number): Promise<BlockStatus> {
    this.#check(offsetBytes, lengthBytes);
    return this.#change(async () => await super.discard(offsetBytes, lengthBytes));
  }

  override flush(): Promise<BlockStatus> {
    return this.#later(async () => await super.flush());
  }

  #check(offsetBytes: number, lengthBytes: number): void {
    const isWhole = offsetBytes % 512 === 0 && lengthBytes % 512 === 0;
    if (!isWhole || offsetBytes < 0 || offsetBytes + lengthBytes > this.sizeBytes)
      this.fault ??= `a device asks for ${lengthBytes} bytes at ${offsetBytes}`;
  }

  /** Answers some of what waits. */
  async settle(all: boolean): Promise<void> {
    do {
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const resolve of waiting)
        if (all || this.#random(2) > 0) resolve();
        else this.#waiting.push(resolve);
      await new Promise((resolve) => setImmediate(resolve));
    } while (all && this.#waiting.length > 0);
  }
}

/** What a round does with a device. */
interface Rig {
  readonly disks: readonly SlowDisk[];
  step(): void;
  reset(): void;
  idle(): Promise<void>;
}

/** Resolves with the number of requests that reached the disks. */
async function round(makeRig: (random: Random) => Rig, seed: number): Promise<number> {
  const random = randomNumbers(seed);
  const rig = makeRig(random);
  for (let step = 0; step < STEPS; step++) {
    rig.step();
    for (const disk of rig.disks) {
      if (random(8) === 0) await disk.settle(false);
      if (disk.fault !== undefined) throw new Error(disk.fault);
      if (random(200) === 0) disk.resize(512 * (1 + random(4096)));
    }
  }
  rig.reset();
  await Promise.all(rig.disks.map((disk) => disk.settle(true)));
  await rig.idle();
  return rig.disks.reduce((sum, { requests }) => sum + requests, 0);
}

/** A disk that comes and goes at each call. */
function comingAndGoing(bays: DiskBays, unit: number, disk: SlowDisk): () => void {
  let isThere = false;
  return () => {
    if (isThere) void bays.detach(unit);
    else bays.attach(unit, disk);
    isThere = !isThere;
  };
}

/** `opened` counts requests that reached the disk, `refused` rounds in which none did. */
function target(name: string, makeRig: (random: Random) => Rig): Target {
  return {
    name,
    run: async (seed, rounds) => {
      let opened = 0;
      let refused = 0;
      for (let i = 0; i < rounds; i++) {
        const requests = await round(makeRig, 1 + seed * rounds + i);
        opened += requests;
        if (requests === 0) refused++;
      }
      return { opened, refused };
    },
  };
}

/** Mostly small or round, now and then anything. */
function odd(random: Random): number {
  const kind = random(8);
  if (kind < 4) return random(16);
  if (kind < 6) return random(256) * 0x1000;
  return kind === 6 ? 2 ** random(32) - random(2) : random(2 ** 32);
}

const REQUEST = 0x8_0000;
const ANSWER = 0x8_1000;
const LEGACY_RINGS = 0x1_0000;
const DATA = 0x9_0000;

function scribble(memory: TestMemory, from: number, to: number, random: Random): void {
  for (let count = random(6); count > 0; count--)
    memory.ram[from + random(to - from)] = random(3) > 0 ? random(8) : random(256);
}

function blkRequest({ view }: TestMemory, random: Random): void {
  view.setUint32(REQUEST, [0, 1, 4, 8, 11, 13, 2][random(7)] ?? 0, true);
  view.setUint32(REQUEST + 8, random(4) > 0 ? random(2048) : odd(random), true);
  view.setUint32(REQUEST + 12, random(30) > 0 ? 0 : odd(random), true);
  for (let range = 0; range < 3; range++) {
    view.setUint32(DATA + range * 16, random(4) > 0 ? random(2048) : odd(random), true);
    view.setUint32(DATA + range * 16 + 8, random(4) > 0 ? random(64) : odd(random), true);
    view.setUint32(DATA + range * 16 + 12, random(4) > 0 ? 0 : random(4), true);
  }
}

const OPCODES = [
  ...[
    0x00, 0x03, 0x08, 0x0a, 0x12, 0x1a, 0x1b, 0x25, 0x28, 0x2a, 0x2f, 0x35, 0x41, 0x42, 0x4d, 0x5a,
  ],
  ...[0x88, 0x8a, 0x8f, 0x91, 0x93, 0x9e, 0xa0, 0xa3, 0xa8, 0xaa, 0xaf, 0xff],
];

function scsiRequest({ ram }: TestMemory, random: Random): void {
  ram.fill(0, REQUEST, REQUEST + 51);
  ram.set([1, random(20) > 0 ? 0 : 1, 0x40, random(3) > 0 ? 0 : random(5)], REQUEST);
  for (let i = 0; i < 16; i++) ram[REQUEST + 19 + i] = random(3) > 0 ? 0 : random(256);
  ram[REQUEST + 19] = OPCODES[random(OPCODES.length)] ?? 0;
  for (let i = 0; i < 40; i++) ram[DATA + i] = random(4) > 0 ? random(2) : random(256);
}

interface VirtioKind {
  readonly make: (memory: TestMemory, disk: SlowDisk) => VirtioBlk | VirtioScsi;
  readonly queue: number;
  readonly requestBytes: number;
  readonly answerBytes: number;
  readonly fill: (memory: TestMemory, random: Random) => void;
}

const BLK: VirtioKind = {
  make: (memory, disk) => new VirtioBlk({ memory }, disk, 2),
  queue: 0,
  requestBytes: 16,
  answerBytes: 1,
  fill: blkRequest,
};

const SCSI: VirtioKind = {
  make: (memory, disk) => new VirtioScsi({ memory }, new Map([[0, disk]]), 1),
  queue: 2,
  requestBytes: 51,
  answerBytes: 108,
  fill: scsiRequest,
};

/** Either transport, of either age, with the same registers in other places. */
interface Transport {
  readonly legacy: boolean;
  start(features: bigint, driver: RingDriver, queue: number): void;
  notify(queue: number): void;
  anything(): void;
  reset(): void;
  idle(): Promise<void>;
}

function virtioRig(kind: VirtioKind, random: Random): Rig {
  const memory = new TestMemory(RAM_BYTES);
  const disk = new SlowDisk(random);
  const second = new SlowDisk(random);
  const device = kind.make(memory, disk);
  const plug = 'attach' in device ? comingAndGoing(device, 3, second) : () => {};
  const makeTransport = [pciOf, legacyPciOf, mmioOf, legacyMmioOf][random(4)] ?? pciOf;
  const transport = makeTransport(memory, device, random);
  let driver: RingDriver = new SplitDriver(memory, 64);
  const start = (): void => {
    const packed = !transport.legacy && random(2) > 0;
    memory.ram.fill(0, 0x1_0000, 0x4_0000);
    if (transport.legacy) driver = legacyDriver(memory, device.queueSizes[kind.queue] ?? 0);
    else driver = packed ? new PackedDriver(memory, 64) : new SplitDriver(memory, 64);
    let features = F_VERSION_1 | device.features | (packed ? F_PACKED : 0n);
    if (random(2) > 0) features |= F_INDIRECT;
    if (random(2) > 0) features |= F_EVENT_INDEX;
    transport.start(features, driver, kind.queue);
  };
  start();
  const request = (): void => {
    kind.fill(memory, random);
    const part =
      random(3) > 0 ? [{ paddr: DATA, lengthBytes: 512 * random(9) + random(2) * 16 }] : [];
    const given = random(2) > 0;
    const readable = [{ paddr: REQUEST, lengthBytes: kind.requestBytes }, ...(given ? part : [])];
    const answer = { paddr: ANSWER, lengthBytes: kind.answerBytes };
    const wanted = given ? [] : part;
    const writable = kind === BLK ? [...wanted, answer] : [answer, ...wanted];
    driver.add({ readable, writable }, random(2) > 0);
    if (random(4) === 0) scribble(memory, 0x1_0000, 0x1_0400, random);
    const { driverPaddr } = driver.place;
    if (random(12) === 0) scribble(memory, driverPaddr, driverPaddr + 0x100, random);
    transport.notify(random(20) > 0 ? kind.queue : random(4));
  };
  return {
    disks: [disk, second],
    step: () => {
      const what = random(40);
      if (what === 0) start();
      else if (what === 1) transport.anything();
      else if (what === 2) plug();
      else request();
    },
    reset: () => transport.reset(),
    idle: () => transport.idle(),
  };
}

/** Its parts lie behind one another (2.7.2); the size is the device's. */
function legacyDriver(memory: TestMemory, size: number): SplitDriver {
  const driverPaddr = LEGACY_RINGS + 16 * size;
  const devicePaddr = Math.ceil((driverPaddr + 6 + 2 * size) / 4096) * 4096;
  return new SplitDriver(memory, size, { driverPaddr, devicePaddr });
}

function legacyPciOf(
  memory: TestMemory,
  device: VirtioBlk | VirtioScsi,
  random: Random,
): Transport {
  const card = new VirtioPci(
    { memory, interrupts: new TestInterrupts() },
    { device, name: 'fuzz' },
  );
  const write = (offset: number, size: number, value: number) =>
    card.writeBar(0, offset, size, value);
  return {
    legacy: true,
    start: (features, _driver, queue) => {
      write(p.LEGACY_STATUS, 1, 0);
      write(p.LEGACY_STATUS, 1, 3);
      write(p.LEGACY_DRIVER_FEATURES, 4, Number(BigInt.asUintN(32, features)));
      write(p.LEGACY_QUEUE_SELECT, 2, queue);
      write(p.LEGACY_QUEUE_PAGE, 4, LEGACY_RINGS / 4096);
      write(p.LEGACY_STATUS, 1, 7);
    },
    notify: (queue) => write(p.LEGACY_NOTIFY, 2, queue),
    anything: () => {
      const offset = random(p.LEGACY_BAR_BYTES);
      if (random(2) > 0) card.readBar(0, offset, 1 << random(3));
      else write(offset, 1 << random(3), odd(random));
    },
    reset: () => card.reset(),
    idle: () => card.idle(),
  };
}

function pciOf(memory: TestMemory, device: VirtioBlk | VirtioScsi, random: Random): Transport {
  const interrupts = new TestInterrupts();
  const card = new VirtioPci({ memory, interrupts }, { device, name: 'fuzz' });
  const write = (offset: number, size: number, value: number) =>
    card.writeBar(4, offset, size, value);
  return {
    legacy: false,
    start: (features, driver, queue) => {
      write(0x14, 1, 0);
      write(0x14, 1, 3);
      for (const half of [0, 1]) {
        write(8, 4, half);
        write(12, 4, Number(BigInt.asUintN(32, features >> BigInt(32 * half))));
      }
      write(0x14, 1, 11);
      write(0x16, 2, queue);
      write(0x18, 2, driver.place.size);
      const { descPaddr, driverPaddr, devicePaddr } = driver.place;
      for (const [i, paddr] of [descPaddr, driverPaddr, devicePaddr].entries())
        write(0x20 + i * 8, 4, paddr);
      write(0x1c, 2, 1);
      write(0x14, 1, 15);
    },
    notify: (queue) => write(0x3000 + 4 * queue, 2, queue),
    anything: () => {
      const bar = [0, 4][random(2)] ?? 0;
      const offset = random(2) > 0 ? random(0x40) : random(0x4000);
      if (random(2) > 0) card.readBar(bar, offset, 1 << random(3));
      else card.writeBar(bar, offset, 1 << random(3), odd(random));
    },
    reset: () => card.reset(),
    idle: () => card.idle(),
  };
}

function mmioOf(memory: TestMemory, device: VirtioBlk | VirtioScsi, random: Random): Transport {
  return anyMmioOf(memory, device, random, false);
}

function legacyMmioOf(
  memory: TestMemory,
  device: VirtioBlk | VirtioScsi,
  random: Random,
): Transport {
  return anyMmioOf(memory, device, random, true);
}

function anyMmioOf(
  memory: TestMemory,
  device: VirtioBlk | VirtioScsi,
  random: Random,
  legacy: boolean,
): Transport {
  const wires = { memory, interrupts: new TestInterrupts() };
  const card = new VirtioMmio(wires, { device, name: 'fuzz', legacy });
  const write = (offset: number, value: number) => card.writeBar(0, offset, 4, value);
  return {
    legacy,
    start: (features, driver, queue) => {
      write(m.STATUS, 0);
      write(m.STATUS, 3);
      for (const half of legacy ? [0] : [0, 1]) {
        write(m.DRIVER_FEATURES_SELECT, half);
        write(m.DRIVER_FEATURES, Number(BigInt.asUintN(32, features >> BigInt(32 * half))));
      }
      if (!legacy) write(m.STATUS, 11);
      write(m.QUEUE_SELECT, queue);
      write(m.QUEUE_SIZE, driver.place.size);
      if (legacy) {
        write(m.LEGACY_PAGE_SIZE, 4096);
        write(m.LEGACY_QUEUE_ALIGN, 4096);
        write(m.LEGACY_QUEUE_PAGE, LEGACY_RINGS / 4096);
        write(m.STATUS, 7);
        return;
      }
      write(m.QUEUE_DESC, driver.place.descPaddr);
      write(m.QUEUE_DRIVER, driver.place.driverPaddr);
      write(m.QUEUE_DEVICE, driver.place.devicePaddr);
      write(m.QUEUE_READY, 1);
      write(m.STATUS, 15);
    },
    notify: (queue) => write(m.QUEUE_NOTIFY, queue),
    anything: () => {
      const offset = random(m.MMIO_BYTES);
      if (random(2) > 0) card.readBar(0, offset, 1 << random(3));
      else card.writeBar(0, offset & ~3, 4, odd(random));
    },
    reset: () => card.reset(),
    idle: () => card.idle(),
  };
}

const QUEUE_ENTRIES = 16;
const ADMIN_OPCODES = [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 0x7f, 0x80];
const IO_OPCODES = [0, 1, 2, 8, 9, 0x7f];

function nvmeRig(random: Random): Rig {
  const memory = new TestMemory(RAM_BYTES);
  const disk = new SlowDisk(random);
  const second = new SlowDisk(random);
  const wires = { memory, interrupts: new TestInterrupts() };
  const nvme = new Nvme(wires, new Map([[1, disk]]));
  const plug = comingAndGoing(nvme, 7, second);
  const write = (offset: number, value: number) => nvme.writeBar(0, offset, 4, value);
  const queueAt = (id: number, completion: boolean) =>
    0x1_0000 * (1 + id) + (completion ? 0x8000 : 0);
  const tails = new Map<number, number>();
  const submit = (id: number, fill: (at: number) => void): void => {
    const tail = tails.get(id) ?? 0;
    const at = queueAt(id, false) + tail * n.SQE_BYTES;
    memory.ram.fill(0, at, at + n.SQE_BYTES);
    fill(at);
    tails.set(id, (tail + 1) % QUEUE_ENTRIES);
    write(n.DOORBELLS + id * 8, random(40) > 0 ? (tails.get(id) ?? 0) : random(64));
    if (random(3) > 0) write(n.DOORBELLS + id * 8 + 4, random(QUEUE_ENTRIES));
  };
  const start = (): void => {
    write(n.CC, 0);
    tails.clear();
    write(n.AQA, ((QUEUE_ENTRIES - 1) << 16) | (QUEUE_ENTRIES - 1));
    write(n.ASQ, queueAt(0, false));
    write(n.ACQ, queueAt(0, true));
    write(n.CC, 0x46_0001 | (random(4) === 0 ? random(16) << 7 : 0));
    for (const id of [1, 2])
      for (const completion of [true, false])
        submit(0, (at) => {
          const { view } = memory;
          view.setUint8(at, completion ? n.ADMIN_CREATE_CQ : n.ADMIN_CREATE_SQ);
          view.setUint32(at + 24, queueAt(id, completion), true);
          view.setUint32(at + 40, ((QUEUE_ENTRIES - 1) << 16) | id, true);
          view.setUint32(at + 44, completion ? (id << 16) | 3 : (id << 16) | 1, true);
        });
  };
  const command = (at: number, opcodes: readonly number[]): void => {
    const { view } = memory;
    view.setUint8(at, opcodes[random(opcodes.length)] ?? 0);
    view.setUint16(at + 2, random(0x1_0000), true);
    view.setUint32(at + 4, [odd(random), 7, 1, 1][random(4)] ?? 0, true);
    for (const word of [6, 8]) view.setUint32(at + word * 4, odd(random), true);
    if (random(3) > 0) view.setUint32(at + 24, DATA + 512 * random(16), true);
    for (let word = 10; word < 16; word++) view.setUint32(at + word * 4, odd(random), true);
    if (random(2) > 0) view.setUint32(at + 44, 0, true);
    if (random(2) > 0) view.setUint32(at + 48, random(20), true);
    scribble(memory, DATA, DATA + 64, random);
  };
  start();
  return {
    disks: [disk, second],
    step: () => {
      const what = random(40);
      if (what === 0) start();
      else if (what === 1) write(4 * random(0x420), odd(random));
      else if (what === 2) nvme.readBar(0, random(0x2000), 1 << random(3));
      else if (what === 3) plug();
      else if (what < 12) submit(0, (at) => command(at, ADMIN_OPCODES));
      else submit(1 + random(2), (at) => command(at, IO_OPCODES));
    },
    reset: () => nvme.reset(),
    idle: () => nvme.idle(),
  };
}

/** The devices through which a guest reaches its disks. */
export const DEVICE_TARGETS: readonly Target[] = [
  target('virtio-blk', (random) => virtioRig(BLK, random)),
  target('virtio-scsi', (random) => virtioRig(SCSI, random)),
  target('nvme', nvmeRig),
];
