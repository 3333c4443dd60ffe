import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { describe, it } from 'node:test';

const MODULE = new URL('node24.mjs', import.meta.url).href;

/** A launcher that runs `script` and ends as the launchers do; `endWithLauncher` is there for the script to call. */
function launch(script: string) {
  const child = `const { endWithLauncher } = await import('${MODULE}'); ${script}`;
  const launcher = `
    const { findNode, runNode } = await import('${MODULE}');
    process.exitCode = await runNode(findNode(), ['-e', ${JSON.stringify(child)}], ['ipc']);`;
  return spawn(process.execPath, ['--input-type=module', '-e', launcher], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/** Says when it is ready, and ends a moment after a signal with a status that counts the signals. */
const WAITS = `
  endWithLauncher();
  let signals = 0;
  const stay = setInterval(() => {}, 1000);
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => {
    signals++;
    console.log(name);
    clearInterval(stay);
    process.exitCode = 40 + signals;
  });
  console.log('ready');`;

describe('the launcher', { timeout: 300_000 }, () => {
  it('passes the status on', async () => {
    const [status] = await once(launch('process.exit(7);'), 'exit');
    assert.equal(status, 7);
  });

  it('dies of the signal that killed the child', async () => {
    const ended = await once(launch("process.kill(process.pid, 'SIGKILL');"), 'exit');
    assert.deepEqual(ended, [null, 'SIGKILL']);
  });

  const endings = [
    { signal: 'SIGINT', end: [41, null] },
    { signal: 'SIGTERM', end: [41, null] },
    // Whatever the child ends with: the terminal is gone, and an older Node that ends by itself would miss it.
    { signal: 'SIGHUP', end: [null, 'SIGHUP'] },
  ] as const;
  for (const { signal, end } of endings) {
    it(`gives ${signal} to the child, once, and waits for it`, async () => {
      const launcher = launch(WAITS);
      const lines: string[] = [];
      createInterface(launcher.stdout).on('line', (line) => {
        lines.push(line);
        if (line === 'ready') launcher.kill(signal);
      });
      assert.deepEqual(await once(launcher, 'close'), end);
      assert.deepEqual(lines, ['ready', signal]);
    });
  }

  it('leaves no child behind when it is killed', async () => {
    const launcher = launch(WAITS);
    const lines: string[] = [];
    createInterface(launcher.stdout).on('line', (line) => {
      lines.push(line);
      if (line === 'ready') launcher.kill('SIGKILL');
    });
    // The child holds the pipe open until it has ended.
    await once(launcher, 'close');
    assert.deepEqual(lines, ['ready', 'SIGHUP']);
  });
});
