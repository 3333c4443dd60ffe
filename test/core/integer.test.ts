import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { S_RAX, S_RBP, S_RDX, S_RSP } from '#ir/state.ts';
import { SystemMachine } from './system-machine.ts';

const DE = 0;
const GP = 13;
const CF = 1;
const AF = 0x10;
const OF = 0x800;

const machine = new SystemMachine();
machine.protect(0);

/** Sets RDX:RAX and flags, calls, gives RAX, RDX and the flags. */
function run(name: string, rax: bigint, flags: number, ...args: (number | bigint)[]): string {
  machine.set64(S_RAX, rax);
  machine.call('set_arithmetic_flags', machine.cpu, flags);
  machine.call(name, machine.cpu, ...args);
  return `${machine.get64(S_RAX).toString(16)} ${(machine.flags & 0x8d5).toString(16)}`;
}

// Expected values were taken from an Intel processor, undefined flags included.
describe('decimal adjustment', () => {
  const cases: readonly [string, bigint, number, string, number?][] = [
    ['daa', 0x9an, 0, '0 55'],
    ['daa', 0x00n, CF, '60 5'],
    ['daa', 0x00n, AF, '6 14'],
    ['das', 0x00n, AF, 'fa 95'],
    ['aaa', 0x0fn, 0, '105 15'],
    ['aas', 0x00n, AF, 'fe0a 15'],
    ['aam', 0x3fn, 0, '603 4', 10],
    ['aad', 0x0603n, 0, '3f 4', 10],
    ['aad', 0x0106n, 0, '10 10', 10],
    ['aad', 0x017fn, 0, '80 890', 1],
  ];
  for (const [name, rax, flags, expected, base] of cases) {
    it(`${name} of ${rax.toString(16)} with flags ${flags.toString(16)}`, () => {
      const args = base === undefined ? [] : [base];
      assert.equal(run(name, rax, flags, ...args), expected);
    });
  }

  it('AAM by 0 raises #DE', () => {
    assert.deepEqual(machine.attempt('aam', 0), { vector: DE });
  });
});

describe('division', () => {
  function divide(name: string, rdx: bigint, rax: bigint, divisor: bigint | number) {
    machine.set64(S_RDX, rdx);
    machine.set64(S_RAX, rax);
    const fault = machine.attempt(name, divisor);
    return [fault?.vector, machine.get64(S_RAX), machine.get64(S_RDX)];
  }

  it('of 128 by 64 bits', () => {
    const dividend = (0x1234567n << 64n) | 0xfedcba9876543210n;
    const divisor = 0x8000000000000001n;
    assert.deepEqual(divide('div64', dividend >> 64n, dividend & ((1n << 64n) - 1n), divisor), [
      undefined,
      dividend / divisor,
      dividend % divisor,
    ]);
  });

  it('cuts towards 0', () => {
    const minus7 = (1n << 64n) - 7n;
    const ones = (1n << 64n) - 1n;
    assert.deepEqual(divide('idiv64', ones, minus7, 2n), [undefined, (1n << 64n) - 3n, ones]);
  });

  it('raises #DE where the quotient does not fit, and changes nothing', () => {
    assert.deepEqual(divide('div64', 5n, 1n, 5n), [DE, 1n, 5n]);
    assert.deepEqual(divide('div64', 0n, 1n, 0n), [DE, 1n, 0n]);
    const least = 1n << 63n;
    const ones = (1n << 64n) - 1n;
    assert.deepEqual(divide('idiv64', ones, least, -1n), [DE, least, ones]);
    assert.deepEqual(divide('idiv32', 0x80000000n, 0n, -1), [DE, 0n, 0x80000000n]);
    assert.deepEqual(divide('idiv8', 0n, 0x8000n, 0xff), [DE, 0x8000n, 0n]);
    assert.deepEqual(divide('div8', 0n, 0x0500n, 5), [DE, 0x500n, 0n]);
  });
});

describe('rotation through the carry', () => {
  it('by whole turns changes nothing', () => {
    machine.call('set_arithmetic_flags', machine.cpu, CF | OF);
    assert.equal(machine.call('rcl', machine.cpu, 0x5an, 9, 1), 0x5an);
    assert.equal(machine.flags & (CF | OF), CF | OF);
  });

  it('is a ring of one bit more than the operand', () => {
    machine.call('set_arithmetic_flags', machine.cpu, CF);
    assert.equal(machine.call('rcl', machine.cpu, 0x8000000000000000n, 1, 8), 1n);
    assert.equal(machine.flags & (CF | OF), CF | OF);
    assert.equal(machine.call('rcr', machine.cpu, 1n, 1, 8), -0x8000000000000000n);
    assert.equal(machine.flags & CF, CF);
  });
});

describe('the other helpers', () => {
  it('reach bits before and behind the operand', () => {
    assert.equal(machine.call('bit_address', machine.cpu, 0x1000n, -1n, 4), 0xffcn);
    assert.equal(machine.call('bit_address', machine.cpu, 0x1000n, 64n, 4), 0x1008n);
    assert.equal(machine.call('bit_address', machine.cpu, 0n, -1n, 4), 0xfffffffcn);
  });

  it('CRC-32C of "123456789" is the check value of its specification', () => {
    let crc: number | bigint | undefined = 0xffffffff;
    for (const c of '123456789') {
      crc = machine.call('crc32c', machine.cpu, Number(crc), BigInt(c.charCodeAt(0)), 1);
    }
    assert.equal(~Number(crc) >>> 0, 0xe3069283);
  });

  it('CMPXCHG16B wants an aligned address', () => {
    assert.deepEqual(machine.attempt('cmpxchg16b', 0x5008n), { vector: GP, error: 0 });
  });

  it('ENTER copies the frames of the levels above', () => {
    machine.set64(S_RSP, 0x7000n);
    machine.set64(S_RBP, 0x7100n);
    machine.put32(0x70fc, 0x1111);
    machine.put32(0x70f8, 0x2222);
    machine.call('enter', machine.cpu, 0x20, 3, 4, 4);
    const pushed = [0x6ffc, 0x6ff8, 0x6ff4, 0x6ff0].map(machine.mem32);
    assert.deepEqual(pushed, [0x7100, 0x1111, 0x2222, 0x6ffc]);
    assert.deepEqual([machine.get64(S_RBP), machine.get64(S_RSP)], [0x6ffcn, 0x6fd0n]);
  });
});
