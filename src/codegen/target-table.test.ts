import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type TargetTable, targetTable } from './target-table.ts';

const edges = (offsets: readonly number[]) => offsets.map((offset, node) => ({ offset, node }));
const many = [64, 0, 16, 48, 112, 80];

const cases: readonly {
  name: string;
  offsets: readonly number[];
  calls?: boolean;
  expected: TargetTable | undefined;
}[] = [
  {
    name: 'functions of 16 bytes each',
    offsets: many,
    expected: { first: 0, shift: 4, indexes: [1, 2, undefined, 3, 0, 5, undefined, 4] },
  },
  {
    name: 'offsets before the entry, of no alignment',
    offsets: [-3, -1, 0, 2, -2, 1],
    expected: { first: -3, shift: 0, indexes: [0, 4, 1, 2, 5, 3] },
  },
  { name: 'few for calls', offsets: many, calls: true, expected: undefined },
  { name: 'few', offsets: [0, 16, 32], expected: undefined },
  { name: 'too far apart', offsets: [...many, 0x200000], expected: undefined },
  { name: 'more indexes than a table is to have', offsets: [...many, 8191], expected: undefined },
  { name: 'all the same', offsets: [5, 5, 5, 5, 5, 5], expected: undefined },
];

describe('the table of an indirect jump', () => {
  for (const { name, offsets, calls, expected } of cases)
    it(name, () => assert.deepEqual(targetTable(edges(offsets), calls === true), expected));
});
