import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { randomNumbers, TestDisk, TestInterrupts, TestMemory } from '#hw/testing.ts';
import { VirtioBlk } from '../blk/blk.ts';
import { SplitDriver } from '../testing.ts';
import { VirtioMmio } from './mmio.ts';
import * as r from './mmio-regs.ts';

const HEADER = 0x8_0000;
const STATUS_BYTE = 0x8_1000;
const DATA = 0x9_0000;
const F_FLUSH = 1 << 9;

/** A driver of a block device, for requests one after another. */
class Guest {
  readonly memory = new TestMemory(1 << 20);
  readonly disk = new TestDisk(1 << 20);
  readonly queue = new SplitDriver(this.memory, 256);
  readonly card: VirtioMmio;
  readonly interrupts = new TestInterrupts();

  constructor(legacy = false) {
    const device = new VirtioBlk({ memory: this.memory }, this.disk, 2);
    this.card = new VirtioMmio(this, { device, name: 'd', legacy });
  }

  read(offset: number): number {
    return this.card.readBar(0, offset, 4);
  }

  write(offset: number, value: number): void {
    this.card.writeBar(0, offset, 4, value);
  }

  /** As 3.1.1 and 4.2.3 tell. */
  start(): this {
    this.write(r.STATUS, 3);
    for (const [half, bits] of [F_FLUSH, 1].entries()) {
      this.write(r.DRIVER_FEATURES_SELECT, half);
      this.write(r.DRIVER_FEATURES, bits);
    }
    this.write(r.STATUS, 11);
    assert.equal(this.read(r.STATUS), 11);
    const { size, descPaddr, driverPaddr, devicePaddr } = this.queue.place;
    this.write(r.QUEUE_SELECT, 0);
    assert.equal(this.read(r.QUEUE_READY), 0);
    this.write(r.QUEUE_SIZE, size);
    this.write(r.QUEUE_DESC, descPaddr);
    this.write(r.QUEUE_DRIVER, driverPaddr);
    this.write(r.QUEUE_DEVICE, devicePaddr);
    this.write(r.QUEUE_READY, 1);
    this.write(r.STATUS, 15);
    return this;
  }

  /** 4.2.4: the rings lie as SplitDriver has them when the used ring begins at the next 32 KiB. */
  startLegacy(): this {
    const { size, descPaddr } = this.queue.place;
    this.write(r.STATUS, 3);
    this.write(r.DRIVER_FEATURES, F_FLUSH);
    this.write(r.LEGACY_PAGE_SIZE, 8192);
    this.write(r.QUEUE_SELECT, 0);
    this.write(r.QUEUE_SIZE, size);
    this.write(r.LEGACY_QUEUE_ALIGN, 4096);
    this.write(r.LEGACY_QUEUE_PAGE, descPaddr / 8192);
    this.write(r.STATUS, 7);
    return this;
  }

  add(type: number, sector: number, data: { given?: number; wanted?: number }): void {
    const { view, ram } = this.memory;
    view.setUint32(HEADER, type, true);
    view.setBigUint64(HEADER + 8, BigInt(sector), true);
    ram[STATUS_BYTE] = 0xee;
    const part = (lengthBytes = 0) => (lengthBytes > 0 ? [{ paddr: DATA, lengthBytes }] : []);
    this.queue.add({
      readable: [{ paddr: HEADER, lengthBytes: 16 }, ...part(data.given)],
      writable: [...part(data.wanted), { paddr: STATUS_BYTE, lengthBytes: 1 }],
    });
  }

  async request(type: number, sector: number, data: { given?: number; wanted?: number }) {
    this.add(type, sector, data);
    this.write(r.QUEUE_NOTIFY, 0);
    await this.card.idle();
    return this.memory.ram[STATUS_BYTE];
  }
}

describe('virtio-mmio', () => {
  const registers = [
    { name: 'magic', offset: r.MAGIC, expected: [0x7472_6976, 0x7472_6976] },
    { name: 'version', offset: r.VERSION, expected: [2, 1] },
    { name: 'device', offset: r.DEVICE_ID, expected: [2, 2] },
    { name: 'queue size', offset: r.QUEUE_SIZE_MOST, expected: [256, 256] },
    { name: 'no shared memory', offset: r.SHARED_MEMORY, expected: [0xffff_ffff, 0xffff_ffff] },
    { name: 'nothing', offset: 0x0f0, expected: [0, 0] },
    { name: 'the disk’s size', offset: r.CONFIG, expected: [2048, 2048] },
  ];
  for (const { name, offset, expected } of registers)
    it(`tells: ${name}`, () =>
      assert.deepEqual([new Guest().read(offset), new Guest(true).read(offset)], expected));

  it('offers version 1 to drivers of version 2 alone', () => {
    for (const legacy of [false, true]) {
      const guest = new Guest(legacy);
      guest.write(r.FEATURES_SELECT, 1);
      assert.equal(guest.read(r.FEATURES) & 1, legacy ? 0 : 1);
      guest.write(r.QUEUE_SELECT, 7);
      assert.equal(guest.read(r.QUEUE_SIZE_MOST), 0);
    }
  });

  it('serves requests, and interrupts until that is acknowledged', async () => {
    const guest = new Guest().start();
    guest.memory.ram.fill(0x5a, DATA, DATA + 4096);
    assert.equal(await guest.request(1, 3, { given: 4096 }), 0);
    assert.deepEqual(guest.disk.log, ['write 1536+4096']);
    assert.equal(guest.interrupts.asserted, true);
    guest.disk.resize(2 << 20);
    assert.equal(guest.read(r.INTERRUPT_STATUS), 3);
    guest.write(r.INTERRUPT_ACK, 1);
    assert.equal(guest.interrupts.asserted, true);
    guest.write(r.INTERRUPT_ACK, 2);
    assert.equal(guest.interrupts.asserted, false);
    assert.equal(guest.read(r.CONFIG), 4096);
    assert.equal(guest.card.readBar(0, r.CONFIG + 34, 2), 2);
  });

  it('serves drivers of the legacy interface, whose rings lie in pages of their size', async () => {
    const guest = new Guest(true);
    const { descPaddr, driverPaddr, devicePaddr } = guest.queue.place;
    guest.startLegacy();
    assert.equal(guest.read(r.LEGACY_QUEUE_PAGE), descPaddr / 8192);
    // A legacy queue's parts follow one another: what the driver has put elsewhere is copied there, and back.
    const { ram } = guest.memory;
    const available = descPaddr + 256 * 16;
    const used = Math.ceil((available + 6 + 512) / 4096) * 4096;
    guest.add(0, 1, { wanted: 512 });
    ram.copyWithin(available, driverPaddr, driverPaddr + 1024);
    guest.write(r.QUEUE_NOTIFY, 0);
    await guest.card.idle();
    ram.copyWithin(devicePaddr, used, used + 4096);
    assert.equal(guest.queue.used()?.writtenBytes, 513);
    assert.deepEqual(guest.disk.log, ['read 512+512']);
  });

  it('is as new after a reset', async () => {
    const guest = new Guest().start();
    await guest.request(4, 0, {});
    guest.write(r.STATUS, 0);
    assert.equal(guest.interrupts.asserted, false);
    for (const offset of [r.STATUS, r.INTERRUPT_STATUS, r.QUEUE_READY])
      assert.equal(guest.read(offset), 0);
    guest.card.reset();
    assert.equal(guest.read(r.MAGIC), r.MAGIC_VALUE);
  });

  it('takes words alone, and no features behind the driver’s back', () => {
    const guest = new Guest();
    guest.card.writeBar(0, r.STATUS, 1, 3);
    assert.equal(guest.read(r.STATUS), 0);
    assert.equal(guest.card.readBar(0, r.MAGIC, 2), 0);
    assert.equal(guest.card.readBar(0, r.MAGIC + 1, 4), 0);
    guest.write(r.STATUS, 3);
    guest.write(r.STATUS, 11);
    assert.equal(guest.read(r.STATUS), 3, 'version 1 was not accepted');
  });

  it('survives registers and rings of random values', async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const random = randomNumbers(seed);
      const guest = new Guest(random(2) === 1);
      const { ram } = guest.memory;
      for (let at = 0x1_0000; at < 0x3_0000; at += 1 + random(16)) ram[at] = random(256);
      for (let step = 0; step < 200; step++) meddle(guest, random);
      await guest.card.idle();
      assert.equal(guest.read(r.MAGIC), r.MAGIC_VALUE);
    }
  });
});

const OFFSETS = Object.values(r).filter((value) => value < r.MMIO_BYTES);
const STATUSES = [0, 3, 7, 11, 15];

/** One access that a driver may make, or none would. */
function meddle(guest: Guest, random: (limit: number) => number): void {
  const known = OFFSETS[random(OFFSETS.length)] ?? 0;
  const offset = random(4) > 0 ? known : random(r.MMIO_BYTES);
  const value = random(3) > 0 ? random(64) * 0x1000 : random(2 ** 32);
  const what = random(8);
  if (what < 2) guest.card.readBar(0, offset, [1, 2, 4][random(3)] ?? 4);
  else if (what === 2) guest.write(r.STATUS, STATUSES[random(STATUSES.length)] ?? 0);
  else guest.card.writeBar(0, offset, random(8) > 0 ? 4 : 1, value);
}
