import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Region } from '#codegen/region.ts';
import { Block } from '#ir/block.ts';
import { S_RCX, S_REGS } from '#ir/state.ts';
import { betterEntry } from './region-entry.ts';

/** A node: where its code lies, how often it was entered, how many registers it sets, and where control goes. */
interface Part {
  readonly at: number;
  readonly entries: number;
  readonly sets: number;
  readonly to: readonly number[];
  readonly isInner?: boolean;
}

const OUTER = { at: 100, entries: 2000, sets: 14, to: [110, 150] };
const HEAD = { at: 110, entries: 16_000, sets: 3, to: [120] };
const MIDDLE = { at: 120, entries: 16_000, sets: 1, to: [110, 150] };
const LAST = { at: 150, entries: 2000, sets: 1, to: [100, 200] };
const END = { at: 200, entries: 300, sets: 0, to: [] };

/** The address at which a region of these parts is entered best; it was to be the first. */
function entryOf(parts: readonly Part[]): number | undefined {
  const edge = (offset: number) => ({ offset, node: parts.findIndex(({ at }) => at === offset) });
  const first = parts[0]?.at ?? 0;
  const region: Region = {
    nodes: parts.map(({ at, sets, to: [taken, next = taken] }) => {
      const ir = new Block();
      for (let n = 0; n < sets; n++)
        ir.add('set64', [ir.add('get64', [], { slot: { fixed: S_RCX } })], {
          slot: { fixed: S_REGS + n * 8 },
        });
      const relative = (address: number) => ({ ...edge(address), offset: address - first });
      return {
        offset: at - first,
        insns: [{ start: at - first, next: at - first + 1, ir }],
        taken: taken === undefined ? undefined : relative(taken),
        next: next === undefined ? { offset: 1000, node: undefined } : relative(next),
        predicted: [],
        calls: false,
        leavesCold: false,
      };
    }),
    code64: true,
    servesMisses: false,
    pages: [],
  };
  const uses = parts.map(({ entries, isInner }) => ({ entries, isOuter: isInner !== true }));
  const found = betterEntry(region, uses);
  return found === undefined ? undefined : parts[found]?.at;
}

describe('a region is entered where its widest loop begins', () => {
  const cases = [
    { name: 'asked for in the inner loop', parts: [MIDDLE, HEAD, OUTER, LAST, END], expected: 100 },
    { name: 'at its head', parts: [HEAD, MIDDLE, OUTER, LAST, END], expected: 100 },
    { name: 'at the widest one', parts: [OUTER, HEAD, MIDDLE, LAST, END], expected: undefined },
    {
      name: 'not where control hardly comes by',
      parts: [MIDDLE, HEAD, { ...OUTER, entries: 20 }, { ...LAST, entries: 20 }, END],
      expected: undefined,
    },
    {
      name: 'not within a call',
      parts: [MIDDLE, HEAD, { ...OUTER, isInner: true }, LAST, END],
      expected: undefined,
    },
    {
      name: 'not where control does not come back from',
      parts: [MIDDLE, HEAD, { ...OUTER, to: [200] }, { ...LAST, to: [100] }, END],
      expected: undefined,
    },
    { name: 'code without a loop', parts: [{ ...HEAD, to: [200] }, END], expected: undefined },
  ] satisfies { name: string; parts: Part[]; expected: number | undefined }[];
  for (const { name, parts, expected } of cases)
    it(name, () => assert.equal(entryOf(parts), expected));
});
