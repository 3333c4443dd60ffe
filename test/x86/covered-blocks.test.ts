import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RegionCompiler } from '#cpu/region-compiler.ts';
import { writeState } from '#cpu/vcpu-state.ts';
import { B_HEAT, HEAT_START, S_HALTED } from '#ir/state.ts';
import { BareMachine } from './bare-machine.ts';

const FIRST = 0x1000;
const SECOND = 0x1010;
const STACK = 0x8000n;
/** Enough for the second block to go into the first one's region. */
const RUNS = 300;

const INC_EAX = 0x40;

/** A machine that has run code from `FIRST` on as often as makes it worth translating. */
function machineWith(code: ReadonlyMap<number, readonly number[]>) {
  const machine = new BareMachine(1 << 20);
  const { memory, cpu, vcpu, bytes, ram } = machine;
  const flat = { selector: 0x10, base: 0n, limit: 0xffffffff, rights: 0xc093 };
  const cs = { selector: 0x8, base: 0n, limit: 0xffffffff, rights: 0xc09b };
  writeState(memory, cpu, { segments: [flat, cs, flat, flat, flat, flat], cr0: 0x11n });
  vcpu.core.updateKey(cpu);
  for (const [at, part] of code) bytes.set(part, ram + at);
  for (let i = 0; i < RUNS; i++) {
    writeState(memory, cpu, { rip: BigInt(FIRST), regs: [0n, 0n, 0n, 0n, STACK] });
    machine.set32(S_HALTED, 0);
    machine.run();
  }
  const requestOf = (at: number) => {
    writeState(memory, cpu, { rip: BigInt(at) });
    return {
      block: Number(vcpu.core.find_block(cpu)),
      rip: BigInt(at),
      here: false,
    };
  };
  return { memory, cpu, requestOf };
}

const entries = (made: ReturnType<RegionCompiler['compile']>) =>
  made.regions.map(({ rip }) => Number(rip));

const blocks = (made: ReturnType<RegionCompiler['compile']>) =>
  made.regions[0]?.blocks.map(({ address }) => address);

describe('blocks that became hot together', () => {
  const { memory, cpu, requestOf } = machineWith(
    new Map([
      [FIRST, [INC_EAX, 0xeb, SECOND - FIRST - 3]], // and jmp SECOND
      [SECOND, [INC_EAX, 0xf4]], // and hlt
    ]),
  );
  const [first, second] = [requestOf(FIRST), requestOf(SECOND)];

  it('share a region where that is wanted; the second gets its own when it is asked for again', () => {
    const compiler = new RegionCompiler(memory, cpu, new Set(), true);
    const made = compiler.compile([first, second]);
    assert.deepEqual(blocks(made), [first.block, second.block]);
    assert.deepEqual(entries(made), [FIRST]);
    assert.deepEqual(made.covered, [second.block]);
    const again = compiler.compile([second]);
    assert.deepEqual(entries(again), [SECOND]);
    assert.deepEqual(again.covered, []);
  });

  it('share the region of the one that comes first, whichever was asked for first', () => {
    const compiler = new RegionCompiler(memory, cpu, new Set(), true);
    const made = compiler.compile([second, first]);
    assert.deepEqual(blocks(made), [first.block, second.block]);
    assert.deepEqual(entries(made), [FIRST]);
    assert.deepEqual(made.covered, [second.block]);
    assert.deepEqual(entries(compiler.compile([second])), [SECOND]);
  });

  it('have a region each else', () => {
    const made = new RegionCompiler(memory, cpu, new Set()).compile([first, second]);
    assert.deepEqual(entries(made), [FIRST, SECOND]);
    assert.deepEqual(made.covered, []);
  });
});

describe('a call', () => {
  const CALLEE = FIRST + 0x80;
  const { memory, cpu, requestOf } = machineWith(
    new Map([
      [FIRST, [0xe8, ...int32(CALLEE - FIRST - 5), 0xf4]], // call CALLEE; hlt
      [CALLEE, [...Array.from({ length: 60 }, () => INC_EAX), 0xc3]], // and ret
    ]),
  );
  const [caller, callee] = [requestOf(FIRST), requestOf(CALLEE)];
  const cases = [
    { name: 'of code that has a region goes there', heat: -1, expected: [caller.block] },
    {
      name: 'of other code is in the region of its caller',
      heat: 1,
      expected: [caller.block, callee.block],
    },
  ];
  for (const { name, heat, expected } of cases)
    it(name, () => {
      const compiler = new RegionCompiler(memory, cpu, new Set(), true);
      const setHeat = (value: number) =>
        new DataView(memory.buffer).setInt32(callee.block + B_HEAT, value, true);
      setHeat(1);
      assert.deepEqual(entries(compiler.compile([callee])), [CALLEE]);
      setHeat(heat);
      assert.deepEqual(blocks(compiler.compile([caller])), expected);
    });
});

describe('a region that is made again', () => {
  const { memory, cpu, requestOf } = machineWith(
    new Map([
      [FIRST, [INC_EAX, 0xeb, SECOND - FIRST - 3]], // and jmp SECOND
      [SECOND, [INC_EAX, 0xf4]], // and hlt
    ]),
  );
  const [first, second] = [requestOf(FIRST), requestOf(SECOND)];
  // As of a region of an earlier run: the interpreter has never entered its inner block.
  new DataView(memory.buffer).setInt32(second.block + B_HEAT, HEAT_START, true);
  const cases = [
    { name: 'has the blocks that it had', again: [first.block, second.block] },
    { name: 'has no others', again: [first.block] },
  ];
  for (const { name, again } of cases)
    it(name, () => {
      const compiler = new RegionCompiler(memory, cpu, new Set(), true);
      assert.deepEqual(blocks(compiler.compile([{ ...first, here: true, again }])), again);
    });
});

function int32(value: number): number[] {
  return [0, 8, 16, 24].map((shift) => (value >> shift) & 0xff);
}
