import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Block, type Inst } from '#ir/block.ts';
import { S_RBX, S_REGS, S_RSP } from '#ir/state.ts';
import { analyse } from './control-flow.ts';
import { KeptPages } from './kept-pages.ts';
import type { Region } from './region.ts';
import { FunctionBody } from './wasm.ts';

type Body = (ir: Block) => void;

const get = (ir: Block, register: number) => ir.add('get64', [], { slot: { fixed: register } });
const moved = (ir: Block, value: Inst, by: bigint) =>
  ir.add('i64.add', [value, ir.add('i64.const', [], { imm: by })]);
const move = (ir: Block, register: number, by: bigint) =>
  ir.add('set64', [moved(ir, get(ir, register), by)], { slot: { fixed: register } });
const load = (ir: Block, register: number) => {
  ir.add('load32', [moved(ir, get(ir, register), 8n)]);
};

const nothing: Body = () => {};

/**
 * A loop of a node that goes one of two ways, and of one where they meet, which reads what lies 8 bytes above RBX. Whether
 * the page is kept of the bytes from there on.
 */
function keepsPage(first: Body, left: Body, right: Body, last: Body): boolean {
  const bodies = [first, left, right, last];
  const to = (node: number) => ({ offset: node, node });
  const nodes = bodies.map((body, n) => {
    const ir = new Block();
    body(ir);
    return {
      offset: n,
      insns: [{ start: n, next: n + 1, ir }],
      taken: n === 0 ? to(2) : undefined,
      next: to([1, 3, 3, 0][n] ?? 0),
      predicted: [],
      calls: false,
      leavesCold: false,
    };
  });
  const region: Region = { nodes, code64: true, pages: [], servesMisses: false };
  const f = new FunctionBody(['i32'], 'i32');
  const pages = new KeptPages({ f, cpu: 0, flow: analyse(region) }, region);
  const rbx = pages.knownAt(0)[(S_RBX - S_REGS) / 8];
  const root = rbx?.root ?? 0;
  pages.enter(3);
  return pages.pinOf(root, 8, 4, false) !== undefined;
}

const reads: Body = (ir) => load(ir, S_RBX);
const cases: readonly { name: string; bodies: [Body, Body, Body, Body]; expected: boolean }[] = [
  { name: 'a register that stays', bodies: [nothing, nothing, nothing, reads], expected: true },
  {
    name: 'one that each way moves alike',
    bodies: [
      (ir) => move(ir, S_RBX, 16n),
      (ir) => move(ir, S_RBX, -16n),
      (ir) => move(ir, S_RBX, -16n),
      reads,
    ],
    expected: true,
  },
  {
    name: 'one that a way moves',
    bodies: [nothing, (ir) => move(ir, S_RBX, 16n), nothing, reads],
    expected: false,
  },
  {
    name: 'one that each round moves',
    bodies: [nothing, nothing, nothing, (ir) => void [load(ir, S_RBX), move(ir, S_RBX, 4n)]],
    expected: false,
  },
  {
    name: 'one that each round loads',
    bodies: [
      nothing,
      nothing,
      nothing,
      (ir) => {
        ir.add('set64', [ir.add('load64', [get(ir, S_RSP)])], { slot: { fixed: S_RBX } });
        load(ir, S_RBX);
      },
    ],
    expected: false,
  },
];

describe('a page is kept of an address that is the same whatever way control comes', () => {
  for (const { name, bodies, expected } of cases)
    it(name, () => assert.equal(keepsPage(...bodies), expected));
});
