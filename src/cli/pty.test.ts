import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, writeFileSync } from 'node:fs';
import { it } from 'node:test';
import { openPty } from './pty.ts';

const skip = spawnSync('script', ['--version']).status !== 0 && 'script(1) is not here';

it('a pseudo-terminal passes bytes both ways as they are', { skip, timeout: 30_000 }, async () => {
  const pty = await openPty();
  try {
    assert.match(pty.slavePath, /^\/dev\/pts\/\d+$/);
    const peer = createReadStream(pty.slavePath).on('error', () => {}); // EIO when it is hung up
    const sent = Buffer.from([0x68, 0x0a, 0x0d, 0x03, 0x04, 0x00, 0xff]);
    pty.write(sent);
    const [seen] = await once(peer, 'data');
    assert.deepEqual(seen, sent);

    const typed = new Promise<Uint8Array>((resolve) => pty.onInput(resolve));
    writeFileSync(pty.slavePath, 'x\r\x03\n');
    assert.equal(Buffer.from(await typed).toString('latin1'), 'x\r\x03\n');
    peer.destroy();
  } finally {
    pty.close();
  }
});

it('what nobody reads is thrown away, and closing still works', {
  skip,
  timeout: 30_000,
}, async () => {
  const pty = await openPty();
  for (let i = 0; i < 1000; i++) pty.write(new Uint8Array(1000));
  pty.close();
});
