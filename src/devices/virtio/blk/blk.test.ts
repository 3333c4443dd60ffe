import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { randomNumbers, TestDisk, TestInterrupts, TestMemory } from '#hw/testing.ts';
import { VirtQueue } from '../queue.ts';
import { SplitDriver } from '../testing.ts';
import { VirtioPci } from '../transport/pci.ts';
import { VirtioBlk } from './blk.ts';

const HEADER = 0x8_0000;
const DATA = 0x9_0000;
const STATUS = 0x8_1000;
const MODERN = 4;
const LEGACY = 0;
const OK = 0;
const IO_ERROR = 1;
const UNSUPPORTED = 2;
const NO_ANSWER = 0xee;

/** A driver that does one request after another. */
class Guest {
  readonly memory = new TestMemory(1 << 20);
  readonly disk = new TestDisk(1 << 20);
  readonly interrupts = new TestInterrupts();
  readonly card: VirtioPci;
  readonly queue = new SplitDriver(this.memory, 256);

  constructor(prepare: (disk: TestDisk) => void = () => {}) {
    prepare(this.disk);
    const device = new VirtioBlk({ memory: this.memory }, this.disk);
    const wires = { memory: this.memory, interrupts: this.interrupts };
    this.card = new VirtioPci(wires, { device, name: 'virtio-blk' });
  }

  features(half: number): number {
    this.card.writeBar(MODERN, 0, 4, half);
    return this.card.readBar(MODERN, 4, 4);
  }

  /** As 3.1.1 tells, with these features alone. */
  start(low = 1 << 9, high = 1): this {
    const write = (offset: number, size: number, value: number) =>
      this.card.writeBar(MODERN, offset, size, value);
    write(0x14, 1, 3);
    for (const [half, bits] of [low, high].entries()) {
      write(8, 4, half);
      write(12, 4, bits);
    }
    write(0x14, 1, 11);
    write(0x16, 2, 0);
    const { descPaddr, driverPaddr, devicePaddr } = this.queue.place;
    for (const [i, paddr] of [descPaddr, driverPaddr, devicePaddr].entries())
      write(0x20 + i * 8, 4, paddr);
    write(0x1a, 2, 1);
    write(0x1c, 2, 1);
    write(0x14, 1, 15);
    return this;
  }

  get status(): number {
    return this.card.readBar(MODERN, 0x14, 1);
  }

  /** Status, and how many bytes the device says that it wrote. */
  async request(
    type: number,
    sector: number,
    data: { given?: number; wanted?: number },
  ): Promise<[status: number, writtenBytes: number | undefined]> {
    const { view, ram } = this.memory;
    view.setUint32(HEADER, type, true);
    view.setBigUint64(HEADER + 8, BigInt(sector), true);
    ram[STATUS] = NO_ANSWER;
    const part = (lengthBytes = 0) => (lengthBytes > 0 ? [{ paddr: DATA, lengthBytes }] : []);
    this.queue.add({
      readable: [{ paddr: HEADER, lengthBytes: 16 }, ...part(data.given)],
      writable: [...part(data.wanted), { paddr: STATUS, lengthBytes: 1 }],
    });
    this.card.writeBar(MODERN, 0x3000, 2, 0);
    await this.card.idle();
    return [ram[STATUS] ?? -1, this.queue.used()?.writtenBytes];
  }

  range(first: number, sectors: number, flags = 0): void {
    this.memory.view.setBigUint64(DATA, BigInt(first), true);
    this.memory.view.setUint32(DATA + 8, sectors, true);
    this.memory.view.setUint32(DATA + 12, flags, true);
  }
}

describe('virtio-blk', () => {
  it('answers within the notification what the host has at hand', async () => {
    const guest = new Guest((disk) => {
      disk.isPrompt = true;
    }).start();
    guest.memory.ram.fill(0x5a, DATA, DATA + 4096);
    const underWay = guest.request(1, 3, { given: 4096 });
    assert.equal(guest.memory.ram[STATUS], OK);
    assert.deepEqual(await underWay, [OK, 1]);
    guest.memory.ram.fill(0, DATA, DATA + 4096);
    assert.deepEqual(await guest.request(0, 3, { wanted: 4096 }), [OK, 4097]);
    assert.ok(guest.memory.ram.subarray(DATA, DATA + 4096).every((byte) => byte === 0x5a));
    assert.deepEqual(guest.disk.log, ['prompt write 1536+4096', 'prompt read 1536+4096']);
    assert.deepEqual(guest.interrupts.messages, [1, 1]);
    // With its cache off, what is written is stable when it is answered.
    guest.card.writeBar(MODERN, 0x2000 + 32, 1, 0);
    await guest.request(1, 3, { given: 512 });
    assert.deepEqual(guest.disk.log.slice(2), ['write 1536+512', 'flush']);
  });

  it('writes, reads back, and interrupts by its vector', async () => {
    const guest = new Guest().start();
    assert.equal(guest.status, 15);
    guest.memory.ram.fill(0x5a, DATA, DATA + 4096);
    assert.deepEqual(await guest.request(1, 3, { given: 4096 }), [OK, 1]);
    guest.memory.ram.fill(0, DATA, DATA + 4096);
    assert.deepEqual(await guest.request(0, 3, { wanted: 4096 }), [OK, 4097]);
    assert.ok(guest.memory.ram.subarray(DATA, DATA + 4096).every((byte) => byte === 0x5a));
    assert.deepEqual(guest.disk.log, ['write 1536+4096', 'read 1536+4096']);
    assert.deepEqual(guest.interrupts.messages, [1, 1]);
  });

  it('serves several queues side by side, and answers each in its own', async () => {
    const memory = new TestMemory(1 << 20);
    const disk = new TestDisk(1 << 20);
    const device = new VirtioBlk({ memory }, disk, 2);
    const second = { descPaddr: 0x4_0000, driverPaddr: 0x4_8000, devicePaddr: 0x5_0000 };
    const drivers = [new SplitDriver(memory, 256), new SplitDriver(memory, 256, second)];
    const told: number[] = [];
    const queues = drivers.map(({ place }, index) =>
      VirtQueue.at({
        ...{ memory, features: 0n, broken: assert.fail, place },
        interrupt: () => told.push(index),
      }),
    );
    assert.equal(new DataView(device.config().buffer).getUint16(34, true), 2);
    assert.notEqual(device.features & (1n << 12n), 0n, 'several queues are offered');
    device.start(queues, device.features);
    for (const [index, driver] of drivers.entries()) {
      const header = HEADER + index * 64;
      memory.view.setUint32(header, 0, true);
      memory.view.setBigUint64(header + 8, BigInt(10 + index), true);
      driver.add({
        readable: [{ paddr: header, lengthBytes: 16 }],
        writable: [
          { paddr: DATA + index * 512, lengthBytes: 512 },
          { paddr: STATUS + index, lengthBytes: 1 },
        ],
      });
    }
    device.notify(1);
    device.notify(0);
    await device.idle();
    assert.deepEqual(disk.log.toSorted(), ['read 5120+512', 'read 5632+512']);
    assert.deepEqual(told.toSorted(), [0, 1]);
    assert.deepEqual(
      drivers.map((driver) => driver.used()?.writtenBytes),
      [513, 513],
    );
  });

  it('tells of itself', async () => {
    const guest = new Guest().start();
    const config = (offset: number, size: number) =>
      guest.card.readBar(MODERN, 0x2000 + offset, size);
    assert.equal(config(0, 4), 2048);
    assert.equal(config(20, 4), 512);
    assert.equal(config(34, 2), 1);
    // Topology: 2 ** 3 blocks in a physical one, which requests begin with; what is best to read at once.
    assert.deepEqual([config(24, 1), config(25, 1), config(26, 2)], [3, 0, 8]);
    assert.deepEqual(await guest.request(8, 0, { wanted: 20 }), [OK, 21]);
    const id = guest.memory.ram.slice(DATA, DATA + 20);
    assert.equal(new TextDecoder().decode(id).replace(/\0+$/, ''), 'serial-1');
  });

  const ranges = [
    { name: 'discard', type: 11, flags: 0, log: ['discard 4096+2048'] },
    { name: 'write zeroes', type: 13, flags: 0, log: ['zero 4096+2048'] },
    { name: 'write zeroes and unmap', type: 13, flags: 1, log: ['unmap 4096+2048'] },
  ];
  for (const { name, type, flags, log } of ranges)
    it(name, async () => {
      const guest = new Guest().start();
      guest.range(8, 4, flags);
      assert.deepEqual(await guest.request(type, 0, { given: 16 }), [OK, 1]);
      assert.deepEqual(guest.disk.log, log);
    });

  const refused = [
    { name: 'a read past the end', type: 0, sector: 2048, data: { wanted: 512 }, status: IO_ERROR },
    {
      name: 'a read far past it',
      type: 0,
      sector: 2 ** 52,
      data: { wanted: 512 },
      status: IO_ERROR,
    },
    { name: 'half a sector', type: 1, sector: 0, data: { given: 256 }, status: IO_ERROR },
    { name: 'an unknown type', type: 99, sector: 0, data: {}, status: UNSUPPORTED },
    { name: 'half a range', type: 11, sector: 0, data: { given: 8 }, status: IO_ERROR },
  ];
  for (const { name, type, sector, data, status } of refused)
    it(`refuses ${name}`, async () => {
      const guest = new Guest().start();
      assert.equal((await guest.request(type, sector, data))[0], status);
      assert.deepEqual(guest.disk.log, []);
    });

  it('refuses ranges beyond the disk, and flags that are unknown', async () => {
    const guest = new Guest().start();
    guest.range(2040, 9);
    assert.equal((await guest.request(13, 0, { given: 16 }))[0], IO_ERROR);
    guest.range(0, 8, 1);
    assert.equal((await guest.request(11, 0, { given: 16 }))[0], UNSUPPORTED);
    assert.deepEqual(guest.disk.log, []);
  });

  it('passes failures of the host on', async () => {
    const guest = new Guest().start();
    guest.disk.status = 'io-error';
    assert.equal((await guest.request(0, 0, { wanted: 512 }))[0], IO_ERROR);
    assert.equal((await guest.request(4, 0, {}))[0], IO_ERROR);
  });

  it('tells a driver that is ready of another size', async () => {
    const guest = new Guest();
    guest.disk.resize(2 << 20);
    guest.card.writeBar(MODERN, 0x10, 2, 0);
    assert.deepEqual(guest.interrupts.messages, []);
    guest.start();
    const generation = guest.card.readBar(MODERN, 0x15, 1);
    guest.disk.resize(3 << 20);
    assert.deepEqual(guest.interrupts.messages, [0]);
    assert.notEqual(guest.card.readBar(MODERN, 0x15, 1), generation);
    assert.equal(guest.card.readBar(MODERN, 0x2000, 4), 6144);
    assert.deepEqual(await guest.request(0, 6143, { wanted: 512 }), [OK, 513]);
    guest.disk.resize(1 << 20);
    assert.deepEqual(await guest.request(0, 6143, { wanted: 512 }), [IO_ERROR, 0]);
  });

  it('may only be read when the disk may', async () => {
    const guest = new Guest((disk) => {
      disk.readOnly = true;
    }).start();
    assert.equal(guest.features(0) & (1 << 5), 1 << 5);
    assert.equal((await guest.request(1, 0, { given: 512 }))[0], IO_ERROR);
    assert.deepEqual(guest.disk.log, []);
  });

  it('makes writes stable for a driver that knows no flush', async () => {
    const guest = new Guest().start(0);
    await guest.request(1, 0, { given: 512 });
    assert.deepEqual(guest.disk.log, ['write 0+512', 'flush']);
  });

  it('makes writes stable when the cache is switched off', async () => {
    const guest = new Guest().start((1 << 9) | (1 << 11));
    guest.card.writeBar(MODERN, 0x2000 + 32, 1, 0);
    await guest.request(1, 0, { given: 512 });
    assert.deepEqual(guest.disk.log, ['write 0+512', 'flush']);
  });

  it('does not agree to features that it has not, nor to do without version 1', () => {
    for (const [low, high] of [
      [1 << 3, 1],
      [1 << 9, 0],
    ] as const) {
      const guest = new Guest();
      guest.start(low, high);
      assert.equal(guest.status & 8, 0);
    }
  });

  it('needs a reset after a ring that cannot be, and works after it', async () => {
    const guest = new Guest().start();
    guest.memory.view.setUint16(guest.queue.place.driverPaddr + 2, 5000, true);
    guest.card.writeBar(MODERN, 0x3000, 2, 0);
    assert.equal(guest.status & 64, 64);
    guest.card.writeBar(MODERN, 0x14, 1, 0);
    assert.equal(guest.status, 0);
    guest.memory.view.setUint16(guest.queue.place.driverPaddr + 2, 0, true);
    guest.start();
    assert.deepEqual(await guest.request(4, 0, {}), [OK, 1]);
  });

  it('answers nothing of before a reset after it', async () => {
    const guest = new Guest().start();
    const answered = guest.request(0, 0, { wanted: 512 });
    guest.card.writeBar(MODERN, 0x14, 1, 0);
    assert.equal(guest.status, 15, 'it still may write');
    assert.deepEqual(await answered, [NO_ANSWER, undefined]);
    assert.equal(guest.status, 0);
  });

  it('serves a driver of the legacy interface by its pin', async () => {
    const guest = new Guest();
    guest.interrupts.isMsixEnabled = false;
    const write = (offset: number, size: number, value: number) =>
      guest.card.writeBar(LEGACY, offset, size, value);
    const page = guest.queue.place.descPaddr / 4096;
    write(18, 1, 3);
    write(4, 4, guest.card.readBar(LEGACY, 0, 4) & (1 << 9));
    assert.equal(guest.card.readBar(LEGACY, 12, 2), 256);
    assert.equal(guest.card.readBar(LEGACY, 20, 4), 2048);
    write(8, 4, page);
    assert.equal(guest.card.readBar(LEGACY, 8, 4), page);
    write(18, 1, 7);
    // Rings lie behind the table: their places are the specification's, not the test driver's.
    const { view, ram } = guest.memory;
    const [table, available, used] = [page * 4096, (page + 1) * 4096, (page + 2) * 4096];
    ram[STATUS] = NO_ANSWER;
    view.setUint32(HEADER, 4, true);
    for (const [i, [paddr, length, flags]] of [
      [HEADER, 16, 1],
      [STATUS, 1, 2],
    ].entries()) {
      view.setUint32(table + i * 16, paddr ?? 0, true);
      view.setUint32(table + i * 16 + 8, length ?? 0, true);
      view.setUint16(table + i * 16 + 12, flags ?? 0, true);
      view.setUint16(table + i * 16 + 14, 1, true);
    }
    view.setUint16(available + 2, 1, true);
    write(16, 2, 0);
    await guest.card.idle();
    assert.deepEqual([ram[STATUS], view.getUint16(used + 2, true)], [OK, 1]);
    assert.equal(guest.interrupts.asserted, true);
    assert.equal(guest.card.readBar(LEGACY, 19, 1), 1);
    assert.equal(guest.interrupts.asserted, false);
  });

  it('survives requests of random bytes', async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const guest = new Guest().start();
      const random = randomNumbers(seed);
      for (let step = 0; step < 60; step++) disturb(guest, random);
      await guest.card.idle();
    }
  });
});

/** A request of anything with buffers anywhere, and accesses to any register. */
function disturb(guest: Guest, random: (limit: number) => number): void {
  const { ram } = guest.memory;
  for (let i = 0; i < 4; i++) ram[HEADER + random(16)] = random(random(3) ? 16 : 256);
  for (let i = 0; i < 8; i++) ram[DATA + random(32)] = random(256);
  const segment = () => ({
    paddr: random(4) ? ([HEADER, DATA, STATUS][random(3)] ?? 0) : random(2 ** 32),
    lengthBytes: random(4) ? random(64) * 16 : random(2 ** 32),
  });
  const list = () => Array.from({ length: random(3) }, segment);
  guest.queue.add({ readable: [segment(), ...list()], writable: list() }, random(2) === 0);
  const register = random(4) ? 0x3000 : random(0x4000);
  guest.card.writeBar(MODERN, register, 1 << random(3), random(300));
  guest.card.readBar(random(2) * 4, random(0x4000), 1 << random(3));
}
