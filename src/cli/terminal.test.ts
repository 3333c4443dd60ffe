import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Terminal } from './terminal.ts';

function rig() {
  const log: string[] = [];
  const stdin = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => {} });
  const stderr = new PassThrough();
  const terminal = new Terminal(
    { stdin, stdout: new PassThrough(), stderr },
    {
      input: (bytes) => log.push(`input ${Buffer.from(bytes).toString('latin1')}`),
      quit: () => log.push('quit'),
      command: async (line, say) => {
        log.push(`command ${line}`);
        say(['an answer']);
        if (line === 'late') void setImmediate().then(() => say(['and more']));
      },
      outputFailed: (error) => log.push(error.message),
    },
  );
  const type = async (text: string): Promise<string> => {
    stdin.write(text);
    await setImmediate();
    await setImmediate();
    return String(stderr.read() ?? '');
  };
  return { log, terminal, type };
}

describe('the terminal', () => {
  it('leads to the monitor and back', async () => {
    const { log, terminal, type } = rig();
    assert.equal(await type('ls\r'), '');
    assert.match(await type('\x01c'), /Ctrl-A C leads back to the guest\r\n\(ring0\) $/);
    assert.equal(await type('info block\r'), 'info block\r\nan answer\r\n(ring0) ');
    assert.match(await type('late\rin'), /answer\r\n\(ring0\) .*and more\r\n\(ring0\) in$/s);
    await type('\x01cpwd\r');
    assert.deepEqual(log, ['input ls\r', 'command info block', 'command late', 'input pwd\r']);
    await type('\x01x');
    assert.equal(log.at(-1), 'quit');
    terminal.close();
  });

  it('takes a line with the keys that lead there and back', async () => {
    const { log, terminal, type } = rig();
    await type('a\x01chelp\r\x01cb');
    assert.deepEqual(log, ['input a', 'command help', 'input b']);
    assert.match(await type('\x01h'), /Ctrl-A C {7}to the monitor, and back to the guest/);
    terminal.close();
  });
});
