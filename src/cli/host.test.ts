import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';

const dir = mkdtempSync(path.join(tmpdir(), 'ring0-print-'));
after(() => rmSync(dir, { recursive: true }));

/** More than a pipe or a socket holds. */
const LONG = 1_000_000;
const ENOUGH_MS = 20_000;

const FROM = JSON.stringify(new URL('host.ts', import.meta.url).href);
const scriptOf = (code: string): string =>
  `import { print, processHost } from ${FROM}; const host = processHost(); ${code}`;

/** What comes out of a process that runs `code` with `host` and `print`; nobody reads it before its first line of errors. */
async function printed(code: string): Promise<string> {
  const script = scriptOf(code);
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

  // Node's own pipes to its children are sockets.
  for (const [where, command] of [
    ['a file', '"$0" --input-type=module -e "$1" > "$2" && cat "$2"'],
    ['a pipe', '"$0" --input-type=module -e "$1" | cat'],
  ])
    it(`needs no stream for a few bytes into ${where}`, () => {
      const script = scriptOf(`
        Object.defineProperty(process, 'stdout', { get: () => process.exit(1) });
        print(host, 'few');`);
      const args = ['-c', command ?? '', process.execPath, script, path.join(dir, 'out')];
      assert.equal(spawnSync('sh', args, { encoding: 'utf8' }).stdout, 'few');
    });
});
