import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Inst } from './block.ts';
import { FoldingBlock } from './folding-block.ts';

const RAX = { slot: { fixed: 0 } };
const LOW32 = 0xffffffffn;

/** A value as text: registers by their slot. */
function textOf({ op, attr, args }: Inst): string {
  const { slot, imm } = attr;
  if (slot !== undefined && 'fixed' in slot) return `${op.name} ${slot.fixed}`;
  return imm === undefined ? `${op.name}(${args.map(textOf).join(', ')})` : `${imm}`;
}

describe('sums cut to 32 bits', () => {
  const rows: { name: string; make: (b: FoldingBlock, rax: Inst) => Inst; expected: string }[] = [
    {
      name: 'by a mask',
      make: (b, rax) => {
        const sum = b.add('i64.add', [rax, b.add('i64.const', [], { imm: -4n })]);
        return b.add('i64.and', [sum, b.add('i64.const', [], { imm: LOW32 })]);
      },
      expected: 'i64.extend_i32_u(i32.add(get32 0, -4))',
    },
    {
      name: 'with a scaled index',
      make: (b, rax) => {
        const scaled = b.add('i64.shl', [rax, b.add('i64.const', [], { imm: 2n })]);
        const sum = b.add('i64.add', [scaled, rax]);
        return b.add('i64.and', [sum, b.add('i64.const', [], { imm: LOW32 })]);
      },
      expected: 'i64.extend_i32_u(i32.add(i32.shl(get32 0, 2), get32 0))',
    },
    {
      name: 'by a wrap',
      make: (b, rax) =>
        b.add('i32.wrap_i64', [
          b.add('i64.sub', [rax, b.add('i64.const', [], { imm: 0x1_0000_0008n })]),
        ]),
      expected: 'i32.sub(get32 0, 8)',
    },
    {
      name: 'of a register that has been written since',
      make: (b, rax) => {
        const one = b.add('i64.const', [], { imm: 1n });
        b.add('set64', [one], RAX);
        return b.add('i32.wrap_i64', [b.add('i64.add', [rax, one])]);
      },
      expected: 'i32.add(i32.wrap_i64(get64 0), 1)',
    },
    {
      name: 'but no shift by more',
      make: (b, rax) => {
        const shifted = b.add('i64.shl', [rax, b.add('i64.const', [], { imm: 40n })]);
        return b.add('i64.and', [shifted, b.add('i64.const', [], { imm: LOW32 })]);
      },
      expected: 'i64.and(i64.shl(get64 0, 40), 4294967295)',
    },
    {
      name: 'but not by another mask',
      make: (b, rax) =>
        b.add('i64.and', [b.add('i64.add', [rax, rax]), b.add('i64.const', [], { imm: 0xffffn })]),
      expected: 'i64.and(i64.add(get64 0, get64 0), 65535)',
    },
  ];
  for (const { name, make, expected } of rows)
    it(name, () => {
      const block = new FoldingBlock();
      assert.equal(textOf(make(block, block.add('get64', [], RAX))), expected);
    });
});
