import assert from 'node:assert/strict';
import { closeSync, fstatSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { type Libc, libc } from '#base/node/libc.ts';
import { noise } from '../testing.ts';
import { filesystemOf } from './filesystem.ts';
import { PromptIo } from './prompt-io.ts';
import { Room } from './room.ts';

const MIB = 1 << 20;
const dir = mkdtempSync(path.join(tmpdir(), 'ring0-room-'));
after(() => rmSync(dir, { recursive: true }));
const skip =
  (libc() === null || !filesystemOf(dir).wantsRoom) && 'no ext4, or no @koromix/koffi-linux-x64';

/** A host that answers so, and what it was asked. */
function asked(result: number): { host: Libc; calls: number[][] } {
  const calls: number[][] = [];
  const fallocate = (...call: number[]) => {
    calls.push(call);
    return result;
  };
  return { host: { fallocate } as unknown as Libc, calls };
}

describe('room for what is written', () => {
  it('is the host’s before the write, and leaves the file its length', { skip }, () => {
    const fd = openSync(path.join(dir, 'a'), 'w+');
    new Room(fd).take(MIB, 4 * MIB);
    const { size, blocks } = fstatSync(fd);
    assert.equal(size, 0);
    assert.equal(blocks * 512, 4 * MIB);
    closeSync(fd);
  });

  it('is asked for where much is written, in one piece', () => {
    const fd = openSync(path.join(dir, 'b'), 'w+');
    const { host, calls } = asked(0);
    const io = new PromptIo(fd, () => 0, new Room(fd, host));
    const bytes = noise(2 * MIB, 1);
    assert.equal(io.write(0, [bytes.subarray(0, 65536)]), 65536);
    assert.deepEqual(calls, []);
    assert.equal(io.write(0, [bytes.subarray(0, MIB), bytes.subarray(MIB)]), 2 * MIB);
    assert.deepEqual(calls, [[fd, 1, 0, 2 * MIB]]);
    assert.deepEqual(Uint8Array.from(readFileSync(path.join(dir, 'b'))), bytes);
    closeSync(fd);
  });

  it('is asked for no more where the host refuses; the write is done', () => {
    const fd = openSync(path.join(dir, 'c'), 'w+');
    const { host, calls } = asked(-1);
    const io = new PromptIo(fd, () => 0, new Room(fd, host));
    for (const at of [0, MIB]) assert.equal(io.write(at, [noise(MIB, 1)]), MIB);
    assert.equal(calls.length, 1);
    closeSync(fd);
  });
});
