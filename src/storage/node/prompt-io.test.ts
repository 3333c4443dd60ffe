import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { noise } from '../testing.ts';
import { PromptIo } from './prompt-io.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'ring0-prompt-io-'));
after(() => rmSync(dir, { recursive: true }));
const file = path.join(dir, 'a');
writeFileSync(file, noise(8192, 1));
const fd = openSync(file, 'r+');
after(() => closeSync(fd));

describe('prompt I/O', () => {
  it('reads and writes pieces, memory that threads share too', () => {
    const io = new PromptIo(fd);
    const shared = new Uint8Array(new SharedArrayBuffer(4096));
    const pieces = [shared.subarray(100, 300), shared.subarray(1000, 1312)];
    assert.equal(io.read(512, pieces), true);
    assert.deepEqual(Uint8Array.from(pieces[1] ?? []), noise(8192, 1).subarray(712, 1024));
    assert.equal(io.write(4096, pieces), true);
    const back = new Uint8Array(512);
    assert.equal(io.read(4096, [back]), true);
    assert.deepEqual(back, noise(8192, 1).subarray(512, 1024));
  });

  it('leaves what ends before it is full, and what fails, to others', () => {
    const io = new PromptIo(fd);
    assert.equal(io.read(8000, [new Uint8Array(512)]), false);
    const readOnly = openSync(file, 'r');
    assert.equal(new PromptIo(readOnly).write(0, [new Uint8Array(512)]), false);
    closeSync(readOnly);
  });

  it('keeps away for longer and longer while the host is slow', () => {
    let now = 0;
    let callMs = 1;
    const io = new PromptIo(fd, () => (now += callMs));
    const into = [new Uint8Array(512)];
    const asked = () => Array.from({ length: 14 }, () => Number(io.read(0, into))).join('');
    assert.equal(asked(), '10000100000000');
    callMs = 0.01;
    assert.equal(asked(), '11111111111111');
  });
});
