import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { randomNumbers, TestDisk, TestInterrupts, TestMemory } from '#hw/testing.ts';
import { Nvme } from './nvme.ts';
import * as r from './nvme-regs.ts';

const PAGE = 4096;
const ASQ = 0x1_0000;
const ACQ = 0x1_1000;
const SQ = 0x1_2000;
const CQ = 0x1_3000;
const DATA = 0x2_0000;
const ENTRIES = 8;
const BLOCK = 512;

interface Fields {
  readonly opcode: number;
  readonly nsid?: number;
  readonly prp1?: number;
  readonly prp2?: number;
  readonly cdw?: readonly number[];
}

/** A driver that does one command after another. */
class Driver {
  readonly memory = new TestMemory(1 << 20);
  readonly disk = new TestDisk(1 << 20);
  readonly interrupts = new TestInterrupts();
  readonly nvme = new Nvme(
    { memory: this.memory, interrupts: this.interrupts },
    new Map([[1, this.disk]]),
  );
  readonly #tails = [0, 0];
  readonly #heads = [0, 0];

  constructor() {
    this.write(r.AQA, ((ENTRIES - 1) << 16) | (ENTRIES - 1));
    this.write(r.ASQ, ASQ);
    this.write(r.ACQ, ACQ);
    this.write(r.CC, 0x46_0001);
    assert.equal(this.nvme.readBar(0, r.CSTS, 4), r.CSTS_RDY);
  }

  write(offset: number, value: number): void {
    this.nvme.writeBar(0, offset, 4, value);
  }

  submit(queue: 0 | 1, fields: Fields): void {
    const tail = this.#tails[queue] ?? 0;
    const at = (queue === 0 ? ASQ : SQ) + tail * r.SQE_BYTES;
    const { view } = this.memory;
    this.memory.ram.fill(0, at, at + r.SQE_BYTES);
    view.setUint32(at, ((tail + 0x100) << 16) | fields.opcode, true);
    view.setUint32(at + 4, fields.nsid ?? 1, true);
    view.setUint32(at + 24, fields.prp1 ?? DATA, true);
    view.setUint32(at + 32, fields.prp2 ?? 0, true);
    for (const [i, word] of (fields.cdw ?? []).entries())
      view.setUint32(at + 40 + i * 4, word, true);
    this.#tails[queue] = (tail + 1) % ENTRIES;
    this.write(r.DOORBELLS + queue * 8, this.#tails[queue] ?? 0);
  }

  /** The next answer's status and result. */
  answer(queue: 0 | 1): { status: number; result: number } {
    const head = this.#heads[queue] ?? 0;
    const at = (queue === 0 ? ACQ : CQ) + head * r.CQE_BYTES;
    this.#heads[queue] = (head + 1) % ENTRIES;
    this.write(r.DOORBELLS + queue * 8 + 4, this.#heads[queue] ?? 0);
    const { view } = this.memory;
    return { status: view.getUint32(at + 12, true) >>> 17, result: view.getUint32(at, true) };
  }

  admin(fields: Fields): { status: number; result: number } {
    this.submit(0, fields);
    return this.answer(0);
  }

  withQueues(): this {
    const size = (ENTRIES - 1) << 16;
    const cq = { opcode: r.ADMIN_CREATE_CQ, prp1: CQ, cdw: [size | 1, (1 << 16) | 3] };
    const sq = { opcode: r.ADMIN_CREATE_SQ, prp1: SQ, cdw: [size | 1, (1 << 16) | 1] };
    assert.equal(this.admin(cq).status, r.OK);
    assert.equal(this.admin(sq).status, r.OK);
    return this;
  }

  async io(fields: Fields): Promise<number> {
    this.submit(1, fields);
    await this.nvme.idle();
    return this.answer(1).status;
  }
}

const readWrite = (opcode: number, block: number, count: number, flags = 0) => ({
  opcode,
  cdw: [block, 0, (count - 1) | flags],
});

describe('NVMe', () => {
  it('tells what it is', () => {
    const driver = new Driver();
    assert.equal(driver.admin({ opcode: r.ADMIN_IDENTIFY, cdw: [1] }).status, r.OK);
    const text = (at: number, length: number) =>
      new TextDecoder().decode(driver.memory.ram.slice(DATA + at, DATA + at + length)).trim();
    assert.equal(text(4, 20), 'serial-1');
    assert.equal(text(24, 40), 'ring0 NVMe disk');
    assert.match(text(768, 68), /^nqn\.2014-08\.org\.nvmexpress:uuid:[0-9a-f-]{36}$/);
    assert.equal(driver.admin({ opcode: r.ADMIN_IDENTIFY, cdw: [0] }).status, r.OK);
    assert.equal(driver.memory.view.getUint32(DATA, true), 2048);
    assert.equal(driver.memory.ram[DATA + 130], 9);
    assert.deepEqual(driver.admin({ opcode: r.ADMIN_SET_FEATURES, cdw: [7, 0x3_0003] }), {
      status: r.OK,
      result: 0x3_0003,
    });
  });

  it('tells of another size once, until the guest has looked what has changed', () => {
    const driver = new Driver();
    const OURS = 0x4_0002;
    const log = { opcode: r.ADMIN_GET_LOG, cdw: [(1023 << 16) | r.LOG_CHANGED_NAMESPACES] };
    const changed = () => driver.memory.view.getUint32(DATA, true);
    driver.submit(0, { opcode: r.ADMIN_ASYNC_EVENT });
    driver.disk.resize(2 << 20);
    // Nobody has asked for events of this kind: the next answer is another command's.
    const feature = { opcode: r.ADMIN_SET_FEATURES, cdw: [r.FEATURE_ASYNC_EVENTS, 1 << 8] };
    assert.equal(driver.admin(feature).status, r.OK);
    driver.disk.resize(3 << 20);
    assert.deepEqual(driver.answer(0), { status: r.OK, result: OURS });
    driver.disk.resize(4 << 20);
    driver.submit(0, { opcode: r.ADMIN_ASYNC_EVENT });
    assert.equal(driver.admin(log).status, r.OK);
    assert.equal(changed(), 1);
    assert.equal(driver.admin(log).status, r.OK);
    assert.equal(changed(), 0);
    driver.disk.resize(5 << 20);
    assert.deepEqual(driver.answer(0), { status: r.OK, result: OURS });
    driver.admin({ opcode: r.ADMIN_IDENTIFY, cdw: [0] });
    assert.equal(changed(), 10240);
  });

  it('has namespaces that come and go, and tells of each', async () => {
    const driver = new Driver().withQueues();
    const second = new TestDisk(3 << 20);
    const feature = { opcode: r.ADMIN_SET_FEATURES, cdw: [r.FEATURE_ASYNC_EVENTS, 1 << 8] };
    assert.equal(driver.admin(feature).status, r.OK);
    driver.submit(0, { opcode: r.ADMIN_ASYNC_EVENT });
    driver.nvme.attach(5, second);
    assert.deepEqual(driver.answer(0), { status: r.OK, result: 0x4_0002 });
    const words = (): readonly number[] =>
      [0, 4, 8].map((at) => driver.memory.view.getUint32(DATA + at, true));
    const log = { opcode: r.ADMIN_GET_LOG, cdw: [(1023 << 16) | r.LOG_CHANGED_NAMESPACES] };
    assert.equal(driver.admin(log).status, r.OK);
    assert.deepEqual(words(), [5, 0, 0]);
    const identify = (kind: number, nsid: number) =>
      driver.admin({ opcode: r.ADMIN_IDENTIFY, nsid, cdw: [kind] }).status;
    const lists = [
      { after: 0, list: [1, 5, 0] },
      { after: 1, list: [5, 0, 0] },
      { after: 5, list: [0, 0, 0] },
    ];
    for (const { after, list } of lists) {
      assert.equal(identify(2, after), r.OK);
      assert.deepEqual(words(), list);
    }
    assert.equal(identify(0, 5), r.OK);
    assert.deepEqual(words(), [6144, 0, 6144]);
    assert.equal(identify(0, 4), r.OK);
    assert.deepEqual(words(), [0, 0, 0], 'no namespace has that identifier');
    assert.equal(identify(3, 4), r.INVALID_NAMESPACE);
    for (const nsid of [0, r.MOST_NAMESPACES + 1, r.ALL_NAMESPACES])
      assert.equal(identify(0, nsid), r.INVALID_NAMESPACE);
    assert.equal(await driver.io({ ...readWrite(r.IO_READ, 6143, 1), nsid: 5 }), r.OK);
    assert.equal(await driver.io({ ...readWrite(r.IO_READ, 6143, 1) }), r.LBA_OUT_OF_RANGE);
    assert.equal(await driver.io({ opcode: r.IO_FLUSH, nsid: r.ALL_NAMESPACES }), r.OK);
    assert.deepEqual([driver.disk.log, second.log], [['flush'], ['read 3145216+512', 'flush']]);
    await driver.nvme.detach(5);
    assert.equal(await driver.io({ ...readWrite(r.IO_READ, 0, 1), nsid: 5 }), r.INVALID_NAMESPACE);
    second.resize(1 << 20);
    assert.equal(driver.admin(log).status, r.OK);
    assert.deepEqual(words(), [5, 0, 0]);
  });

  it('gives a disk back when its last request has ended', async () => {
    const driver = new Driver().withQueues();
    const second = new TestDisk(1 << 20);
    driver.nvme.attach(2, second);
    driver.submit(1, { ...readWrite(r.IO_WRITE, 0, 1), nsid: 2 });
    await driver.nvme.detach(2);
    assert.equal(driver.answer(1).status, r.OK);
    assert.deepEqual(second.log, ['write 0+512']);
  });

  const formats = [
    { name: 'erases', settings: 1 << 9, status: r.OK, log: ['unmap 0+1048576'] },
    { name: 'erases all', settings: 0, nsid: r.ALL_NAMESPACES, log: ['unmap 0+1048576'] },
    { name: 'has no second format', settings: 1, status: r.FORMAT_INVALID },
    { name: 'protects no data', settings: 1 << 5, status: r.FORMAT_INVALID },
    { name: 'has no keys to forget', settings: 2 << 9, status: r.INVALID_FIELD },
    { name: 'needs a namespace', settings: 0, nsid: 3, status: r.INVALID_NAMESPACE },
    { name: 'does not write to what may be read', readOnly: true, status: r.READ_ONLY_RANGE },
  ];
  for (const { name, settings = 0, nsid = 1, readOnly = false, status = r.OK, log } of formats)
    it(`Format NVM ${name}`, async () => {
      const driver = new Driver();
      driver.disk.readOnly = readOnly;
      driver.submit(0, { opcode: r.ADMIN_FORMAT, nsid, cdw: [settings] });
      await driver.nvme.idle();
      assert.deepEqual([driver.answer(0).status, driver.disk.log], [status, log ?? []]);
    });

  it('writes, reads back, and interrupts by the vector of the queue', async () => {
    const driver = new Driver().withQueues();
    driver.memory.ram.fill(0xa5, DATA, DATA + 8 * BLOCK);
    assert.equal(await driver.io(readWrite(r.IO_WRITE, 16, 8)), r.OK);
    driver.memory.ram.fill(0, DATA, DATA + 8 * BLOCK);
    driver.memory.written.length = 0;
    assert.equal(await driver.io(readWrite(r.IO_READ, 16, 8)), r.OK);
    assert.ok(driver.memory.ram.subarray(DATA, DATA + 8 * BLOCK).every((byte) => byte === 0xa5));
    assert.deepEqual(driver.disk.log, ['write 8192+4096', 'read 8192+4096']);
    assert.deepEqual(driver.interrupts.messages.slice(-2), [1, 1]);
    assert.deepEqual(driver.memory.written[0], { paddr: DATA, lengthBytes: 8 * BLOCK });
  });

  it('answers within the doorbell what the host has at hand', async () => {
    const driver = new Driver().withQueues();
    driver.disk.isPrompt = true;
    driver.memory.ram.fill(0xa5, DATA, DATA + 8 * BLOCK);
    driver.submit(1, readWrite(r.IO_WRITE, 16, 8));
    assert.equal(driver.answer(1).status, r.OK);
    driver.memory.ram.fill(0, DATA, DATA + 8 * BLOCK);
    driver.submit(1, readWrite(r.IO_READ, 16, 8));
    assert.equal(driver.answer(1).status, r.OK);
    assert.ok(driver.memory.ram.subarray(DATA, DATA + 8 * BLOCK).every((byte) => byte === 0xa5));
    const FUA = 2 ** 30;
    assert.equal(await driver.io(readWrite(r.IO_WRITE, 16, 1, FUA)), r.OK);
    const prompt = ['prompt write 8192+4096', 'prompt read 8192+4096'];
    assert.deepEqual(driver.disk.log, [...prompt, 'write 8192+512', 'flush']);
  });

  it('reads as one request into pages of a PRP list, in any order', async () => {
    const driver = new Driver().withQueues();
    for (let i = 0; i < driver.disk.sizeBytes; i++) driver.disk.bytes[i] = (i >> 12) + 1;
    const LIST = 0x3_0000;
    const pages = [0x5_0000, 0x4_2000, 0x4_1000];
    for (const [i, page] of pages.entries()) driver.memory.view.setUint32(LIST + i * 8, page, true);
    const read = { ...readWrite(r.IO_READ, 0, 25), prp1: DATA + PAGE - BLOCK, prp2: LIST };
    assert.equal(await driver.io(read), r.OK);
    assert.deepEqual(driver.disk.log, ['read 0+12800']);
    const seen = [DATA + PAGE - BLOCK, ...pages].map((page) => driver.memory.ram[page]);
    assert.deepEqual(seen, [1, 1, 2, 3]);
  });

  const others = [
    { name: 'flush', command: { opcode: r.IO_FLUSH }, log: ['flush'] },
    {
      name: 'forced write',
      command: readWrite(r.IO_WRITE, 0, 1, r.RW_FUA),
      log: ['write 0+512', 'flush'],
    },
    { name: 'zeroes', command: readWrite(r.IO_WRITE_ZEROES, 8, 8), log: ['zero 4096+4096'] },
    {
      name: 'zeroes that may unmap',
      command: readWrite(r.IO_WRITE_ZEROES, 8, 8, r.WZ_DEALLOCATE),
      log: ['unmap 4096+4096'],
    },
  ];
  for (const { name, command, log } of others)
    it(name, async () => {
      const driver = new Driver().withQueues();
      assert.equal(await driver.io(command), r.OK);
      assert.deepEqual(driver.disk.log, log);
    });

  it('discards ranges', async () => {
    const driver = new Driver().withQueues();
    const { view } = driver.memory;
    for (const [i, [first, count]] of [
      [8, 8],
      [0, 0],
      [64, 1],
    ].entries()) {
      view.setUint32(DATA + i * 16 + 4, count ?? 0, true);
      view.setUint32(DATA + i * 16 + 8, first ?? 0, true);
    }
    const command = { opcode: r.IO_DSM, cdw: [2, r.DSM_DEALLOCATE] };
    assert.equal(await driver.io(command), r.OK);
    assert.deepEqual(driver.disk.log, ['discard 4096+4096', 'discard 32768+512']);
  });

  it('without its write cache makes each write stable', async () => {
    const driver = new Driver().withQueues();
    driver.admin({ opcode: r.ADMIN_SET_FEATURES, cdw: [r.FEATURE_WRITE_CACHE, 0] });
    await driver.io(readWrite(r.IO_WRITE, 0, 1));
    assert.deepEqual(driver.disk.log, ['write 0+512', 'flush']);
  });

  const refused = [
    { name: 'past the end', command: readWrite(r.IO_READ, 2047, 2), status: r.LBA_OUT_OF_RANGE },
    {
      name: 'another namespace',
      command: { opcode: r.IO_READ, nsid: 2 },
      status: r.INVALID_NAMESPACE,
    },
    { name: 'an unknown command', command: { opcode: 0x7f }, status: r.INVALID_OPCODE },
    {
      name: 'memory that is not there',
      command: { ...readWrite(r.IO_READ, 0, 1), prp1: 0xfff0_0000 },
      status: r.DATA_TRANSFER_ERROR,
    },
    {
      name: 'a list that is not there',
      command: { ...readWrite(r.IO_READ, 0, 64), prp2: 0xfff0_0000 },
      status: r.DATA_TRANSFER_ERROR,
    },
    {
      name: 'a second page with an offset',
      command: { ...readWrite(r.IO_READ, 0, 16), prp2: DATA + 8 },
      status: r.PRP_OFFSET_INVALID,
    },
  ];
  for (const { name, command, status } of refused)
    it(`refuses ${name}`, async () => {
      const driver = new Driver().withQueues();
      assert.equal(await driver.io(command), status);
      assert.deepEqual(driver.disk.log, []);
    });

  const failures = [
    { status: 'io-error', write: r.WRITE_FAULT, read: r.READ_ERROR },
    { status: 'no-space', write: r.CAPACITY_EXCEEDED, read: r.CAPACITY_EXCEEDED },
  ] as const;
  for (const { status, write, read } of failures)
    it(`passes on that the host says ${status}`, async () => {
      const driver = new Driver().withQueues();
      driver.disk.status = status;
      assert.equal(await driver.io(readWrite(r.IO_WRITE, 0, 1)), write);
      assert.equal(await driver.io(readWrite(r.IO_READ, 0, 1)), read);
    });

  it('does not write to a disk that may only be read', async () => {
    const driver = new Driver().withQueues();
    driver.disk.readOnly = true;
    assert.equal(await driver.io(readWrite(r.IO_WRITE, 0, 1)), r.READ_ONLY_RANGE);
    assert.deepEqual(driver.disk.log, []);
  });

  it('keeps answers until the completion queue has room', async () => {
    const driver = new Driver().withQueues();
    for (let i = 0; i < ENTRIES + 2; i++) {
      driver.submit(1, readWrite(r.IO_READ, i, 1));
      await driver.nvme.idle();
    }
    for (let i = 0; i < ENTRIES + 2; i++) assert.equal(driver.answer(1).status, r.OK);
    assert.equal(driver.disk.log.length, ENTRIES + 2);
  });

  it('without MSI-X holds its pin until the answers are read', () => {
    const driver = new Driver();
    driver.interrupts.isMsixEnabled = false;
    driver.submit(0, { opcode: r.ADMIN_IDENTIFY, cdw: [1] });
    assert.equal(driver.interrupts.asserted, true);
    driver.write(r.INTMS, 1);
    assert.equal(driver.interrupts.asserted, false);
    driver.write(r.INTMC, 1);
    assert.equal(driver.interrupts.asserted, true);
    driver.answer(0);
    assert.equal(driver.interrupts.asserted, false);
  });

  const queues = [
    { name: 'number 0', cdw: [7 << 16, 1], status: r.QID_INVALID },
    { name: 'a number beyond the most', cdw: [(7 << 16) | 0xff, 1], status: r.QID_INVALID },
    { name: 'one entry', cdw: [1, 1], status: r.QUEUE_SIZE_INVALID },
    { name: 'too many entries', cdw: [0xffff_0001, 1], status: r.QUEUE_SIZE_INVALID },
    { name: 'scattered memory', cdw: [(7 << 16) | 1, 0], status: r.INVALID_FIELD },
    { name: 'no such vector', cdw: [(7 << 16) | 1, 0xffff_0003], status: r.VECTOR_INVALID },
  ];
  for (const { name, cdw, status } of queues)
    it(`makes no queue with ${name}`, () =>
      assert.equal(
        new Driver().admin({ opcode: r.ADMIN_CREATE_CQ, prp1: CQ, cdw }).status,
        status,
      ));

  it('deletes a completion queue only when nobody uses it', () => {
    const driver = new Driver().withQueues();
    const remove = (opcode: number) => driver.admin({ opcode, cdw: [1] }).status;
    assert.equal(remove(r.ADMIN_DELETE_CQ), r.QUEUE_DELETION_INVALID);
    assert.equal(remove(r.ADMIN_DELETE_SQ), r.OK);
    assert.equal(remove(r.ADMIN_DELETE_CQ), r.OK);
    assert.equal(remove(r.ADMIN_DELETE_CQ), r.QID_INVALID);
  });

  it('answers nothing of before a reset after it', async () => {
    const driver = new Driver().withQueues();
    driver.submit(1, readWrite(r.IO_READ, 0, 1));
    driver.write(r.CC, 0);
    driver.interrupts.messages.length = 0;
    assert.equal(driver.nvme.readBar(0, r.CSTS, 4), r.CSTS_RDY, 'it still may write');
    await driver.nvme.idle();
    assert.deepEqual(driver.interrupts.messages, []);
    assert.equal(driver.nvme.readBar(0, r.CSTS, 4), 0);
  });

  it('flushes before it says that it is shut down', async () => {
    const driver = new Driver();
    driver.write(r.CC, 0x46_4001);
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(driver.disk.log, ['flush']);
    assert.equal(driver.nvme.readBar(0, r.CSTS, 4), r.CSTS_RDY | r.CSTS_SHST_DONE);
  });

  it('takes no more commands from a guest that does not read its answers, until it does', async () => {
    const driver = new Driver().withQueues();
    for (let i = 0; i < ENTRIES + 4; i++) {
      driver.submit(1, readWrite(r.IO_READ, i, 1));
      await driver.nvme.idle();
    }
    // As many as the completion queue has room for, and the one that found none.
    assert.equal(driver.disk.log.length, ENTRIES);
    for (let i = 0; i < ENTRIES; i++) assert.equal(driver.answer(1).status, r.OK);
    await driver.nvme.idle();
    assert.equal(driver.disk.log.length, ENTRIES + 4);
  });

  it('survives a driver that writes at random', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const driver = new Driver().withQueues();
      const random = randomNumbers(seed);
      for (let step = 0; step < 200; step++) disturb(driver, random);
      await driver.nvme.idle();
    }
  });
});

/** Writes anything to a queue or to the data, then to a register, mostly a doorbell. */
function disturb(driver: Driver, random: (limit: number) => number): void {
  const at = [ASQ, SQ, DATA][random(3)] ?? 0;
  const bytes = driver.memory.ram.subarray(at, at + ENTRIES * r.SQE_BYTES);
  for (let i = 0; i < 32; i++) bytes[random(bytes.length)] = random(random(8) ? 4 : 256);
  const register = random(4) ? r.DOORBELLS + 4 * random(6) : 4 * random(16);
  driver.write(register, random(random(3) ? ENTRIES + 1 : 2 ** 32));
  driver.nvme.readBar(0, random(0x2000), 1 << random(3));
}
