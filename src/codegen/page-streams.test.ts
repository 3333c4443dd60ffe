import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Block, type Inst } from '#ir/block.ts';
import { S_RBX, S_RDX } from '#ir/state.ts';
import { analyse } from './control-flow.ts';
import { PageStreams } from './page-streams.ts';
import type { Region } from './region.ts';
import { FunctionBody } from './wasm.ts';

type Index = (ir: Block, value: Inst) => Inst;

const const64 = (ir: Block, imm: bigint) => ir.add('i64.const', [], { imm });
const low = (ir: Block, value: Inst) =>
  ir.add('i64.extend_i32_u', [ir.add('i32.wrap_i64', [value])]);

const byShift =
  (by: bigint): Index =>
  (ir, value) =>
    ir.add('i64.shr_u', [value, const64(ir, by)]);
const byMask =
  (mask: bigint): Index =>
  (ir, value) =>
    ir.add('i64.and', [value, const64(ir, mask)]);

/** Whether `for (;;) table[index(RBX)]` has its page kept, in a loop of so many nodes. */
function keepsPage(index: Index, count: number): boolean {
  const ir = new Block();
  const slot = { fixed: S_RDX };
  ir.add('set64', [index(ir, ir.add('get64', [], { slot: { fixed: S_RBX } }))], { slot });
  const load = ir.add('load32', [ir.add('get64', [], { slot })]);
  const nodes = Array.from({ length: count }, (_, n) => ({
    offset: n,
    insns: n === 0 ? [{ start: 0, next: 1, ir }] : [],
    taken: undefined,
    next: { offset: (n + 1) % count, node: (n + 1) % count },
    predicted: [],
    calls: false,
    leavesCold: false,
  }));
  const region: Region = { nodes, code64: true, pages: [], servesMisses: false };
  const f = new FunctionBody(['i32'], 'i32');
  return new PageStreams(f, 0, region, analyse(region)).of(load) !== undefined;
}

const cases = [
  { name: 'three bits out of 32', index: (ir, v) => byShift(29n)(ir, low(ir, v)), expected: true },
  { name: 'all but three of 32', index: (ir, v) => byShift(3n)(ir, low(ir, v)), expected: false },
  { name: 'twelve bits out of 64', index: byShift(52n), expected: true },
  { name: '24 bits out of 64', index: byShift(40n), expected: false },
  { name: 'twelve bits by a mask', index: byMask(0xfffn), expected: true },
  { name: 'more bits by a mask', index: byMask(0x1fffn), expected: false },
  { name: 'high bits by a mask', index: byMask(-16n), expected: false },
  { name: 'twelve nodes', index: byMask(7n), count: 12, expected: true },
  { name: 'more nodes', index: byMask(7n), count: 13, expected: false },
] satisfies { name: string; index: Index; count?: number; expected: boolean }[];

describe('a page is kept where an index is small, and the loop', () => {
  for (const { name, index, count = 1, expected } of cases)
    it(name, () => assert.equal(keepsPage(index, count), expected));
});
