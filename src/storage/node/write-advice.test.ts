import assert from 'node:assert/strict';
import { closeSync, fstatSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { type Libc, libc } from '#base/node/libc.ts';
import { noise } from '../testing.ts';
import { filesystemOf } from './filesystem.ts';
import { PromptIo } from './prompt-io.ts';
import { WriteAdvice } from './write-advice.ts';

const MIB = 1 << 20;
const dir = mkdtempSync(path.join(tmpdir(), 'ring0-room-'));
after(() => rmSync(dir, { recursive: true }));
const skip =
  (libc() === null || !filesystemOf(dir).wantsRoom) && 'no ext4, or no @koromix/koffi-linux-x64';

/** A host that answers so, and what it was asked. */
function asked(result: number): { host: Libc; calls: (string | number)[][] } {
  const calls: (string | number)[][] = [];
  const answer =
    (name: string) =>
    (...args: number[]) => {
      calls.push([name, ...args]);
      return result;
    };
  const host = { fallocate: answer('fallocate'), sync_file_range: answer('sync_file_range') };
  return { host: host as unknown as Libc, calls };
}

describe('advice on large writes', () => {
  it('takes room before them, and leaves the file its length', { skip }, () => {
    const fd = openSync(path.join(dir, 'a'), 'w+');
    new WriteAdvice(fd, { room: true, flush: false }).before(MIB, 4 * MIB);
    const { size, blocks } = fstatSync(fd);
    assert.equal(size, 0);
    assert.equal(blocks * 512, 4 * MIB);
    closeSync(fd);
  });

  it('is given before and after, in one piece', () => {
    const fd = openSync(path.join(dir, 'b'), 'w+');
    const { host, calls } = asked(0);
    const io = new PromptIo(fd, () => 0, new WriteAdvice(fd, { room: true, flush: true }, host));
    const bytes = noise(2 * MIB, 1);
    assert.equal(io.write(0, [bytes.subarray(0, 65536)]), 65536);
    assert.deepEqual(calls, []);
    assert.equal(io.write(0, [bytes.subarray(0, MIB), bytes.subarray(MIB)]), 2 * MIB);
    assert.deepEqual(calls, [
      ['fallocate', fd, 1, 0, 2 * MIB],
      ['sync_file_range', fd, 0, 2 * MIB, 2],
    ]);
    assert.deepEqual(Uint8Array.from(readFileSync(path.join(dir, 'b'))), bytes);
    closeSync(fd);
  });

  it('is given no more where the host does not take it; the writes are done', () => {
    const fd = openSync(path.join(dir, 'c'), 'w+');
    const { host, calls } = asked(-1);
    const io = new PromptIo(fd, () => 0, new WriteAdvice(fd, { room: true, flush: true }, host));
    for (const at of [0, MIB]) assert.equal(io.write(at, [noise(MIB, 1)]), MIB);
    assert.deepEqual(
      calls.map(([name]) => name),
      ['fallocate', 'sync_file_range'],
    );
    closeSync(fd);
  });

  it('takes no more room once a write failed', () => {
    const readable = openSync(path.join(dir, 'c'), 'r');
    const { host, calls } = asked(0);
    const advice = new WriteAdvice(readable, { room: true, flush: true }, host);
    const io = new PromptIo(readable, () => 0, advice);
    for (const at of [0, MIB]) assert.equal(io.write(at, [noise(MIB, 1)]), -1);
    assert.deepEqual(calls, [['fallocate', readable, 1, 0, MIB]]);
    closeSync(readable);
  });

  const wanted = [
    { wants: { room: true, flush: false }, calls: ['fallocate'] },
    { wants: { room: false, flush: true }, calls: ['sync_file_range'] },
  ];
  for (const { wants, calls: expected } of wanted)
    it(`is ${expected[0]} alone where that is wanted`, () => {
      const { host, calls } = asked(0);
      const advice = new WriteAdvice(0, wants, host);
      advice.before(0, MIB);
      advice.after(0, MIB);
      assert.deepEqual(
        calls.map(([name]) => name),
        expected,
      );
    });
});
