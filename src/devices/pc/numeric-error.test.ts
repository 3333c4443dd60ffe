import assert from 'node:assert/strict';
import { it } from 'node:test';
import { newDeviceState } from '#hw/state.ts';
import { RecordedLine } from '#hw/testing.ts';
import { NUMERIC_ERROR_STATE, NumericError } from './numeric-error.ts';

it('FERR# holds IRQ 13 until port 0xf0 is written, which asserts IGNNE#; without FERR# a write does nothing', () => {
  const irq = new RecordedLine();
  let ignored = 0;
  const logic = new NumericError(newDeviceState(NUMERIC_ERROR_STATE), {
    irq,
    ignore: () => ignored++,
  });
  logic.reset();
  logic.writePort();
  assert.deepEqual([irq.high, ignored], [false, 0]);
  logic.raise();
  logic.raise();
  assert.deepEqual([irq.high, irq.rises, ignored], [true, 1, 0]);
  logic.writePort();
  logic.writePort();
  assert.deepEqual([irq.high, ignored], [false, 1]);
});
