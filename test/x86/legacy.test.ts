import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { writeState } from '#cpu/vcpu-state.ts';
import { S_HALTED, S_REC, S_REGS } from '#ir/state.ts';
import { BareMachine } from './bare-machine.ts';

// Instructions and forms that 64-bit mode has not, so that the host oracle does not reach them: 16- and 32-bit code,
// protected mode without paging.

const CODE = 0x1000;
const DATA = 0x8000;
const HLT = 0xf4;
const BR = 5;
const machine = new BareMachine(4 << 20);

interface Outcome {
  readonly exception: number;
  readonly regs: readonly number[];
}

/** Runs `code` and a HLT. Registers EAX ECX EDX EBX ESP EBP ESI EDI; `big` is 32-bit code over flat segments. */
function run(code: readonly number[], regs: readonly number[], big = true): Outcome {
  const { memory, cpu, ram, bytes, view, vcpu } = machine;
  bytes.set([...code, HLT], ram + CODE);
  const limit = big ? 0xffffffff : 0xffff;
  const data = { selector: 0x10, base: 0n, limit, rights: big ? 0xc093 : 0x93 };
  const text = { selector: 0x08, base: 0n, limit, rights: big ? 0xc09b : 0x9b };
  writeState(memory, cpu, {
    segments: [data, text, data, data, data, data],
    cr0: 0x11n,
    regs: Array.from({ length: 16 }, (_, i) => BigInt(regs[i] ?? 0)),
    rflags: 2n,
    rip: BigInt(CODE),
  });
  machine.set32(S_HALTED, 0);
  machine.set32(S_REC, 0);
  vcpu.core.updateKey(cpu);
  vcpu.core.drop_blocks(cpu);
  machine.run();
  return {
    exception: machine.exception,
    regs: Array.from({ length: 8 }, (_, i) => view.getUint32(cpu + S_REGS + i * 8, true)),
  };
}

const dwords = (paddr: number, count: number) =>
  Array.from({ length: count }, (_, i) =>
    machine.view.getUint32(machine.ram + paddr + i * 4, true),
  );
const put32 = (paddr: number, ...values: number[]) =>
  values.forEach((value, i) => {
    machine.view.setUint32(machine.ram + paddr + i * 4, value, true);
  });

describe('32-bit code', () => {
  it('PUSHA and POPA: the pushed ESP is the old one, the popped one is dropped', () => {
    const regs = [1, 2, 3, 4, DATA + 64, 6, 7, 8];
    const pushed = run([0x60], regs);
    assert.deepEqual(dwords(DATA + 32, 8), [8, 7, 6, DATA + 64, 4, 3, 2, 1]);
    assert.equal(pushed.regs[4], DATA + 32);
    const popped = run([0x61], [0, 0, 0, 0, DATA + 32, 0, 0, 0]);
    assert.deepEqual(popped.regs, regs);
  });

  it('PUSHA of 16 bits leaves the upper halves of what POPA loads', () => {
    run([0x66, 0x60], [1, 2, 3, 4, DATA + 16, 6, 7, 8]);
    const high = 0xabcd0000;
    const { regs } = run([0x66, 0x61], [high, high, high, high, DATA, high, high, high]);
    assert.deepEqual(
      regs.map((r) => r & 0xffff),
      [1, 2, 3, 4, (DATA + 16) & 0xffff, 6, 7, 8],
    );
    assert.equal((regs[0] ?? 0) >>> 16, 0xabcd);
  });

  it('BOUND raises #BR outside of signed limits', () => {
    put32(DATA, -5 >>> 0, 5);
    for (const [index, exception] of [
      [-5, -1],
      [5, -1],
      [-6, BR],
      [6, BR],
    ] as const) {
      const outcome = run([0x62, 0x03], [index >>> 0, 0, 0, DATA]);
      assert.equal(outcome.exception, exception, `index ${index}`);
    }
  });

  it('INC and DEC of the one-byte forms, SALC, LAHF', () => {
    // inc ecx; dec edx; stc; salc; mov bl, al; lahf
    const { regs } = run([0x41, 0x4a, 0xf9, 0xd6, 0x88, 0xc3, 0x9f], [0, 1, 1, 0]);
    assert.deepEqual(regs.slice(1, 4), [2, 0, 0xff]);
    assert.equal((regs[0] ?? 0) >> 8, 0x47, 'ZF PF CF: DEC and STC, SALC changes none');
  });

  it('BT with a register index reaches both ways and wraps at 4 GiB', () => {
    // bt [ebx], ecx; setc al
    const code = [0x0f, 0xa3, 0x0b, 0x0f, 0x92, 0xc0];
    put32(DATA, 0x80000000, 0, 1);
    assert.equal(run(code, [0, 31, 0, DATA]).regs[0], 1);
    assert.equal(run(code, [0, 64, 0, DATA]).regs[0], 1);
    assert.equal(run(code, [0, -1 >>> 0, 0, DATA + 4]).regs[0], 1);
    put32(4, 1);
    assert.equal(run(code, [0, 0x14 * 8, 0, 0xfffffff0]).regs[0], 1);
  });

  it('REP MOVSW with 16-bit addresses goes on at the right instruction', () => {
    put32(DATA, 0x22221111, 0x44443333);
    // rep movsw, 67h: SI DI CX
    const high = 0x50000;
    const code = [0x66, 0x67, 0xf3, 0xa5, 0x40];
    const { regs } = run(code, [0, high | 3, 0, 0, 0, 0, high | DATA, high | (DATA + 64)]);
    assert.deepEqual(dwords(DATA + 64, 2), [0x22221111, 0x3333]);
    assert.deepEqual(regs, [1, high, 0, 0, 0, 0, high | (DATA + 6), high | (DATA + 70)]);
  });

  it('LOOP and JCXZ count with the address size', () => {
    // inc eax; loop (CX) back
    const looped = run([0x40, 0x67, 0xe2, 0xfc], [0, 0x70003]);
    assert.deepEqual(looped.regs.slice(0, 2), [3, 0x70000]);
    // jcxz over an inc eax
    assert.equal(run([0x67, 0xe3, 0x01, 0x40], [0, 0x70000]).regs[0], 0);
    assert.equal(run([0xe3, 0x01, 0x40], [0, 0x70000]).regs[0], 1);
  });

  it('ENTER and LEAVE', () => {
    const { regs } = run([0xc8, 0x10, 0, 1], [0, 0, 0, 0, DATA + 64, 0x1234]);
    assert.deepEqual([regs[4], regs[5]], [DATA + 64 - 8 - 16, DATA + 60]);
    assert.deepEqual(dwords(DATA + 56, 2), [DATA + 60, 0x1234]);
    const left = run([0xc9], [0, 0, 0, 0, 0, DATA + 60]).regs;
    assert.deepEqual([left[4], left[5]], [DATA + 64, 0x1234]);
  });
});

describe('16-bit code', () => {
  it('the stack wraps at 64 KiB', () => {
    put32(0xfffc, 0);
    const { regs } = run([0x50], [0x12345678, 0, 0, 0, 0xabcd0000], false);
    assert.equal(regs[4], 0xabcdfffe);
    assert.deepEqual(dwords(0xfffc, 1), [0x56780000]);
  });

  it('XLAT adds within 16 bits', () => {
    machine.bytes[machine.ram + 0x10] = 0x99;
    const { regs } = run([0xd7], [0x120, 0, 0, 0xfff0], false);
    assert.equal(regs[0], 0x199);
  });

  it('near calls push and return within 16 bits', () => {
    // call +1; hlt; (inc ax) ret
    const { regs } = run([0xe8, 1, 0, HLT, 0x40, 0xc3], [0, 0, 0, 0, DATA], false);
    assert.deepEqual([regs[0], regs[4]], [1, DATA]);
  });
});
