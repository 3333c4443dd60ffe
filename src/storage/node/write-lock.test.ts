import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { libc } from '#base/node/libc.ts';
import type { ImageError } from '../image.ts';
import { NodeFile } from './node-file.ts';
import { lockForWriting } from './write-lock.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'ring0-lock-'));
after(() => rmSync(dir, { recursive: true }));
const file = path.join(dir, 'd.raw');
const missing =
  (spawnSync('qemu-io', ['--version']).status !== 0 && 'qemu-io') ||
  (libc() === null && '@koromix/koffi-linux-x64');

const qemuWrites = () => spawnSync('qemu-io', ['-f', 'raw', '-c', 'write 0 512', file]);
const qemuReads = () => spawnSync('qemu-io', ['-f', 'raw', '-r', '-U', '-c', 'read 0 512', file]);

/** As where there is no fcntl(2). */
async function withSockets(
  use: (lock: Promise<() => Promise<void>>) => Promise<void>,
): Promise<void> {
  const fd = openSync(file, 'r+');
  const { dev: device, ino: inode } = statSync(file, { bigint: true });
  try {
    await use(lockForWriting({ path: file, fd, device, inode }, null));
  } finally {
    closeSync(fd);
  }
}

const lockedBy = (whom: RegExp) => (error: ImageError) =>
  error.kind === 'locked' && whom.test(error.message);

describe('an image that QEMU may open', { skip: missing && `there is no ${missing}` }, () => {
  it('is not written by QEMU while we may write it', async () => {
    writeFileSync(file, new Uint8Array(1 << 20));
    const ours = await NodeFile.open(file, { access: 'write' });
    const refused = qemuWrites();
    assert.equal(refused.status, 1);
    assert.match(String(refused.stderr), /lock/);
    assert.equal(qemuReads().status, 0);
    await ours.close();
    assert.equal(qemuWrites().status, 0);
  });

  it('is not written by us while QEMU may write it', async () => {
    writeFileSync(file, new Uint8Array(1 << 20));
    const qemu = spawn('qemu-io', ['-f', 'raw', file], { stdio: ['pipe', 'pipe', 'inherit'] });
    qemu.stdin.write('read 0 512\n');
    await once(qemu.stdout, 'data');
    await assert.rejects(NodeFile.open(file, { access: 'write' }), lockedBy(/QEMU/));
    await assert.rejects(
      NodeFile.open(file, { access: 'create' }),
      (error: ImageError) => error.kind === 'locked',
    );
    assert.equal(statSync(file).size, 1 << 20);
    await withSockets((lock) => assert.rejects(lock, lockedBy(/QEMU/)));
    await (await NodeFile.open(file)).close();
    qemu.stdin.end('quit\n');
    await once(qemu, 'exit');
    await (await NodeFile.open(file, { access: 'write' })).close();
  });
});

describe('an image that another of us may write', () => {
  it('is refused, and taken from one that ends within a moment', async () => {
    writeFileSync(file, new Uint8Array(512));
    const first = await NodeFile.open(file, { access: 'write' });
    await assert.rejects(NodeFile.open(file, { access: 'write' }), lockedBy(/another writer/));
    const second = NodeFile.open(file, { access: 'write' });
    await new Promise((resolve) => setTimeout(resolve, 40));
    await first.close();
    await (await second).close();
  });

  it('is not written once another file has its name', async () => {
    writeFileSync(file, new Uint8Array(512));
    const first = await NodeFile.open(file, { access: 'write' });
    const second = NodeFile.open(file, { access: 'write' });
    await new Promise((resolve) => setTimeout(resolve, 20));
    writeFileSync(`${file}.new`, new Uint8Array(1024));
    renameSync(`${file}.new`, file);
    await first.close();
    await assert.rejects(second, lockedBy(/was replaced/));
    await (await NodeFile.open(file, { access: 'write' })).close();
  });

  it('is waited for by those who find its lock gone when they ask whose it is', {
    skip: libc() === null,
  }, async () => {
    writeFileSync(file, new Uint8Array(512));
    const fd = openSync(file, 'r+');
    const { dev: device, ino: inode } = statSync(file, { bigint: true });
    const real = libc();
    assert.ok(real !== null);
    let fails = 1;
    const host = {
      ...real,
      fcntl: (...args: Parameters<typeof real.fcntl>) => (fails-- > 0 ? -1 : real.fcntl(...args)),
    };
    await lockForWriting({ path: file, fd, device, inode }, host);
    await assert.rejects(NodeFile.open(file, { access: 'write' }), lockedBy(/another writer/));
    closeSync(fd);
  });

  it('is refused by sockets where there are no locks', async () => {
    writeFileSync(file, new Uint8Array(512));
    await withSockets(async (first) => {
      const release = await first;
      await withSockets((second) => assert.rejects(second, lockedBy(/another writer/)));
      await release();
      await withSockets(async (third) => await (await third)());
    });
  });

  it('stays locked while another file is closed, and is free once it is closed itself', async () => {
    writeFileSync(file, new Uint8Array(512));
    const ours = await NodeFile.open(file, { access: 'write' });
    await (await NodeFile.open(file)).close();
    await assert.rejects(NodeFile.open(file, { access: 'write' }), lockedBy(/another writer/));
    await ours.close();
    await (await NodeFile.open(file, { access: 'write' })).close();
  });
});
