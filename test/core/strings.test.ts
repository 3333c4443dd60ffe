import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { S_RAX, SEG_DS, SEG_ES } from '#ir/state.ts';
import { Random } from '../x86/random.ts';
import { DATA0, type Fault, SystemMachine } from './system-machine.ts';

const GP = 13;
const PF = 14;
const REP = 1;
const REPNE = 2;
const DF = 0x400;
const ZF = 0x40;
const CF = 1;
const RCX = 1;
const RSI = 6;
const RDI = 7;
const DATA = 0x100000;
const BYTES = 0x4000;
const SEED = 20261122;

function long(): SystemMachine {
  const m = new SystemMachine();
  m.long(0);
  return m;
}

const bytesOf = (m: SystemMachine, paddr = DATA, length = BYTES) =>
  new Uint8Array(m.memory.buffer, m.ram + paddr, length);

/** The instruction with REP, run again as long as it says so; gives the number of calls. */
function repeat(m: SystemMachine, name: string, sizes: number, rep = REP): number {
  for (let calls = 1; ; calls++) if (m.call(name, m.cpu, sizes, SEG_DS, rep) === 1) return calls;
}

function fillRandom(m: SystemMachine, random: Random): Uint8Array {
  const bytes = bytesOf(m);
  for (let i = 0; i < bytes.length; i++) bytes[i] = random.below(256);
  return Uint8Array.from(bytes);
}

interface Move {
  readonly size: number;
  readonly from: number;
  readonly to: number;
  readonly count: number;
  readonly down: boolean;
}

/** What REP MOVS is by the book: one element after the other. */
function moveByTheBook(bytes: Uint8Array, { size, from, to, count, down }: Move): void {
  for (let i = 0; i < count; i++) {
    const at = (down ? -i : i) * size;
    bytes.copyWithin(to + at, from + at, from + at + size);
  }
}

function randomMove(random: Random): Move {
  const size = random.pick([1, 2, 4, 8]);
  const count = random.below(2000 / size);
  const down = random.below(3) === 0;
  const from = 4096 + random.below(8192);
  // Often so near that the two overlap.
  const near = from + random.below(64) - 32;
  const to = random.below(2) === 0 ? near : 4096 + random.below(8192);
  return { size, from, to, count, down };
}

describe('REP MOVS', () => {
  it(`moves as one element after the other would, seed ${SEED}`, () => {
    const m = long();
    const random = new Random(SEED);
    for (let i = 0; i < 400; i++) {
      const move = randomMove(random);
      const expected = fillRandom(m, random);
      moveByTheBook(expected, move);
      m.setFlags(move.down ? 2 | DF : 2);
      m.setReg(RSI, DATA + move.from);
      m.setReg(RDI, DATA + move.to);
      m.setReg(RCX, move.count);
      repeat(m, 'movs', move.size | (8 << 8));
      assert.deepEqual(bytesOf(m), expected, JSON.stringify(move));
      const by = move.count * move.size * (move.down ? -1 : 1);
      assert.deepEqual(
        [m.reg(RCX), m.reg(RSI), m.reg(RDI)],
        [0, DATA + move.from + by, DATA + move.to + by],
      );
    }
  });

  it('lets interrupts in between pages', () => {
    const m = long();
    m.setReg(RSI, 0x80000);
    m.setReg(RDI, DATA);
    m.setReg(RCX, 0x30000);
    // 64 KiB at a time, and then once more for the end.
    assert.equal(repeat(m, 'movs', 1 | (8 << 8)), 4);
    assert.equal(m.reg(RCX), 0);
  });

  it('wraps 16-bit indices and leaves the rest of the registers', () => {
    const m = new SystemMachine();
    m.protect(0);
    for (const seg of [SEG_DS, SEG_ES]) m.setSegment(seg, DATA0, 0x100000, 0xffff, 0x93);
    m.update();
    m.setReg(RCX, 0xabc0004);
    bytesOf(m, 0x10fffe, 2).set([1, 2]);
    bytesOf(m, 0x102ffe, 8).fill(7);
    m.setReg(RSI, 0x1111fffe);
    m.setReg(RDI, 0x22222ffe);
    bytesOf(m, 0x100000, 2).set([3, 4]);
    repeat(m, 'movs', 1 | (2 << 8));
    assert.deepEqual([...bytesOf(m, 0x102ffe, 5)], [1, 2, 3, 4, 7]);
    assert.deepEqual([m.reg(RCX), m.reg(RSI), m.reg(RDI)], [0xabc0000, 0x11110002, 0x22223002]);
  });

  it('does nothing for a count of 0, not even to the upper halves', () => {
    const m = long();
    m.setReg(RCX, 0x500000000n);
    m.setReg(RDI, 0x600000000n);
    assert.equal(m.call('movs', m.cpu, 4 | (4 << 8), SEG_DS, REP), 1);
    assert.deepEqual([m.reg(RCX), m.reg(RDI)], [0x500000000, 0x600000000]);
  });
});

describe('a fault in the middle', () => {
  const until = (m: SystemMachine, name: string, sizes: number, rep: number): Fault | undefined => {
    for (let i = 0; i < 100; i++) {
      const fault = m.attempt(name, sizes, SEG_DS, rep);
      if (fault !== undefined) return fault;
    }
    return undefined;
  };

  it('of a page that is not there leaves the registers at its first element', () => {
    const m = long();
    // The first 2 MiB alone are mapped.
    m.put64(0x11000, 0x12007n);
    m.put64(0x12000, 0x87n);
    m.call('flushTlb', m.cpu, 1);
    for (const [name, moved] of [
      ['movs', true],
      ['stos', false],
    ] as const) {
      m.setReg(RSI, DATA);
      // An element that lies in both pages is not written at all.
      m.setReg(RDI, 0x1fdffe);
      m.setReg(RCX, 0x4000);
      assert.deepEqual(until(m, name, 4 | (8 << 8), REP), { vector: PF, error: 2 });
      assert.equal(m.reg(RDI), 0x1ffffe);
      assert.equal(m.reg(RCX), 0x4000 - 0x2000 / 4);
      assert.equal(m.reg(RSI), moved ? DATA + 0x2000 : DATA);
    }
  });

  it('of the segment limit too', () => {
    const m = new SystemMachine();
    m.protect(0);
    m.setSegment(SEG_ES, DATA0, DATA, 0x1234, 0x4093);
    m.update();
    bytesOf(m).fill(0);
    m.setReg(RDI, 0x1000);
    m.setReg(RCX, 0x1000);
    m.set64(S_RAX, 0xffffffffn);
    assert.deepEqual(until(m, 'stos', 4 | (4 << 8), REP), { vector: GP, error: 0 });
    assert.equal(m.reg(RDI), 0x1234);
    assert.equal(m.reg(RCX), 0x1000 - 0x234 / 4);
    assert.equal(m.mem32(DATA + 0x1230), 0xffffffff);
    assert.equal(m.mem32(DATA + 0x1234), 0);
  });

  it('of a comparison leaves the flags as they were', () => {
    const m = new SystemMachine();
    m.protect(0);
    m.setSegment(SEG_ES, DATA0, DATA, 0xfff, 0x4093);
    m.update();
    bytesOf(m).fill(5);
    m.call('set_arithmetic_flags', m.cpu, CF);
    m.setReg(RDI, 0xff0);
    m.setReg(RCX, 0x100);
    m.set64(S_RAX, 5n);
    assert.deepEqual(until(m, 'scas', 1 | (4 << 8), REP), { vector: GP, error: 0 });
    assert.equal(m.reg(RCX), 0xf0);
    assert.equal(m.flags & (CF | ZF), CF);
  });
});

describe('REPE and REPNE', () => {
  it('stop behind the element that decides', () => {
    const m = long();
    bytesOf(m).fill(0);
    bytesOf(m, DATA + 300, 1)[0] = 9;
    m.set64(S_RAX, 9n);
    m.setReg(RDI, DATA);
    m.setReg(RCX, 1000);
    repeat(m, 'scas', 1 | (8 << 8), REPNE);
    assert.deepEqual([m.reg(RDI), m.reg(RCX), m.flags & ZF], [DATA + 301, 699, ZF]);
    m.setReg(RSI, DATA + 0x1000);
    m.setReg(RDI, DATA);
    m.setReg(RCX, 1000);
    repeat(m, 'cmps', 1 | (8 << 8), REP);
    assert.deepEqual([m.reg(RSI), m.reg(RCX)], [DATA + 0x1000 + 301, 699]);
    assert.equal(m.flags & (ZF | CF), CF, '0 is less than 9');
  });

  it('leave the flags alone when the count is 0', () => {
    const m = long();
    m.call('set_arithmetic_flags', m.cpu, CF | ZF);
    m.setReg(RCX, 0);
    repeat(m, 'cmps', 1 | (8 << 8), REP);
    assert.equal(m.flags & (CF | ZF), CF | ZF);
  });
});
