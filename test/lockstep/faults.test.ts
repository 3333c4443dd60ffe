import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readState } from '#cpu/vcpu-state.ts';
import { assemble, DATA, DATA_PAGES, GuestMachine, missingTools } from './guest-machine.ts';

// An instruction that faults has changed nothing: also not what it would change besides its result.

const MISSING = `${DATA + DATA_PAGES * 4096}`;
/** TOP of the status word when the fault comes. */
const TOP_7 = 7n << 11n;

const cases = [
  { name: 'MOVQ of an MMX register', code: `movq %mm2, ${MISSING}` },
  { name: 'MOVD of an MMX register', code: `movd %mm2, ${MISSING}` },
  { name: 'MOVNTQ', code: `movntq %mm2, ${MISSING}` },
  { name: 'MASKMOVQ', code: `mov $${MISSING}, %edi\n maskmovq %mm7, %mm2` },
  { name: 'MOVQ to an MMX register', code: `movq ${MISSING}, %mm2` },
  { name: 'CVTPI2PS', code: `cvtpi2ps ${MISSING}, %xmm1` },
  { name: 'FSTP', code: `fstpl ${MISSING}` },
  { name: 'FISTP', code: `fistpll ${MISSING}` },
];

const skip = missingTools();

describe('the stack of the x87 after a fault', { skip }, () => {
  for (const { name, code } of cases) {
    it(name, () => {
      // MM7 is what FLD1 has loaded: its sign bit makes MASKMOVQ store.
      const guest = assemble(`
        start: fninit
        fld1
        ${code}
        on_irq: hlt
        on_fault: fnstsw %ax
        and $0x3800, %eax
        out %al, $0xf4
        1: jmp 1b\n`);
      for (const options of [
        { verify: false, heat: 0 },
        { verify: true, heat: 1 },
      ]) {
        const machine = new GuestMachine(options);
        machine.load(guest);
        machine.run();
        assert.equal(readState(machine.memory, machine.cpu).regs[0], TOP_7);
      }
    });
  }
});
