import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readState, writeState } from '#cpu/vcpu-state.ts';
import { S_HALTED } from '#ir/state.ts';
import { BareMachine } from './bare-machine.ts';

const MOST_WASM_BYTES = 64 * 1024;
/** What each counts for besides its WebAssembly. */
const MODULE_BYTES = 8 * 1024;
const FUNCTIONS = 300;
const FIRST = 0x1000;
const STEP = 32;
const TURNS = 16;
// mov ecx, TURNS; 1: inc eax; dec ecx; jnz 1b; hlt
const CODE = [0xb9, TURNS, 0, 0, 0, 0x40, 0x49, 0x75, 0xfc, 0xf4];

describe('regions without end', () => {
  const machine = new BareMachine(8 * 1024 * 1024, { mostWasmBytes: MOST_WASM_BYTES });
  const { memory, cpu, vcpu, bytes, ram } = machine;
  const flat = { selector: 0x10, base: 0n, limit: 0xffffffff, rights: 0xc093 };
  const code = { selector: 0x8, base: 0n, limit: 0xffffffff, rights: 0xc09b };
  writeState(memory, cpu, { segments: [flat, code, flat, flat, flat, flat], cr0: 0x11n });
  vcpu.core.updateKey(cpu);
  const start = (i: number) => FIRST + i * STEP;
  for (let i = 0; i < FUNCTIONS; i++) bytes.set(CODE, ram + start(i));
  const run = (i: number, hot: boolean) => {
    writeState(memory, cpu, { rip: BigInt(start(i)) });
    machine.set32(S_HALTED, 0);
    machine.run(hot);
  };
  const held = () =>
    vcpu.usedRegions().reduce((sum, unit) => sum + unit.wasm.length + MODULE_BYTES, 0);

  it('the oldest make room, and what is held stays within bounds', () => {
    for (let i = 0; i < FUNCTIONS; i++) {
      run(i, true);
      assert.ok(held() <= MOST_WASM_BYTES, `${held()} bytes after ${i + 1} functions`);
    }
    assert.equal(Number(readState(memory, cpu).regs[0]), FUNCTIONS * TURNS);
    const { regions, evicted, dropped } = vcpu.hotStats ?? { regions: 0, evicted: 0, dropped: 0 };
    assert.equal(regions, FUNCTIONS);
    assert.ok(evicted > FUNCTIONS / 2 && evicted === dropped, `${evicted} of ${regions} evicted`);
  });

  it('what has gone can be run again, and come back', () => {
    const before = vcpu.hotStats?.executed ?? 0;
    run(0, false);
    assert.equal(vcpu.hotStats?.executed, before);
    run(0, true);
    assert.ok((vcpu.hotStats?.executed ?? 0) > before);
    assert.equal(Number(readState(memory, cpu).regs[0]), (FUNCTIONS + 2) * TURNS);
  });
});
