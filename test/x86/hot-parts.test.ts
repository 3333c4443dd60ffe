import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { writeState } from '#cpu/vcpu-state.ts';
import { S_HALTED, S_REGS } from '#ir/state.ts';
import { BareMachine } from './bare-machine.ts';

// A region reads the low part of a register, written alone, where it was put: on each way the one that was written there.

const CODE = 0x1000;
/** PML4, PDPT, page directory: one page of 2 MiB. */
const TABLES = [0x4000, 0x5000, 0x6000] as const;
/** Each way is gone often enough to be worth having. */
const ROUNDS = 450;
const EBX = 3;

const PROGRAM = [
  ...[0x89, 0xca, 0x89, 0xc8], // loop: MOV EDX, ECX; MOV EAX, ECX
  ...[0xf6, 0xc1, 0x01, 0x75, 0x09], // TEST CL, 1; JNZ odd
  ...[0x0f, 0xb6, 0xf2, 0x01, 0xf3], // MOVZX ESI, DL; ADD EBX, ESI: what the other way has written is not here
  ...[0xb0, 0x09, 0xeb, 0x02], // MOV AL, 9; JMP both
  ...[0xb2, 0x07], // odd: MOV DL, 7
  ...[0x0f, 0xb6, 0xc0, 0x01, 0xc3], // both: MOVZX EAX, AL; ADD EBX, EAX: written alone on one way
  ...[0x0f, 0xb6, 0xf2, 0x01, 0xf3], // MOVZX ESI, DL; ADD EBX, ESI
  ...[0xff, 0xc9, 0x75, 0xde, 0xf4], // DEC ECX; JNZ loop; HLT
];

function expected(): number {
  let sum = 0;
  for (let count = ROUNDS; count > 0; count--) {
    const low = count & 0xff;
    sum += count % 2 === 1 ? low + 7 : low + 9 + low;
  }
  return sum;
}

const modes = [
  { name: '32-bit code', rights: 0xc09b, cr0: 0x11n, cr4: 0n, efer: 0n },
  { name: '64-bit code', rights: 0xa09b, cr0: 0x8000_0011n, cr4: 0x20n, efer: 0x500n },
];

describe('parts of registers', () => {
  const machine = new BareMachine(4 << 20);
  const { memory, cpu, ram, bytes, view, vcpu } = machine;
  const [root, directories, pages] = TABLES;
  view.setUint32(ram + root, directories | 7, true);
  view.setUint32(ram + directories, pages | 7, true);
  view.setUint32(ram + pages, 0x87, true);

  for (const { name, rights, ...control } of modes)
    it(name, () => {
      vcpu.core.drop_blocks(cpu);
      // Blocks have been entered when the region is made.
      for (const hot of [false, true]) {
        bytes.set(PROGRAM, ram + CODE);
        const flat = { selector: 0, base: 0n, limit: 0xffff_ffff };
        const data = { ...flat, rights: 0xc093 };
        writeState(memory, cpu, {
          segments: [data, { ...flat, rights }, data, data, data, data],
          ...control,
          cr3: BigInt(root),
          regs: Array.from({ length: 16 }, (_, i) => (i === 1 ? BigInt(ROUNDS) : 0n)),
          rflags: 2n,
          rip: BigInt(CODE),
        });
        machine.set32(S_HALTED, 0);
        vcpu.core.updateKey(cpu);
        machine.run(hot);
        const sum = view.getUint32(cpu + S_REGS + EBX * 8, true);
        assert.equal(sum, expected(), hot ? 'region' : 'interpreter');
      }
      assert.ok((vcpu.hotStats?.executed ?? 0) > ROUNDS);
    });
});
