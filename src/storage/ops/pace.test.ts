import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Pace } from './pace.ts';

const MIB = 1 << 20;

it('a copy has more and smaller reads under way from a slow source, until that is quick again', () => {
  const pace = new Pace(undefined);
  const state = () => [pace.parallel, pace.readBytes / MIB, pace.planned];
  assert.deepEqual(state(), [2, 4, 8]);
  pace.learn(4 * MIB, 5);
  assert.deepEqual(state(), [2, 4, 8], 'one slow read is an accident');
  pace.learn(4 * MIB, 1);
  pace.learn(4 * MIB, 5);
  pace.learn(4 * MIB, 5);
  assert.deepEqual(state(), [8, 2, 1]);
  for (let read = 0; read < 100; read++) pace.learn(2 * MIB, 5);
  for (let read = 0; read < 4; read++) pace.learn(2 * MIB, 1);
  assert.deepEqual(state(), [8, 2, 1]);
  pace.learn(2 * MIB, 1);
  assert.deepEqual(state(), [2, 4, 8]);
});

it('a few bytes that take as long as a call are no sign of a slow source', () => {
  const pace = new Pace(undefined);
  for (let read = 0; read < 10; read++) pace.learn(4096, 0.4);
  assert.equal(pace.isSlow, false);
});

it('as many reads as are asked for', () => {
  const pace = new Pace(5);
  pace.learn(4 * MIB, 100);
  pace.learn(4 * MIB, 100);
  assert.equal(pace.parallel, 5);
});
