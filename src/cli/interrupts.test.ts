import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { catchInterrupts, Interrupted } from './interrupts.ts';

/** Statuses that the process would have ended with. */
function exits(context: {
  mock: { method: (o: object, name: 'exit', f: (status: number) => void) => unknown };
}): number[] {
  const statuses: number[] = [];
  context.mock.method(process, 'exit', (status) => void statuses.push(status));
  return statuses;
}

describe('catchInterrupts', () => {
  it('aborts at the first signal and ends at the second', (t) => {
    const statuses = exits(t);
    const interrupts = catchInterrupts(false);
    process.emit('SIGINT', 'SIGINT');
    assert.ok(interrupts.signal.reason instanceof Interrupted);
    assert.equal(interrupts.signal.reason.exitStatus, 130);
    assert.deepEqual(statuses, []);
    process.emit('SIGINT', 'SIGINT');
    assert.deepEqual(statuses, [130]);
    interrupts.release();
  });

  it('takes the launcher’s copy for what it is, and another signal for a second one', (t) => {
    const statuses = exits(t);
    const interrupts = catchInterrupts(true);
    process.emit('SIGINT', 'SIGINT');
    process.emit('SIGINT', 'SIGINT');
    assert.deepEqual(statuses, []);
    process.emit('SIGTERM', 'SIGTERM');
    assert.deepEqual(statuses, [143]);
    interrupts.release();
  });

  it('leaves no listener', () => {
    const before = process.listenerCount('SIGINT');
    catchInterrupts(false).release();
    assert.equal(process.listenerCount('SIGINT'), before);
  });
});
