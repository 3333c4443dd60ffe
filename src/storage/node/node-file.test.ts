import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { type Libc, libc } from '#base/node/libc.ts';
import type { ImageError } from '../image.ts';
import { noise } from '../testing.ts';
import { Holes } from './holes.ts';
import { NodeFile } from './node-file.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'ring0-node-file-'));
after(() => rmSync(dir, { recursive: true }));
/** Of lseek(2). */
const SEEK_DATA = 3;
const at = (name: string): string => path.join(dir, name);
const skip = libc() === null && 'there is no @koromix/koffi-linux-x64';

describe('NodeFile', () => {
  it('reads what was written and zeros past the end', async () => {
    const file = await NodeFile.open(at('a'), { access: 'create' });
    await file.write(1000, noise(100, 1));
    const into = new Uint8Array(300).fill(1);
    assert.equal(await file.read(900, into), 200);
    assert.deepEqual(into.subarray(100, 200), noise(100, 1));
    assert.ok(into.subarray(200).every((byte) => byte === 0));
    await file.close();
  });

  it('refuses a second writer until the first closes, by any name of the file', async () => {
    const first = await NodeFile.open(at('b'), { access: 'create' });
    await first.write(0, noise(10, 1));
    spawnSync('ln', [at('b'), at('b2')]);
    for (const access of ['write', 'create'] as const)
      await assert.rejects(
        NodeFile.open(at('b2'), { access }),
        (error: ImageError) => error.kind === 'locked',
      );
    assert.equal(await first.size(), 10, 'a refused create leaves the file as it was');
    const reader = await NodeFile.open(at('b'));
    await reader.close();
    await first.close();
    await first.close();
    await (await NodeFile.open(at('b'), { access: 'write' })).close();
  });

  // To open it would wait for somebody at its other end.
  spawnSync('mkfifo', [at('pipe')]);
  const failures = [
    { name: 'a pipe', path: at('pipe'), access: 'read', kind: 'bad-format' },
    { name: 'a pipe to write', path: at('pipe'), access: 'create', kind: 'bad-format' },
    { name: 'a file that is not there', path: at('none'), access: 'read', kind: 'not-found' },
    { name: 'a directory', path: dir, access: 'read', kind: 'bad-format' },
    { name: 'a new file that is there', path: at('a'), access: 'create-new', kind: 'exists' },
  ] as const;
  for (const { name, path: file, access, kind } of failures)
    it(`fails with ${kind} on ${name}`, async () => {
      await assert.rejects(
        NodeFile.open(file, { access }),
        (error: ImageError) => error.kind === kind && error.message.startsWith(file),
      );
    });

  it('refuses a file too large for its offsets to be numbers', async (t) => {
    // tmpfs has such files, unlike ext4.
    const huge = `/dev/shm/ring0-huge-${process.pid}`;
    if (spawnSync('truncate', ['-s', '16P', huge]).status !== 0)
      t.skip('no file is that large here');
    else
      await assert.rejects(
        NodeFile.open(huge),
        (error: ImageError) => error.kind === 'bad-format' && /8 PiB/.test(error.message),
      );
    rmSync(huge, { force: true });
  });

  it('tells holes of a sparse file from data, while it changes', { skip }, async () => {
    const MIB = 1 << 20;
    writeFileSync(at('c'), '');
    truncateSync(at('c'), 1 << 30);
    const file = await NodeFile.open(at('c'), { access: 'write' });
    const rest = (from: number) => file.extent(from, (1 << 30) - from);
    assert.deepEqual(await rest(0), { data: false, lengthBytes: 1 << 30 });
    await file.write(MIB, noise(65536, 1));
    assert.deepEqual(await rest(0), { data: false, lengthBytes: MIB });
    assert.deepEqual(await rest(MIB), { data: true, lengthBytes: 65536 });
    assert.deepEqual(await rest(MIB + 4096), { data: true, lengthBytes: 61440 });
    assert.deepEqual(await file.extent(MIB, 512), { data: true, lengthBytes: 512 });
    assert.deepEqual(await rest(2 * MIB), { data: false, lengthBytes: (1 << 30) - 2 * MIB });
    await file.close();
  });

  it('takes all of a file for data where the host does not tell', () => {
    writeFileSync(at('untold'), noise(65536, 1));
    truncateSync(at('untold'), 1 << 20);
    const fd = openSync(at('untold'), 'r');
    const fails = { lseek: () => -1 } as unknown as Libc;
    for (const host of [null, fails])
      assert.deepEqual(new Holes().extent(fd, 1 << 19, 1 << 19, host), {
        data: true,
        lengthBytes: 1 << 19,
      });
    assert.deepEqual(new Holes().extent(fd, 1 << 20, 512, null), { data: false, lengthBytes: 512 });
    closeSync(fd);
  });

  it('takes for data what becomes a hole while it is asked', () => {
    writeFileSync(at('punched'), noise(65536, 1));
    const fd = openSync(at('punched'), 'r');
    const host = { lseek: (_: number, offset: number) => offset } as unknown as Libc;
    assert.deepEqual(new Holes().extent(fd, 4096, 8192, host), { data: true, lengthBytes: 8192 });
    closeSync(fd);
  });

  it('looks for the end of data once', () => {
    const bytes = 65536;
    writeFileSync(at('whole'), noise(bytes, 1));
    const fd = openSync(at('whole'), 'r');
    const asked: number[] = [];
    const lseek = (_: number, offset: number, whence: number) => {
      asked.push(whence);
      return whence === SEEK_DATA ? offset : bytes;
    };
    const holes = new Holes();
    for (let from = 0; from < bytes; from += 512)
      assert.deepEqual(holes.extent(fd, from, 512, { lseek } as unknown as Libc), {
        data: true,
        lengthBytes: 512,
      });
    assert.equal(asked.length, 2);
    closeSync(fd);
  });

  it('punches holes that read as zeros and take no room', { skip }, async () => {
    const file = await NodeFile.open(at('d'), { access: 'create' });
    const data = noise(1 << 22, 1);
    await file.write(0, data);
    const before = await file.allocatedBytes();
    assert.ok(await file.punch(1 << 20, 8192));
    assert.equal(before - (await file.allocatedBytes()), 8192);
    data.fill(0, 1 << 20, (1 << 20) + 8192);
    const into = new Uint8Array(1 << 22);
    await file.read(0, into);
    assert.ok(Buffer.compare(into, data) === 0);
    assert.equal(await file.size(), 1 << 22);
    await file.close();
  });

  it('punches as many holes at once as it is told to', { skip }, async () => {
    const file = await NodeFile.open(at('many'), { access: 'create' });
    await file.write(0, noise(1 << 23, 1));
    const before = await file.allocatedBytes();
    const holes = 1024;
    const done = await Promise.all(
      Array.from({ length: holes }, (_, index) => file.punch(index * 8192, 4096)),
    );
    assert.ok(done.every(Boolean));
    assert.equal(before - (await file.allocatedBytes()), holes * 4096);
    await file.close();
  });

  it('reserves room, which reads as zeros', { skip }, async () => {
    const file = await NodeFile.open(at('e'), { access: 'create' });
    assert.ok(await file.reserve(1 << 20));
    assert.equal(await file.size(), 1 << 20);
    assert.ok((await file.allocatedBytes()) >= 1 << 20);
    await file.close();
  });
});
