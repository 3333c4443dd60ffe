import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RegionCompiler } from '#cpu/region-compiler.ts';
import { writeState } from '#cpu/vcpu-state.ts';
import { S_HALTED } from '#ir/state.ts';
import { BareMachine } from './bare-machine.ts';

const FIRST = 0x1000;
const SECOND = 0x1010;
/** Enough for the second block to go into the first one's region. */
const RUNS = 300;

describe('blocks that became hot together', () => {
  const machine = new BareMachine(1 << 20);
  const { memory, cpu, vcpu, bytes, ram } = machine;
  const flat = { selector: 0x10, base: 0n, limit: 0xffffffff, rights: 0xc093 };
  const code = { selector: 0x8, base: 0n, limit: 0xffffffff, rights: 0xc09b };
  writeState(memory, cpu, { segments: [flat, code, flat, flat, flat, flat], cr0: 0x11n });
  vcpu.core.updateKey(cpu);
  bytes.set([0x40, 0xeb, SECOND - FIRST - 3], ram + FIRST); // inc eax; jmp SECOND
  bytes.set([0x40, 0xf4], ram + SECOND); // inc eax; hlt
  for (let i = 0; i < RUNS; i++) {
    writeState(memory, cpu, { rip: BigInt(FIRST) });
    machine.set32(S_HALTED, 0);
    machine.run();
  }
  const requestOf = (at: number) => {
    writeState(memory, cpu, { rip: BigInt(at) });
    return {
      block: Number(vcpu.core.find_block(cpu)),
      rip: BigInt(at),
      here: false,
      servesMisses: false,
    };
  };
  const [first, second] = [requestOf(FIRST), requestOf(SECOND)];
  const entries = (made: ReturnType<RegionCompiler['compile']>) =>
    made.regions.map(({ rip }) => Number(rip));

  it('share a region where that is wanted; the second gets its own when it is asked for again', () => {
    const compiler = new RegionCompiler(memory, cpu, new Set(), true);
    const made = compiler.compile([first, second]);
    assert.deepEqual(
      made.regions[0]?.blocks.map(({ address }) => address),
      [first.block, second.block],
    );
    assert.deepEqual(entries(made), [FIRST]);
    assert.deepEqual(made.covered, [second.block]);
    const again = compiler.compile([second]);
    assert.deepEqual(entries(again), [SECOND]);
    assert.deepEqual(again.covered, []);
  });

  it('have a region each else', () => {
    const made = new RegionCompiler(memory, cpu, new Set()).compile([first, second]);
    assert.deepEqual(entries(made), [FIRST, SECOND]);
    assert.deepEqual(made.covered, []);
  });
});
