import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { randomNumbers, TestDisk, TestMemory } from '#hw/testing.ts';
import { VirtQueue } from '../queue.ts';
import { SplitDriver } from '../testing.ts';
import { VirtioScsi } from './scsi.ts';

const REQUEST = 0x8_0000;
const RESPONSE = 0x8_1000;
const DATA = 0x9_0000;
const HEADER_BYTES = 51;
const RESPONSE_BYTES = 108;
const FIRST_REQUEST_QUEUE = 2;

interface Answer {
  readonly status: number;
  readonly response: number;
  /** Key, code, qualifier, when there is sense. */
  readonly sense: readonly number[] | undefined;
}

const EVENT_RINGS = 0x4_0000;
const EVENTS = 0xf_0000;

class Guest {
  readonly memory = new TestMemory(1 << 20);
  readonly disk = new TestDisk(1 << 20);
  readonly device = new VirtioScsi({ memory: this.memory }, new Map([[0, this.disk]]));
  readonly driver = new SplitDriver(this.memory, 256);

  constructor() {
    const { memory, driver } = this;
    const wires = { memory, features: 0n, interrupt: () => {}, broken: assert.fail };
    const queue = VirtQueue.at({ ...wires, place: driver.place });
    this.device.start([undefined, this.events(), queue], this.device.features);
  }

  events(): VirtQueue | undefined {
    const wires = { memory: this.memory, features: 0n, interrupt: () => {}, broken: assert.fail };
    const { place } = this.driver;
    const up = (paddr: number) => paddr + EVENT_RINGS;
    return VirtQueue.at({
      ...wires,
      place: {
        size: place.size,
        descPaddr: up(place.descPaddr),
        driverPaddr: up(place.driverPaddr),
        devicePaddr: up(place.devicePaddr),
      },
    });
  }

  /** Makes a buffer for an event available. */
  listen(index: number): void {
    const { place } = this.driver;
    const { view } = this.memory;
    const desc = place.descPaddr + EVENT_RINGS + index * 16;
    view.setUint32(desc, EVENTS + index * 16, true);
    view.setUint32(desc + 8, 16, true);
    view.setUint16(desc + 12, 2, true);
    const driver = place.driverPaddr + EVENT_RINGS;
    view.setUint16(driver + 4 + 2 * index, index, true);
    view.setUint16(driver + 2, index + 1, true);
    this.device.notify(1);
  }

  event(index: number): readonly number[] {
    const at = EVENTS + index * 16;
    return [...this.memory.ram.subarray(at, at + 16)];
  }

  async command(
    cdb: readonly number[],
    data: { given?: number; wanted?: number } = {},
    lun: readonly number[] = [1, 0, 0x40, 0],
  ): Promise<Answer> {
    const { ram } = this.memory;
    ram.fill(0, REQUEST, REQUEST + HEADER_BYTES);
    ram.fill(0xee, RESPONSE, RESPONSE + RESPONSE_BYTES);
    ram.set(lun, REQUEST);
    ram.set(cdb, REQUEST + 19);
    const part = (lengthBytes = 0) => (lengthBytes > 0 ? [{ paddr: DATA, lengthBytes }] : []);
    this.driver.add({
      readable: [{ paddr: REQUEST, lengthBytes: HEADER_BYTES }, ...part(data.given)],
      writable: [{ paddr: RESPONSE, lengthBytes: RESPONSE_BYTES }, ...part(data.wanted)],
    });
    this.device.notify(FIRST_REQUEST_QUEUE);
    await this.device.idle();
    const at = (offset: number) => ram[RESPONSE + offset] ?? -1;
    const sense = at(0) === 0 ? undefined : [at(14), at(24), at(25)];
    return { status: at(10), response: at(11), sense };
  }

  text(offset: number, length: number): string {
    return new TextDecoder()
      .decode(this.memory.ram.slice(DATA + offset, DATA + offset + length))
      .trim();
  }
}

const GOOD: Answer = { status: 0, response: 0, sense: undefined };
const check = (...sense: number[]): Answer => ({ status: 2, response: 0, sense });

/** The answer of REPORT SUPPORTED OPERATION CODES, by opcode. */
function listedCommands(
  all: Uint8Array,
): Map<number, { action: number; flags: number; length: number }> {
  const listed = new Map<number, { action: number; flags: number; length: number }>();
  const end = 4 + new DataView(all.buffer).getUint32(0);
  for (let at = 4; at < end; at += 8) {
    const [opcode = -1, , , action = -1, , flags = -1, , length = -1] = all.subarray(at, at + 8);
    listed.set(opcode, { action, flags, length });
  }
  assert.equal(end, 4 + listed.size * 8);
  return listed;
}

describe('virtio-scsi', () => {
  it('tells of another size, when the driver has given room for that', () => {
    const guest = new Guest();
    const CAPACITY_CHANGED = [3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x2a, 9, 0, 0];
    const nothing = new Array<number>(16).fill(0);
    guest.listen(0);
    assert.deepEqual(guest.event(0), nothing);
    guest.disk.resize(2 << 20);
    assert.deepEqual(guest.event(0), CAPACITY_CHANGED);
    guest.disk.resize(4 << 20);
    guest.listen(1);
    assert.deepEqual(guest.event(1), CAPACITY_CHANGED);
    guest.listen(2);
    assert.deepEqual(guest.event(2), nothing);
  });

  it('says once that the capacity has changed, to the next command that is no question', async () => {
    const guest = new Guest();
    const ready = [0];
    guest.disk.resize(2 << 20);
    assert.deepEqual(await guest.command([0x12, 0, 0, 0, 36], { wanted: 36 }), GOOD);
    assert.deepEqual(await guest.command(ready), check(6, 0x2a, 9));
    assert.deepEqual(await guest.command(ready), GOOD);
    guest.disk.resize(1 << 20);
    assert.deepEqual(await guest.command([0x03, 0, 0, 0, 18], { wanted: 18 }), GOOD);
    assert.deepEqual(
      [2, 12, 13].map((at) => guest.memory.ram[DATA + at]),
      [6, 0x2a, 9],
    );
    assert.deepEqual(await guest.command(ready), GOOD);
  });

  it('has disks that come and go, each with its number, and tells of them', async () => {
    const guest = new Guest();
    const second = new TestDisk(2 << 20);
    const at = (lun: number) => [1, 0, 0x40, lun];
    const report = async (): Promise<readonly number[]> => {
      guest.memory.ram.fill(0, DATA, DATA + 64);
      const cdb = [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64];
      assert.deepEqual(await guest.command(cdb, { wanted: 64 }), GOOD);
      const count = guest.memory.view.getUint32(DATA) / 8;
      return Array.from({ length: count }, (_, i) =>
        Number(guest.memory.view.getBigUint64(DATA + 8 + 8 * i) >> 48n),
      );
    };
    const kind = async (lun: number) => {
      assert.deepEqual(await guest.command([0x12, 0, 0, 0, 36], { wanted: 36 }, at(lun)), GOOD);
      return guest.memory.ram[DATA];
    };
    for (const index of [0, 1]) guest.listen(index);
    assert.deepEqual([await report(), await kind(7)], [[0], 0x7f]);
    assert.deepEqual(await guest.command([0], {}, at(7)), check(5, 0x25, 0));
    guest.device.attach(7, second);
    assert.deepEqual(guest.event(0), [1, 0, 0, 0, 1, 0, 0, 7, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert.deepEqual([await report(), await kind(7)], [[0, 7], 0]);
    assert.deepEqual(await guest.command([0]), check(6, 0x3f, 0x0e), 'other units have changed');
    assert.deepEqual(await guest.command([0x25], { wanted: 8 }, at(7)), GOOD);
    assert.equal(guest.memory.view.getUint32(DATA), 4095);
    await guest.command([0x28, 0, 0, 0, 0x0f, 0xff, 0, 0, 1], { wanted: 512 }, at(7));
    assert.deepEqual([second.log, guest.disk.log], [['read 2096640+512'], []]);
    await guest.device.detach(7);
    assert.deepEqual(guest.event(1), [1, 0, 0, 0, 1, 0, 0, 7, 0, 0, 0, 0, 2, 0, 0, 0]);
    assert.deepEqual(await guest.command([0], {}, at(7)), check(5, 0x25, 0));
    assert.deepEqual(await report(), [0]);
  });

  it('writes a block again and again', async () => {
    const guest = new Guest();
    guest.memory.ram.fill(0x5a, DATA, DATA + 512);
    const cdb = [0x93, 8, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 4];
    assert.deepEqual(await guest.command(cdb, { given: 512 }), GOOD);
    assert.ok(guest.disk.bytes.subarray(4096, 6144).every((byte) => byte === 0x5a));
    const zeros = [0x93, 1, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1];
    assert.deepEqual(await guest.command(zeros), GOOD, 'without data');
    assert.deepEqual(guest.disk.log, ['write 4096+2048', 'zero 4096+512']);
    const toEnd = [0x41, 0, 0, 0, 7, 0xfe, 0, 0, 0];
    assert.deepEqual(await guest.command(toEnd, { given: 512 }), GOOD);
    assert.deepEqual(guest.disk.log.slice(2), ['write 1047552+1024']);
  });

  it('writes and reads back, with commands of all lengths', async () => {
    const guest = new Guest();
    guest.memory.ram.fill(0x77, DATA, DATA + 1024);
    assert.deepEqual(await guest.command([0x2a, 0, 0, 0, 0, 8, 0, 0, 2], { given: 1024 }), GOOD);
    guest.memory.ram.fill(0, DATA, DATA + 1024);
    const reads = [
      [0x08, 0, 0, 8, 2],
      [0x28, 0, 0, 0, 0, 8, 0, 0, 2],
      [0xa8, 0, 0, 0, 0, 8, 0, 0, 0, 2],
      [0x88, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 2],
    ];
    for (const cdb of reads) assert.deepEqual(await guest.command(cdb, { wanted: 1024 }), GOOD);
    assert.deepEqual(guest.disk.log, ['write 4096+1024', ...reads.map(() => 'read 4096+1024')]);
    assert.equal(guest.memory.ram[DATA + 1023], 0x77);
  });

  it('answers within the notification what the host has at hand', async () => {
    const guest = new Guest();
    guest.disk.isPrompt = true;
    guest.memory.ram.fill(0x77, DATA, DATA + 1024);
    assert.deepEqual(await guest.command([0x2a, 0, 0, 0, 0, 8, 0, 0, 2], { given: 1024 }), GOOD);
    guest.memory.ram.fill(0, DATA, DATA + 1024);
    assert.deepEqual(await guest.command([0x28, 0, 0, 0, 0, 8, 0, 0, 2], { wanted: 1024 }), GOOD);
    assert.equal(guest.memory.ram[DATA + 1023], 0x77);
    await guest.command([0x2a, 8, 0, 0, 0, 8, 0, 0, 1], { given: 512 });
    const prompt = ['prompt write 4096+1024', 'prompt read 4096+1024'];
    assert.deepEqual(guest.disk.log, [...prompt, 'write 4096+512', 'flush']);
  });

  it('tells of itself', async () => {
    const guest = new Guest();
    await guest.command([0x12, 0, 0, 0, 36], { wanted: 36 });
    assert.equal(guest.text(8, 24), 'RING0   DISK');
    await guest.command([0x12, 1, 0x80, 0, 24], { wanted: 24 });
    assert.equal(guest.text(4, 20), 'serial-1');
    await guest.command([0x25], { wanted: 8 });
    assert.equal(guest.memory.view.getUint32(DATA), 2047);
    await guest.command([0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32], { wanted: 32 });
    assert.equal(guest.memory.view.getUint32(DATA + 8), 512);
    guest.disk.readOnly = true;
    await guest.command([0x1a, 0, 8, 0, 64], { wanted: 64 });
    assert.equal(guest.memory.view.getUint8(DATA + 2) & 0x80, 0x80);
  });

  it('discards, writes zeroes, flushes, and forces what is to be forced', async () => {
    const guest = new Guest();
    guest.memory.view.setUint16(DATA + 2, 16);
    guest.memory.view.setBigUint64(DATA + 8, 8n);
    guest.memory.view.setUint32(DATA + 16, 4);
    assert.deepEqual(await guest.command([0x42, 0, 0, 0, 0, 0, 0, 0, 24], { given: 24 }), GOOD);
    guest.memory.ram.fill(0, DATA, DATA + 512);
    await guest.command([0x93, 8, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 8], { given: 512 });
    await guest.command([0x35]);
    await guest.command([0x2a, 8, 0, 0, 0, 0, 0, 0, 1], { given: 512 });
    assert.deepEqual(guest.disk.log, [
      'discard 4096+2048',
      'unmap 8192+4096',
      'flush',
      'write 0+512',
      'flush',
    ]);
  });

  const refused = [
    { name: 'past the end', cdb: [0x28, 0, 0, 0, 7, 0xff, 0, 0, 2], expected: check(5, 0x21, 0) },
    { name: 'an unknown command', cdb: [0xff], expected: check(5, 0x20, 0) },
    {
      name: 'blocks that hold their own address',
      cdb: [0x41, 4, 0, 0, 0, 0, 0, 0, 1],
      expected: check(5, 0x24, 0),
    },
    { name: 'an unknown page', cdb: [0x12, 1, 0x99, 0, 36], expected: check(5, 0x24, 0) },
    {
      name: 'less memory than data',
      cdb: [0x28, 0, 0, 0, 0, 0, 0, 0, 9],
      expected: check(5, 0x24, 0),
    },
  ];
  for (const { name, cdb, expected } of refused)
    it(`refuses ${name}`, async () => {
      const guest = new Guest();
      assert.deepEqual(await guest.command(cdb, { wanted: 1024 }), expected);
      assert.deepEqual(guest.disk.log, []);
    });

  it('verifies: reads, and compares with what is given', async () => {
    const guest = new Guest();
    guest.disk.bytes.fill(0x33, 4096, 6144);
    const ten = (how: number, blocks: number) => [0x2f, how << 1, 0, 0, 0, 8, 0, 0, blocks];
    const sixteen = (how: number, blocks: number) => [
      ...[0x8f, how << 1, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, blocks],
    ];
    guest.memory.ram.fill(0x33, DATA, DATA + 2048);
    for (const cdb of [ten(0, 4), sixteen(0, 4), ten(0, 0)])
      assert.deepEqual(await guest.command(cdb), GOOD);
    assert.deepEqual(guest.disk.log, ['read 4096+2048', 'read 4096+2048']);
    for (const form of [ten, sixteen]) {
      assert.deepEqual(await guest.command(form(1, 4), { given: 2048 }), GOOD);
      assert.deepEqual(await guest.command(form(3, 4), { given: 512 }), GOOD);
    }
    guest.disk.bytes[6143] = 0x34;
    for (const [how, given] of [
      [1, 2048],
      [3, 512],
    ] as const)
      assert.deepEqual(await guest.command(ten(how, 4), { given }), check(0xe, 0x1d, 0));
    assert.deepEqual(await guest.command(ten(1, 4), { given: 2047 }), check(5, 0x24, 0));
    assert.deepEqual(await guest.command(ten(2, 4), { given: 2048 }), check(5, 0x24, 0));
    assert.deepEqual(await guest.command([0x2f, 0x20, 0, 0, 0, 8, 0, 0, 1]), check(5, 0x24, 0));
    const behind = [0x8f, 0, 0, 0, 0, 0, 0, 0, 7, 0xff, 0, 0, 0, 2];
    assert.deepEqual(await guest.command(behind), check(5, 0x21, 0));
    guest.disk.status = 'io-error';
    assert.deepEqual(await guest.command(ten(0, 1)), check(3, 0x11, 0));
  });

  it('says which commands it has: all that it knows, and those alone', async () => {
    const guest = new Guest();
    const ask = async (...middle: readonly number[]): Promise<Uint8Array> => {
      guest.memory.ram.fill(0xee, DATA, DATA + 2048);
      const cdb = [0xa3, 0x0c, ...middle, 0, 0, 0x08, 0];
      assert.deepEqual(await guest.command(cdb, { wanted: 2048 }), GOOD);
      return guest.memory.ram.slice(DATA, DATA + 2048);
    };
    const all = await ask(0, 0, 0, 0);
    const listed = listedCommands(all);
    for (let opcode = 0; opcode < 256; opcode++) {
      const found = listed.get(opcode);
      const { sense } = await guest.command([opcode, found?.action ?? 0]);
      assert.equal(String(sense) === '5,32,0', found === undefined, `opcode ${opcode}: ${sense}`);
      if (found === undefined) continue;
      const withAction = (found.flags & 1) !== 0;
      const one = await ask(withAction ? 2 : 1, opcode, 0, found.action);
      assert.deepEqual([...one.subarray(0, 5)], [0, 3, 0, found.length, opcode]);
      if (withAction) assert.equal(one[5], found.action);
      assert.equal(one[4 + found.length], 0xee);
      // The group of the opcode says how long it is (SPC-4, 4.3.4).
      const byGroup = [6, 10, 10, undefined, 16, 12][opcode >> 5];
      assert.equal(found.length, byGroup, `opcode ${opcode}`);
    }
    assert.equal((await ask(1, 0xff, 0, 0))[1], 1);
    assert.equal((await ask(3, 0x9e, 0, 0x10))[1], 3);
    assert.equal((await ask(3, 0x9e, 0, 0x11))[1], 1);
    const timed = await ask(0x81, 0x28, 0, 0);
    assert.deepEqual([...timed.subarray(1, 4)], [0x83, 0, 10]);
    assert.deepEqual([...timed.subarray(14, 16)], [0, 10]);
    const allTimed = await ask(0x80, 0, 0, 0);
    assert.equal(new DataView(allTimed.buffer).getUint32(0), listed.size * 20);
    for (const wrong of [
      [0xa3, 0x0c, 1, 0x9e, 0, 0, 0, 0, 1, 0],
      [0xa3, 0x0c, 2, 0x28, 0, 0, 0, 0, 1, 0],
      [0xa3, 0x0c, 4, 0, 0, 0, 0, 0, 1, 0],
      [0xa3, 0x0b, 0, 0, 0, 0, 0, 0, 1, 0],
    ])
      assert.deepEqual(await guest.command(wrong, { wanted: 256 }), check(5, 0x24, 0));
  });

  it('says which log pages it has', async () => {
    const guest = new Guest();
    const ask = (page: number, subpage: number, pointer = 0) =>
      guest.command([0x4d, 0, page, subpage, 0, 0, pointer, 0, 64], { wanted: 64 });
    assert.deepEqual(await ask(0x40, 0), GOOD);
    assert.deepEqual([...guest.memory.ram.subarray(DATA, DATA + 5)], [0, 0, 0, 1, 0]);
    assert.deepEqual(await ask(0x40, 0xff), GOOD);
    const pairs = [0x40, 0xff, 0, 4, 0, 0, 0, 0xff];
    assert.deepEqual([...guest.memory.ram.subarray(DATA, DATA + 8)], pairs);
    for (const [page, subpage, pointer] of [
      [0x2f, 0, 0],
      [0, 1, 0],
      [0, 0, 1],
    ] as const)
      assert.deepEqual(await ask(page, subpage, pointer), check(5, 0x24, 0));
  });

  it('says how much of the room for data was not used', async () => {
    const guest = new Guest();
    const residual = (): number => guest.memory.view.getUint32(RESPONSE + 4, true);
    assert.deepEqual(await guest.command([0x12, 0, 0, 0, 255], { wanted: 255 }), GOOD);
    assert.equal(residual(), 255 - 36);
    assert.deepEqual(await guest.command([0x28, 0, 0, 0, 0, 0, 0, 0, 1], { wanted: 1024 }), GOOD);
    assert.equal(residual(), 512);
    assert.deepEqual(await guest.command([0x2a, 0, 0, 0, 0, 0, 0, 0, 2], { given: 1024 }), GOOD);
    assert.equal(residual(), 0);
    assert.equal((await guest.command([0xff], { wanted: 20 })).status, 2);
    assert.equal(residual(), 20);
  });

  it('has no other target', async () => {
    const answer = await new Guest().command([0], {}, [1, 1, 0x40, 0]);
    assert.deepEqual(answer, { ...GOOD, response: 3 });
  });

  it('passes failures of the host on', async () => {
    const guest = new Guest();
    const read = [0x28, 0, 0, 0, 0, 0, 0, 0, 1];
    guest.disk.status = 'io-error';
    assert.deepEqual(await guest.command(read, { wanted: 512 }), check(3, 0x11, 0));
    guest.disk.readOnly = true;
    const write = await guest.command([0x2a, 0, 0, 0, 0, 0, 0, 0, 1], { given: 512 });
    assert.deepEqual(write, check(7, 0x27, 0));
  });

  it('survives random commands', async () => {
    const opcodes = [
      ...[0x08, 0x12, 0x1a, 0x28, 0x2a, 0x2f, 0x41, 0x42, 0x4d, 0x5a],
      ...[0x88, 0x8f, 0x93, 0x9e, 0xa0, 0xa3, 0xa8],
    ];
    for (let seed = 1; seed <= 40; seed++) {
      const random = randomNumbers(seed);
      const guest = new Guest();
      for (let step = 0; step < 50; step++) {
        const cdb = Array.from({ length: 16 }, () => random(random(3) ? 4 : 256));
        cdb[0] = opcodes[random(opcodes.length)] ?? 0;
        for (let i = 0; i < 32; i++) guest.memory.ram[DATA + i] = random(random(2) ? 3 : 256);
        await guest.command(cdb, { given: random(2048), wanted: random(2048) });
      }
    }
  });
});
