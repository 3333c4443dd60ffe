import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { applyModel, findModel } from '#cpu/cpuid.ts';
import { writeState } from '#cpu/vcpu-state.ts';
import { S_CR4, S_FPU_EMPTY, S_FPU_STATUS, S_FPU_TOP, S_HALTED, S_REC, S_REGS } from '#ir/state.ts';
import { X87_FREEZE } from '#ir/state-system.ts';
import { BareMachine } from './bare-machine.ts';

// What the host oracle does not reach: exceptions that wait, stores that fault, the environment in real mode.

const CODE = 0x1000;
const DATA = 0x8000;
const HLT = 0xf4;
const MF = 16;
const GP = 13;
const PE = 1;
const OUTCOMES = new Map([
  [MF, 'raises #MF at'],
  [X87_FREEZE, 'stops at'],
  [-1, 'lets pass'],
]);
const NE = 0x20;
const CR4_OSFXSR = 0x200;
const FNINIT = [0xdb, 0xe3];
const FLD1 = [0xd9, 0xe8];
const FLDZ = [0xd9, 0xee];
const FLDPI = [0xd9, 0xeb];
const FWAIT = [0x9b];
/** FLDCW [DATA], then 1 / 0. */
const DIVIDE = [...FNINIT, 0xd9, 0x2d, ...dword(DATA), ...FLD1, ...FLDZ, 0xde, 0xf9];
const ZERO_DIVIDE_UNMASKED = 0x37b;
const machine = new BareMachine(4 << 20);

function dword(value: number): number[] {
  return [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
}

/** Runs `code` and a HLT; returns the exception, or -1. Without CR0.PE it is 16-bit code. */
function run(code: readonly number[], cr0 = PE | NE, dataLimit = 0xffffffff): number {
  const { memory, cpu, ram, bytes, vcpu } = machine;
  bytes.set([...code, HLT], ram + CODE);
  const big = (cr0 & PE) !== 0;
  const text = { selector: 8, base: 0n, limit: 0xffffffff, rights: big ? 0xc09b : 0x9b };
  const data = { selector: 0x10, base: 0n, limit: dataLimit, rights: big ? 0xc093 : 0x93 };
  writeState(memory, cpu, {
    segments: [data, text, data, data, data, data],
    cr0: BigInt(cr0 | 0x10),
    rflags: 2n,
    rip: BigInt(CODE),
  });
  machine.set32(S_HALTED, 0);
  machine.set32(S_REC, 0);
  vcpu.core.updateKey(cpu);
  vcpu.core.drop_blocks(cpu);
  machine.run();
  return machine.exception;
}

const field = (offset: number) => machine.view.getUint32(machine.cpu + offset, true);
const word = (paddr: number) => machine.view.getUint16(machine.ram + paddr, true);
const words = (paddr: number, count: number) =>
  Array.from({ length: count }, (_, i) => word(paddr + i * 2));

describe('an x87 exception that is not masked', () => {
  const setUp = () => machine.view.setUint16(machine.ram + DATA, ZERO_DIVIDE_UNMASKED, true);

  it('changes no register and raises nothing by itself', () => {
    setUp();
    assert.equal(run(DIVIDE), -1);
    assert.equal(field(S_FPU_STATUS) & 0x80ff, 0x8084);
    assert.equal(field(S_FPU_TOP), 6);
  });

  for (const { name, next, expected, cr0 = PE | NE } of [
    { name: 'FWAIT', next: FWAIT, expected: MF },
    { name: 'FLD1', next: FLD1, expected: MF },
    { name: 'FLDCW', next: [0xd9, 0x2d, ...dword(DATA)], expected: MF },
    { name: 'an MMX instruction', next: [0x0f, 0xef, 0xc0], expected: MF },
    { name: 'EMMS', next: [0x0f, 0x77], expected: MF },
    {
      name: 'an MMX load from nowhere',
      next: [0x0f, 0x6f, 0x05, ...dword(0xfffffffc)],
      expected: MF,
    },
    {
      name: 'FLD from nowhere',
      next: [0xdd, 0x05, ...dword(0xfffffffc)],
      expected: MF,
    },
    { name: 'FWAIT with CR0.NE clear', next: FWAIT, expected: X87_FREEZE, cr0: PE },
    { name: 'FNSTSW', next: [0xdf, 0xe0], expected: -1 },
    { name: 'FNSTCW', next: [0xd9, 0x3d, ...dword(DATA + 64)], expected: -1 },
    { name: 'FNCLEX and FWAIT', next: [0xdb, 0xe2, ...FWAIT], expected: -1 },
    { name: 'FNINIT and FWAIT', next: [...FNINIT, ...FWAIT], expected: -1 },
    {
      name: 'FNSTENV, which masks it, and FWAIT',
      next: [0xd9, 0x35, ...dword(DATA + 64), ...FWAIT],
      expected: -1,
    },
  ]) {
    it(`${OUTCOMES.get(expected)} ${name}`, () => {
      setUp();
      assert.equal(run([...DIVIDE, ...next], cr0), expected);
    });
  }

  it('comes back when FLDCW takes the mask from an exception recorded before', () => {
    setUp();
    const masked = [...FNINIT, ...FLD1, ...FLDZ, 0xde, 0xf9];
    assert.equal(run([...masked, ...FWAIT]), -1);
    assert.equal(run([...masked, 0xd9, 0x2d, ...dword(DATA), ...FWAIT]), MF);
  });
});

describe('an x87 store that faults', () => {
  const OUTSIDE = 0x20000;
  for (const [name, store] of [
    ['FSTP m32', [0xd9, 0x1d]],
    ['FSTP m64', [0xdd, 0x1d]],
    ['FSTP m80', [0xdb, 0x3d]],
    ['FISTP m64', [0xdf, 0x3d]],
    ['FISTTP m16', [0xdf, 0x0d]],
    ['FBSTP', [0xdf, 0x35]],
  ] as const) {
    it(`${name}: the stack and the status word are what they were`, () => {
      assert.equal(run([...FNINIT, ...FLDPI, ...store, ...dword(OUTSIDE)], PE | NE, 0xffff), GP);
      assert.equal(field(S_FPU_TOP), 7);
      assert.equal(field(S_FPU_EMPTY), 0x7f);
      assert.equal(field(S_FPU_STATUS), 0);
    });
  }
});

describe('FNSTENV', () => {
  const CONTROL = 0x37f;
  const STATUS = 6 << 11;
  const TAGS = 0x1fff; // R7 valid, R6 zero
  const IP = CODE + 4;
  for (const { name, cr0, prefix, expected } of [
    {
      name: 'protected mode, 16 bits',
      cr0: PE,
      prefix: [0x66],
      expected: [CONTROL, STATUS, TAGS, IP, 0, 0, 0],
    },
    {
      name: 'protected mode, 32 bits',
      cr0: PE,
      prefix: [],
      expected: [CONTROL, 0xffff, STATUS, 0xffff, TAGS, 0xffff, IP, 0, 0, 0, 0, 0, 0, 0xffff],
    },
    {
      name: 'real mode, 16 bits',
      cr0: 0,
      prefix: [],
      expected: [CONTROL, STATUS, TAGS, IP, 0, 0, 0],
    },
    {
      name: 'real mode, 32 bits',
      cr0: 0,
      prefix: [0x66],
      expected: [CONTROL, 0xffff, STATUS, 0xffff, TAGS, 0xffff, IP, 0xffff, 0, 0, 0, 0xffff, 0, 0],
    },
  ]) {
    it(`${name}: ${expected.length * 2} bytes`, () => {
      machine.bytes.fill(0xcc, machine.ram + DATA, machine.ram + DATA + 64);
      const at = cr0 === PE ? [0x35, ...dword(DATA)] : [0x36, DATA & 0xff, DATA >> 8];
      assert.equal(run([...FNINIT, ...FLD1, ...FLDZ, ...prefix, 0xd9, ...at], cr0 | NE), -1);
      assert.deepEqual(words(DATA, expected.length), expected);
      assert.equal(word(DATA + expected.length * 2), 0xcccc);
    });
  }
});

describe('FNSAVE and FRSTOR', () => {
  for (const [name, prefix, bytes] of [
    ['16 bits', [0x66], 94],
    ['32 bits', [], 108],
  ] as const) {
    it(`${name}: ${bytes} bytes hold everything`, () => {
      machine.bytes.fill(0xcc, machine.ram + DATA, machine.ram + DATA + 128);
      const save = [...prefix, 0xdd, 0x35, ...dword(DATA)];
      const restore = [...prefix, 0xdd, 0x25, ...dword(DATA)];
      assert.equal(run([...FNINIT, ...FLD1, ...FLDPI, ...save]), -1);
      assert.equal(field(S_FPU_EMPTY), 0xff, 'FNSAVE initializes');
      assert.equal(word(DATA + bytes), 0xcccc);
      // FSTP ST(0), then ST(0) = 1 to memory.
      const check = [0xdd, 0xd8, 0xdd, 0x1d, ...dword(DATA + 256)];
      assert.equal(run([...FNINIT, ...restore, ...check]), -1);
      assert.equal(machine.view.getFloat64(machine.ram + DATA + 256, true), 1);
      assert.equal(field(S_FPU_EMPTY), 0xff);
    });
  }
});

it('FNSTSW AX leaves the upper half of EAX', () => {
  assert.equal(run([0xb8, ...dword(0x12345678), ...FNINIT, ...FLD1, 0xdf, 0xe0]), -1);
  assert.equal(field(S_REGS), 0x12343800);
});

describe('FCS and FDS', () => {
  const ZERO = DATA + 8;
  const ENVIRONMENT = DATA + 0x100;
  const at = (...opcode: number[]) => [...opcode, ...dword(ENVIRONMENT)];
  const FNSTENV = at(0xd9, 0x35);
  /** Until FDIV of a number by 0 in memory leaves an exception. */
  const divide = [...FNINIT, 0xd9, 0x2d, ...dword(DATA), ...FLD1, 0xdc, 0x35, ...dword(ZERO)];
  const cases = [
    { name: 'FNSTENV, 32 bits', save: FNSTENV, code: 16, data: 24 },
    { name: 'FNSTENV, 16 bits', save: [0x66, ...FNSTENV], code: 8, data: 12 },
    { name: 'FXSAVE', save: at(0x0f, 0xae, 0x05), code: 12, data: 20 },
    {
      name: 'FLDENV gives them back',
      save: [...FNSTENV, ...FNINIT, ...at(0xd9, 0x25), ...FNSTENV],
      code: 16,
      data: 24,
    },
    {
      name: 'FXRSTOR gives them back',
      save: [...at(0x0f, 0xae, 0x05), ...FNINIT, ...at(0x0f, 0xae, 0x0d), ...FNSTENV],
      code: 16,
      data: 24,
    },
    {
      name: 'FNINIT clears them',
      save: [...FNINIT, ...FNSTENV],
      code: 16,
      data: 24,
      cleared: true,
    },
  ];
  const models = [
    { model: 'Nehalem', selectors: [8, 0x10] },
    { model: 'ring0-v2', selectors: [0, 0] },
  ];
  const runOn = (model: string, code: readonly number[], cr0 = PE | NE) => {
    applyModel(machine.memory, machine.cpu, findModel(model));
    machine.view.setUint32(machine.cpu + S_CR4, CR4_OSFXSR, true);
    machine.view.setUint16(machine.ram + DATA, ZERO_DIVIDE_UNMASKED, true);
    machine.bytes.fill(0, machine.ram + ZERO, machine.ram + ZERO + 8);
    machine.bytes.fill(0xcc, machine.ram + ENVIRONMENT, machine.ram + ENVIRONMENT + 512);
    assert.equal(run(code, cr0), -1);
  };
  for (const { model, selectors } of models) {
    for (const { name, save, code, data, cleared = false } of cases)
      it(`${model}: ${name}`, () => {
        runOn(model, [...divide, ...save]);
        const stored = [word(ENVIRONMENT + code), word(ENVIRONMENT + data)];
        assert.deepEqual(stored, cleared ? [0, 0] : selectors);
      });

    it(`${model}: in real mode the instruction's address is linear`, () => {
      const save = [0x66, 0x36, 0xd9, 0x36, ENVIRONMENT & 0xff, ENVIRONMENT >> 8];
      runOn(model, [...FNINIT, ...FLD1, ...save], 0);
      assert.equal(word(ENVIRONMENT + 12), CODE + FNINIT.length + (selectors[0] ?? 0) * 16);
    });
  }
});
