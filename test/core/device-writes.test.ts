import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { writeState } from '#cpu/vcpu-state.ts';
import {
  ATTN_INVALIDATE,
  PAGE_CODE,
  S_ATTENTION,
  S_HALTED,
  S_PAGE_MAP,
  S_REGS,
} from '#ir/state.ts';
import { BareMachine } from '../x86/bare-machine.ts';

// What a device writes over translated code, in both tiers: the new bytes run.

const CODE = 0x1000;
const SEGMENT = { selector: 0, base: 0n, limit: 0xffff_ffff };
const DATA = { ...SEGMENT, rights: 0xc093 };

/** MOV ECX, 200; loop: ADD EAX, n; DEC ECX; JNZ loop; HLT */
const program = (n: number) => [0xb9, 200, 0, 0, 0, 0x83, 0xc0, n, 0x49, 0x75, 0xfa, 0xf4];

describe('translated code that a device writes over', () => {
  for (const hot of [false, true])
    for (const all of [false, true])
      it(`${hot ? 'regions' : 'interpreter'}, ${all ? 'too many pages' : 'one page'}`, () => {
        const machine = new BareMachine(4 << 20);
        const { memory, cpu, ram, bytes, view, vcpu } = machine;
        const run = () => {
          writeState(memory, cpu, {
            segments: [DATA, { ...SEGMENT, rights: 0xc09b }, DATA, DATA, DATA, DATA],
            cr0: 0x11n,
            regs: Array.from({ length: 16 }, () => 0n),
            rflags: 2n,
            rip: BigInt(CODE),
          });
          machine.set32(S_HALTED, 0);
          vcpu.core.updateKey(cpu);
          machine.run(hot);
          return view.getUint32(cpu + S_REGS, true);
        };
        bytes.set(program(1), ram + CODE);
        assert.equal(run(), 200);
        assert.equal(run(), 200);
        const map = view.getUint32(cpu + S_PAGE_MAP, true);
        assert.equal((bytes[map + CODE / 4096] ?? 0) & PAGE_CODE, PAGE_CODE);
        bytes.set(program(3), ram + CODE);
        machine.stale = all ? undefined : [CODE / 4096];
        machine.set32(S_ATTENTION, ATTN_INVALIDATE);
        assert.equal(run(), 600);
      });
});
