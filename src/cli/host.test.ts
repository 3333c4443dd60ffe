import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';

/** More than a pipe or a socket holds. */
const LONG = 1_000_000;
const ENOUGH_MS = 20_000;

/** What comes out of a process that runs `code` with `host` and `print`; nobody reads it before its first line of errors. */
async function printed(code: string): Promise<string> {
  const from = JSON.stringify(new URL('host.ts', import.meta.url).href);
  const script = `import { print, processHost } from ${from}; const host = processHost(); ${code}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    timeout: ENOUGH_MS,
  });
  const ended = once(child, 'close');
  await once(child.stderr, 'data');
  child.stderr.resume();
  const chunks: Buffer[] = [];
  for await (const chunk of child.stdout) chunks.push(chunk);
  assert.deepEqual(await ended, [0, null]);
  return Buffer.concat(chunks).toString();
}

describe('print', () => {
  it('goes behind what a stream still has', async () => {
    const text = await printed(`
      host.stdout.write('x'.repeat(${LONG}));
      process.stderr.write('go');
      // Its reader makes room meanwhile.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
      print(host, 'y');`);
    assert.equal(text.length, LONG + 1);
    assert.equal(text.indexOf('y'), LONG);
  });

  it('loses nothing of what no pipe holds', async () => {
    const text = await printed(`
      print(host, 'a');
      print(host, 'b'.repeat(${LONG}));
      print(host, 'c');
      process.stderr.write('go');`);
    assert.equal(text, `a${'b'.repeat(LONG)}c`);
  });

  it('needs no stream for a few bytes', async () => {
    const text = await printed(`
      Object.defineProperty(process, 'stdout', { get: () => assert.fail() });
      print(host, 'few');
      process.stderr.write('go');`);
    assert.equal(text, 'few');
  });
});
