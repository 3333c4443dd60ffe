import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readState, writeState } from '#cpu/vcpu-state.ts';
import { BareMachine } from './bare-machine.ts';
import { CaseRunner } from './cases.ts';
import { CODE_PADDR, DATA_PADDR } from './host-cpu.ts';
import { Random } from './random.ts';

// MOVS and STOS over several pages go in pieces; what they leave must be what one element after another leaves.

const DATA_BYTES = 65536;
const [RAX, RCX, RSI, RDI] = [0, 1, 6, 7];
const HLT = 0xf4;
const GP = 13;
const machine = new BareMachine(8 * 1024 * 1024);
new CaseRunner(machine); // segments and mode

interface Run {
  readonly size: 1 | 2 | 4 | 8;
  readonly from: number;
  readonly to: number;
  readonly count: number;
  /** What STOS stores; undefined: MOVS. */
  readonly value: bigint | undefined;
}

function codeOf({ size, value }: Run): number[] {
  const wide = size === 8 ? [0x48] : [];
  const narrow = size === 2 ? [0x66] : [];
  return [...narrow, 0xf3, ...wide, (value === undefined ? 0xa4 : 0xaa) | (size > 1 ? 1 : 0), HLT];
}

/** Data as one element after another leaves it. */
function expected(data: Uint8Array, { size, from, to, count, value }: Run): Uint8Array {
  const left = data.slice();
  const element = new Uint8Array(8);
  new DataView(element.buffer).setBigUint64(0, value ?? 0n, true);
  for (let i = 0; i < count; i++)
    left.set(
      value === undefined
        ? left.slice(from + i * size, from + (i + 1) * size)
        : element.subarray(0, size),
      to + i * size,
    );
  return left;
}

function actual(data: Uint8Array, run: Run): Uint8Array {
  const { memory, cpu, ram, bytes, vcpu } = machine;
  vcpu.core.invalidateRange(cpu, CODE_PADDR, 64);
  bytes.set(codeOf(run), ram + CODE_PADDR);
  bytes.set(data, ram + DATA_PADDR);
  const regs = Array.from({ length: 16 }, () => 0n);
  regs[RAX] = run.value ?? 0n;
  regs[RCX] = BigInt(run.count);
  regs[RSI] = BigInt(DATA_PADDR + run.from);
  regs[RDI] = BigInt(DATA_PADDR + run.to);
  writeState(memory, cpu, { regs, rflags: 2n, rip: BigInt(CODE_PADDR) });
  machine.run(false);
  assert.equal(machine.exception, GP); // HLT in ring 3
  const { regs: after } = readState(memory, cpu);
  assert.equal(after[RCX], 0n);
  assert.equal(after[RDI], BigInt(DATA_PADDR + run.to + run.count * run.size));
  return bytes.slice(ram + DATA_PADDR, ram + DATA_PADDR + DATA_BYTES);
}

function makeRun(random: Random, value: bigint | undefined): Run {
  const size = random.pick([1, 2, 4, 8] as const);
  const most = random.pick([64, 5000, 20_000]);
  const count = random.below(most / size);
  const from = 16_000 + random.below(8200);
  const near = random.pick([1, 4, 8, 63, 64, 100, 4096, 5000]);
  const to = random.pick([from + near, from - near, from + 20_000, random.below(40_000)]);
  return { size, from, to, count, value };
}

describe('strings over several pages', () => {
  const random = new Random(11);
  const data = Uint8Array.from({ length: DATA_BYTES }, () => random.below(256));
  const values = [0n, 0x1111111111111111n, 0x1234123412341234n, 0x0123456789abcdefn];
  for (const [name, makeValue] of [
    ['movs', () => undefined],
    ['stos', () => random.pick(values)],
  ] as const)
    it(`rep ${name}`, () => {
      for (let i = 0; i < 200; i++) {
        const run = makeRun(random, makeValue());
        const same = Buffer.compare(actual(data, run), expected(data, run)) === 0;
        assert.ok(
          same,
          JSON.stringify(run, (_, v) => (typeof v === 'bigint' ? `${v}` : v)),
        );
      }
    });
});
