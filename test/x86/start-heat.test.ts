import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BlockView } from '#cpu/block-view.ts';
import { writeState } from '#cpu/vcpu-state.ts';
import { B_HEAT, HEAT_START, HEAT_START_USER } from '#ir/state.ts';
import { BareMachine } from './bare-machine.ts';

const AT = 0x1000;
const RET = 0xc3;
const cases = [
  { name: 'of a kernel', level: 0, expected: HEAT_START },
  { name: 'of a program', level: 3, expected: HEAT_START_USER },
];

describe('how often a block is to run before it is translated', () => {
  for (const { name, level, expected } of cases)
    it(name, () => {
      const { memory, cpu, vcpu, bytes, ram } = new BareMachine(1 << 20);
      const dpl = level << 5;
      const flat = { selector: 0x10 | level, base: 0n, limit: 0xffffffff, rights: 0xc093 | dpl };
      const cs = { ...flat, rights: 0xc09b | dpl };
      const segments = [flat, cs, flat, flat, flat, flat];
      writeState(memory, cpu, { segments, cr0: 0x11n, rip: BigInt(AT) });
      vcpu.core.updateKey(cpu);
      bytes.set([RET], ram + AT);
      const address = Number(vcpu.core.find_block(cpu));
      assert.equal(new DataView(memory.buffer).getInt32(address + B_HEAT, true), expected);
      const view = new BlockView(memory, cpu);
      const block = view.read(address);
      assert.equal(block && view.entries(block), 0);
    });
});
