import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createReadStream, writeFileSync } from 'node:fs';
import { it } from 'node:test';
import { openPty } from './pty.ts';

const skip = spawnSync('script', ['--version']).status !== 0 && 'script(1) is not here';

/** What comes in pieces, until there is so much. */
function gather(
  length: number,
  listen: (listener: (bytes: Uint8Array) => void) => unknown,
): Promise<Buffer> {
  let seen = Buffer.alloc(0);
  return new Promise((resolve) => {
    listen((bytes) => {
      seen = Buffer.concat([seen, bytes]);
      if (seen.length >= length) resolve(seen);
    });
  });
}

it('a pseudo-terminal passes bytes both ways as they are', { skip, timeout: 300_000 }, async () => {
  const pty = await openPty();
  try {
    assert.match(pty.slavePath, /^\/dev\/pts\/\d+$/);
    const peer = createReadStream(pty.slavePath).on('error', () => {}); // EIO when it is hung up
    const sent = Buffer.from([0x68, 0x0a, 0x0d, 0x03, 0x04, 0x00, 0xff]);
    pty.write(sent);
    const seen = await gather(sent.length, (listener) =>
      peer.on('data', (chunk) => listener(chunk as Buffer)),
    );
    assert.deepEqual(seen, sent);

    const typed = gather(4, (listener) => pty.onInput(listener));
    writeFileSync(pty.slavePath, 'x\r\x03\n');
    assert.equal((await typed).toString('latin1'), 'x\r\x03\n');
    peer.destroy();
  } finally {
    pty.close();
  }
});

it('what nobody reads is thrown away, and closing still works', {
  skip,
  timeout: 300_000,
}, async () => {
  const pty = await openPty();
  for (let i = 0; i < 1000; i++) pty.write(new Uint8Array(1000));
  pty.close();
});
