import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Block } from '#ir/block.ts';
import type { RegionInsn } from './region.ts';
import { ReturnAddresses } from './return-addresses.ts';

const NEXT = 5;
const STACK = 1;
const at = (offset: number, root = STACK) => ({ root, offset, reach: undefined });

const ir = new Block();
const whole = ir.add('next_rip');
const low = ir.add('i32.wrap_i64', [whole]);
const call: RegionInsn = { start: 0, next: NEXT, ir };

describe('known return addresses', () => {
  const pushes = [
    { name: '64 bits', value: whole, width: 8, expected: NEXT },
    { name: '32 bits', value: low, width: 4, expected: NEXT },
    { name: 'a part of it', value: low, width: 2, expected: undefined },
    { name: 'something else', value: ir.add('i64.const', [], { imm: 1n }), width: 8 },
  ];
  for (const { name, value, width, expected } of pushes)
    it(`${expected === undefined ? 'unknown' : 'known'} from ${name}`, () => {
      const returns = new ReturnAddresses();
      returns.stored(call, value, { access: at(-8), width });
      assert.equal(returns.loaded(at(-8), width), expected);
      assert.equal(returns.loaded(at(-8, STACK + 1), width), undefined);
    });

  const stores = [
    { name: 'right below', access: at(-24), width: 16, expected: NEXT },
    { name: 'right above', access: at(0), width: 8, expected: NEXT },
    { name: 'over its first byte', access: at(-23), width: 16 },
    { name: 'into its last byte', access: at(-1), width: 1 },
    { name: 'a page away', access: at(4096 - 8), width: 8 },
    { name: 'by another base', access: at(64, STACK + 1), width: 8 },
    { name: 'anywhere', access: undefined, width: 8 },
  ];
  for (const { name, access, width, expected } of stores)
    it(`${expected === undefined ? 'end with' : 'outlive'} a store ${name}`, () => {
      const returns = new ReturnAddresses();
      returns.stored(call, whole, { access: at(-8), width: 8 });
      const recall = returns.remember();
      returns.stored(call, undefined, { access, width });
      assert.equal(returns.loaded(at(-8), 8), expected);
      recall();
      assert.equal(returns.loaded(at(-8), 8), NEXT);
    });
});
