import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { VcpuState } from '#accel/accel.ts';
import { layOut } from '#cpu/layout.ts';
import { readState } from '#cpu/vcpu-state.ts';
import { PAGE_RAM } from '#ir/state.ts';
import { AddressSpace } from './address-space.ts';
import { PhysicalMemory } from './physical-memory.ts';

const RAM_BYTES = 1 << 20;
const PG = 1n << 31n;
const PSE = 0x10n;
const PAE = 0x20n;
const LMA = 1n << 10n;

/** An address space over 1 MiB of RAM with these entries in it. */
function space(
  control: Partial<VcpuState>,
  bytes: 4 | 8,
  entries: Readonly<Record<number, bigint>>,
): AddressSpace {
  const layout = layOut(1, RAM_BYTES, 0);
  const memory = new WebAssembly.Memory({ initial: layout.pages, maximum: 65536, shared: true });
  new Uint8Array(memory.buffer).fill(PAGE_RAM, layout.pageMap, layout.pageMap + RAM_BYTES / 4096);
  const view = new DataView(memory.buffer);
  for (const [paddr, entry] of Object.entries(entries)) {
    if (bytes === 8) view.setBigUint64(layout.ram + Number(paddr), entry, true);
    else view.setUint32(layout.ram + Number(paddr), Number(entry), true);
  }
  const state = { ...readState(memory, layout.cpus[0] ?? 0), cr3: 0x1000n, ...control };
  return new AddressSpace(new PhysicalMemory(memory, layout), state);
}

const cases = [
  {
    name: '32-bit, with a 4 MiB page',
    space: space({ cr0: PG, cr4: PSE }, 4, {
      4096: 0x2003n,
      4100: 0x400083n,
      8196: 0x5003n,
      8200: 0x6003n,
    }),
    ranges: [
      { vaddr: 0x1000n, paddr: 0x5000, bytes: 0x2000n },
      { vaddr: 0x400000n, paddr: 0x400000, bytes: 0x400000n },
    ],
  },
  {
    name: 'PAE, with a 2 MiB page',
    space: space({ cr0: PG, cr4: PAE, cr3: 0x1020n }, 8, {
      4152: 0x2001n,
      8192: 0x200083n,
      8200: 0x3003n,
      12288: 0x8003n,
    }),
    ranges: [
      { vaddr: 0xc0000000n, paddr: 0x200000, bytes: 0x200000n },
      { vaddr: 0xc0200000n, paddr: 0x8000, bytes: 0x1000n },
    ],
  },
  {
    name: '4-level, in the upper half, with a 1 GiB page',
    space: space({ cr0: PG, cr4: PAE, efer: LMA }, 8, {
      8184: 0x2003n,
      12272: 0x3003n,
      12280: 0x40000083n,
      12288: 0x4003n,
      16392: 0x8000_0000_0000_9003n,
    }),
    ranges: [
      { vaddr: 0xffffffff80001000n, paddr: 0x9000, bytes: 0x1000n },
      { vaddr: 0xffffffffc0000000n, paddr: 0x40000000, bytes: 0x40000000n },
    ],
  },
];

describe('AddressSpace', () => {
  for (const { name, space: tables, ranges } of cases) {
    it(`walks: ${name}`, () => {
      assert.deepEqual(tables.ranges(100), ranges);
      for (const { vaddr, paddr, bytes } of ranges) {
        assert.equal(tables.translate(vaddr + 0x123n), paddr + 0x123);
        assert.equal(tables.translate(vaddr + bytes - 1n), paddr + Number(bytes) - 1);
      }
      assert.equal(tables.translate(0x10000n), undefined);
    });
  }

  it('reads over pages, and up to what is not mapped', () => {
    const tables = space({ cr0: PG, cr4: 0n }, 4, {
      4096: 0x2003n,
      8196: 0x5003n,
      8200: 0x4003n,
      24572: 0x11223344n,
      16384: 0x55667788n,
    });
    assert.equal(tables.number(0x1ffcn, 8), 0x5566778811223344n);
    assert.equal(tables.read(0x2ff0n, 100).length, 16);
    assert.equal(tables.number(0x2ffcn, 8), undefined);
  });

  it('is physical without paging', () => {
    const flat = space({ cr0: 0n }, 4, { 12288: 7n });
    assert.equal(flat.number(0x3000n, 4), 7n);
    assert.deepEqual(flat.ranges(10), []);
    assert.equal(flat.read(0x00ff_fff0n, 32).length, 0);
  });

  it('ends on tables that lead in circles', () => {
    const circle = space({ cr0: PG, cr4: PAE, efer: LMA }, 8, { 4096: 0x1003n, 4104: 0x1003n });
    assert.ok(circle.ranges(1000).length <= 1000);
  });
});
