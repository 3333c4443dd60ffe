import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { noise } from '../testing.ts';
import { PromptIo } from './prompt-io.ts';

const content = noise(8192, 1);
const dir = mkdtempSync(path.join(tmpdir(), 'ring0-prompt-io-'));
after(() => rmSync(dir, { recursive: true }));
const file = path.join(dir, 'a');
writeFileSync(file, content);
const fd = openSync(file, 'r+');
after(() => closeSync(fd));

const into = [new Uint8Array(512)];

/** A clock on which each request takes what `tookMs` says. */
function clock(tookMs: () => number): () => number {
  let nowMs = 0;
  let asked = 0;
  return () => {
    if (asked++ % 2 === 1) nowMs += tookMs();
    return nowMs;
  };
}

/** How many requests in a row are not done. */
function pauseOf(io: PromptIo): number {
  let count = 0;
  while (io.read(0, into) < 0) count++;
  return count;
}

describe('prompt I/O', () => {
  it('reads and writes pieces, memory that threads share too', () => {
    const io = new PromptIo(fd, () => 0);
    const shared = new Uint8Array(new SharedArrayBuffer(4096));
    const pieces = [shared.subarray(100, 300), shared.subarray(1000, 1312)];
    assert.equal(io.read(512, pieces), 512);
    assert.deepEqual(Uint8Array.from(pieces[1] ?? []), content.subarray(712, 1024));
    assert.equal(io.write(4096, pieces), 512);
    const back = new Uint8Array(512);
    assert.equal(io.read(4096, [back]), 512);
    assert.deepEqual(back, content.subarray(512, 1024));
  });

  it('tells how much there was', () => {
    const io = new PromptIo(fd, () => 0);
    assert.equal(io.read(8000, [new Uint8Array(512)]), 192);
    assert.equal(io.read(8000, [new Uint8Array(100), new Uint8Array(412)]), 192);
  });

  it('leaves what fails to others', () => {
    const readOnly = openSync(file, 'r');
    assert.equal(new PromptIo(readOnly, () => 0).write(0, [new Uint8Array(512)]), -1);
    closeSync(readOnly);
  });

  it('keeps away while the host is slow, longer each time, until many were quick', () => {
    let tookMs = 5;
    const io = new PromptIo(
      fd,
      clock(() => tookMs),
    );
    assert.equal(io.read(0, into), 512);
    assert.equal(pauseOf(io), 8);
    assert.equal(pauseOf(io), 16);
    tookMs = 0.001;
    assert.equal(pauseOf(io), 32);
    for (let count = 0; count < 70; count++) assert.equal(io.read(0, into), 512);
    tookMs = 5;
    assert.equal(io.read(0, into), 512);
    assert.equal(pauseOf(io), 8);
  });

  const large = 1 << 20;
  const times = [
    { name: 'what is large may take longer', lengthBytes: large, tookMs: 2, done: [large, large] },
    { name: 'but not for ever', lengthBytes: large, tookMs: 3, done: [large, -1] },
  ];
  for (const { name, lengthBytes, tookMs, done } of times)
    it(name, () => {
      const place = path.join(dir, 'large');
      writeFileSync(place, new Uint8Array(lengthBytes));
      const one = openSync(place, 'r');
      const io = new PromptIo(
        one,
        clock(() => tookMs),
      );
      const buffer = [new Uint8Array(lengthBytes)];
      assert.deepEqual([io.read(0, buffer), io.read(0, buffer)], done);
      closeSync(one);
    });

  it('lets the event loop have its turn', async () => {
    const io = new PromptIo(fd, () => 0);
    let done = 0;
    while (io.read(0, into) > 0) done++;
    assert.equal(done, 1024);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(io.read(0, into), 512);
  });
});
