import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { S_FPU_KEEPS_SELECTORS, S_SEGS, SEG_CS, SEG_SELECTOR, SEG_SIZE } from '#ir/state.ts';
import { assemble, DATA_PADDR, GuestMachine, missingTools } from './guest-machine.ts';

// Processors of old keep the code segment of the last x87 instruction (FCS): translated code does so too.

const GUEST = `
  on_fault: hlt
  on_irq: iretq
  start: mov $3000, %ecx
  1: fninit
    jmp 2f
  2: fldl DATA
    faddl DATA
    fstpl DATA + 8
    dec %ecx
    jnz 1b
    fnstenv DATA + 64
    out %al, $0xf4
`;
const FCS = DATA_PADDR + 64 + 16;

describe('FCS behind translated code', { skip: missingTools() }, () => {
  for (const verify of [false, true])
    for (const keeps of [0, 1])
      it(`${keeps ? 'is CS' : 'is 0 with models of today'}${verify ? ', in lockstep' : ''}`, () => {
        const machine = new GuestMachine({ verify, slice: () => 1_000_000 });
        machine.load(assemble(GUEST));
        const { view, cpu, ram } = machine;
        view.setUint32(cpu + S_FPU_KEEPS_SELECTORS, keeps, true);
        view.setFloat64(ram + DATA_PADDR, 1.5, true);
        machine.run();
        const cs = view.getUint32(cpu + S_SEGS + SEG_CS * SEG_SIZE + SEG_SELECTOR, true);
        assert.notEqual(cs, 0);
        assert.equal(view.getUint16(ram + FCS, true), keeps * cs);
        assert.equal(view.getFloat64(ram + DATA_PADDR + 8, true), 3);
      });
});
