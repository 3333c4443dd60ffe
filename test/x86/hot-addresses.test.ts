import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { writeState } from '#cpu/vcpu-state.ts';
import { S_HALTED, S_REGS } from '#ir/state.ts';
import { BareMachine } from './bare-machine.ts';

// Accesses of a region that have their base in common share a look at the TLB: only those that have.

const CODE = 0x1000;
/** PML4, PDPT, page directory, page table, of 64-bit paging. */
const TABLES = [0x4000, 0x5000, 0x6000, 0x7000] as const;
/** Linear pages, and where they lie: not as far apart. */
const A = { vaddr: 0x2_0000, paddr: 0x3_0000 };
const B = { vaddr: 0x2_1000, paddr: 0x2_8000 };
const EAX = 0;
const EDX = 2;

/** A loop of what is given and DEC ECX; JNZ; then HLT. 64-bit code. */
function program(body: readonly number[]): number[] {
  return [...body, 0xff, 0xc9, 0x75, -(body.length + 4) & 0xff, 0xf4];
}

// MOV EAX, [RSI]; MOV EBX, [RSI + 4]; MOV EDX, [RDI]; MOV EBP, [RDI + 4]
const LOADS = [0x8b, 0x06, 0x8b, 0x5e, 4, 0x8b, 0x17, 0x8b, 0x6f, 4];

/** RCX counts, RSP is where nothing else is, RSI and RDI are the bases. */
const REGS = [0, 3, 0, 0, 0x1_0000, 0, A.vaddr, B.vaddr, 0, 0, 0, 0, 0, 0, 0, 0].map(BigInt);

const cases = [
  { name: 'XCHG RSI, RDI', body: [0x48, 0x87, 0xf7, ...LOADS], eax: 0xb, edx: 0xa },
  { name: 'XCHG twice', body: [0x48, 0x87, 0xf7, 0x48, 0x87, 0xf7, ...LOADS], eax: 0xa, edx: 0xb },
  { name: 'PUSH and POP', body: [0x56, 0x57, 0x5e, 0x5f, ...LOADS], eax: 0xb, edx: 0xa },
];

describe('bases of addresses', () => {
  const machine = new BareMachine(4 << 20);
  const { memory, cpu, ram, bytes, view, vcpu } = machine;
  const put32 = (paddr: number, value: number) => view.setUint32(ram + paddr, value, true);
  const [root, , , pages] = TABLES;
  for (const [i, table] of TABLES.entries()) put32(table, (TABLES[i + 1] ?? 0) | 7);
  for (let page = 0; page < 512; page++) put32(pages + page * 8, (page * 4096) | 7);
  for (const { vaddr, paddr } of [A, B]) put32(pages + vaddr / 512, paddr | 7);
  put32(A.paddr, 0xa);
  put32(B.paddr, 0xb);

  for (const { name, body, eax, edx } of cases)
    it(name, () => {
      vcpu.core.drop_blocks(cpu);
      vcpu.core.flush_tlb(cpu);
      // Blocks and TLB entries are there when the region is made.
      for (const hot of [false, true]) {
        bytes.set(program(body), ram + CODE);
        const flat = { selector: 0, base: 0n, limit: 0xffff_ffff };
        const data = { ...flat, rights: 0xc093 };
        writeState(memory, cpu, {
          segments: [data, { ...flat, rights: 0xa09b }, data, data, data, data],
          cr0: 0x8000_0011n,
          cr3: BigInt(root),
          cr4: 0x20n,
          efer: 0x500n,
          regs: REGS,
          rflags: 2n,
          rip: BigInt(CODE),
        });
        machine.set32(S_HALTED, 0);
        vcpu.core.updateKey(cpu);
        machine.run(hot);
        const register = (n: number) => view.getUint32(cpu + S_REGS + n * 8, true);
        assert.deepEqual(
          [register(EAX), register(EDX)],
          [eax, edx],
          hot ? 'region' : 'interpreter',
        );
      }
    });
});
