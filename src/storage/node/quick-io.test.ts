import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { noise } from '../testing.ts';
import { QuickIo } from './quick-io.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'ring0-quick-io-'));
const content = noise(8192, 1);
const file = path.join(dir, 'file');
writeFileSync(file, content);
const fd = openSync(file, 'r+');
after(() => {
  closeSync(fd);
  rmSync(dir, { recursive: true });
});

/** A clock on which each request takes what `tookMs` says. */
function clock(tookMs: () => number): () => number {
  let nowMs = 0;
  let reads = 0;
  return () => {
    if (reads++ % 2 === 1) nowMs += tookMs();
    return nowMs;
  };
}

const into = new Uint8Array(4096);

/** How many requests in a row are not done. */
function pauseOf(quick: QuickIo): number {
  let count = 0;
  while (quick.read(0, into) < 0) count++;
  return count;
}

describe('QuickIo', () => {
  it('reads and writes', () => {
    const quick = new QuickIo(fd, () => 0);
    assert.equal(quick.read(4096, into), 4096);
    assert.deepEqual(into, content.slice(4096));
    assert.equal(quick.write(0, content.subarray(0, 512)), 512);
    assert.equal(quick.read(8000, into), 192);
  });

  it('leaves large requests, and those that fail, to the threads', () => {
    const quick = new QuickIo(fd, () => 0);
    assert.equal(quick.read(0, new Uint8Array(1 << 20)), -1);
    const readOnly = openSync(file, 'r');
    assert.equal(new QuickIo(readOnly, () => 0).write(0, content), -1);
    closeSync(readOnly);
  });

  it('pauses after slow requests, longer each time, until many were quick', () => {
    let tookMs = 5;
    const quick = new QuickIo(
      fd,
      clock(() => tookMs),
    );
    assert.equal(quick.read(0, into), 4096);
    assert.equal(pauseOf(quick), 32);
    assert.equal(pauseOf(quick), 64);
    tookMs = 0.001;
    assert.equal(pauseOf(quick), 128);
    for (let count = 0; count < 300; count++) assert.equal(quick.read(0, into), 4096);
    tookMs = 5;
    assert.equal(quick.read(0, into), 4096);
    assert.equal(pauseOf(quick), 32);
  });

  it('lets the event loop have its turn', async () => {
    const quick = new QuickIo(fd, () => 0);
    let done = 0;
    while (quick.read(0, into) > 0) done++;
    assert.equal(done, 1024);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(quick.read(0, into), 4096);
  });
});
