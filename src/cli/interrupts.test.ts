import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { describe, it } from 'node:test';
import { catchInterrupts, Interrupted } from './interrupts.ts';

describe('catchInterrupts', () => {
  const cases: readonly {
    readonly name: string;
    readonly second: NodeJS.Signals;
    readonly afterMs: number;
    readonly ends: readonly NodeJS.Signals[];
  }[] = [
    { name: 'ends at the second signal', second: 'SIGINT', afterMs: 600, ends: ['SIGINT'] },
    { name: 'takes no copy for a second signal', second: 'SIGINT', afterMs: 400, ends: [] },
    { name: 'ends at once at another signal', second: 'SIGTERM', afterMs: 1, ends: ['SIGTERM'] },
  ];
  for (const { name, second, afterMs, ends } of cases)
    it(`aborts at the first signal, and ${name}`, () => {
      const seen: NodeJS.Signals[] = [];
      let ms = 1000;
      const interrupts = catchInterrupts(
        () => ms,
        (signal) => void seen.push(signal),
      );
      process.emit('SIGINT', 'SIGINT');
      assert.ok(interrupts.signal.reason instanceof Interrupted);
      assert.equal(interrupts.signal.reason.exitStatus, 130);
      assert.deepEqual(seen, []);
      ms += afterMs;
      process.emit(second, second);
      assert.deepEqual(seen, ends);
      interrupts.release();
    });

  it('ends the process by the second signal, after the listeners of its end', async () => {
    const script = `
      import { catchInterrupts } from ${JSON.stringify(import.meta.resolve('./interrupts.ts'))};
      catchInterrupts();
      process.on('exit', () => process.stdout.write('restored'));
      setInterval(() => {}, 1000);
      process.stdout.write('ready ');
      process.kill(process.pid, 'SIGINT');
      process.kill(process.pid, 'SIGTERM');`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script]);
    const [output, [status, signal]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
    assert.equal(output, 'ready restored');
    assert.equal(status, null);
    assert.equal(signal, 'SIGTERM');
  });

  it('leaves no listener', () => {
    const before = process.listenerCount('SIGINT');
    catchInterrupts().release();
    assert.equal(process.listenerCount('SIGINT'), before);
  });
});
