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
  const cases: readonly {
    readonly name: string;
    readonly second: NodeJS.Signals;
    readonly afterMs: number;
    readonly statuses: readonly number[];
  }[] = [
    { name: 'ends at the second signal', second: 'SIGINT', afterMs: 600, statuses: [130] },
    { name: 'takes no copy for a second signal', second: 'SIGINT', afterMs: 400, statuses: [] },
    { name: 'ends at once at another signal', second: 'SIGTERM', afterMs: 1, statuses: [143] },
  ];
  for (const { name, second, afterMs, statuses } of cases)
    it(`aborts at the first signal, and ${name}`, (t) => {
      const seen = exits(t);
      let ms = 1000;
      const interrupts = catchInterrupts(() => ms);
      process.emit('SIGINT', 'SIGINT');
      assert.ok(interrupts.signal.reason instanceof Interrupted);
      assert.equal(interrupts.signal.reason.exitStatus, 130);
      assert.deepEqual(seen, []);
      ms += afterMs;
      process.emit(second, second);
      assert.deepEqual(seen, statuses);
      interrupts.release();
    });

  it('leaves no listener', () => {
    const before = process.listenerCount('SIGINT');
    catchInterrupts().release();
    assert.equal(process.listenerCount('SIGINT'), before);
  });
});
