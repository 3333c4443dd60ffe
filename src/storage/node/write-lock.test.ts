import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import type { ImageError } from '../image.ts';
import { NodeFile } from './node-file.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'ring0-lock-'));
after(() => rmSync(dir, { recursive: true }));
const file = path.join(dir, 'd.raw');
const missing = ['qemu-io', 'perl'].find((name) => spawnSync(name, ['--version']).status !== 0);

const qemuWrites = () => spawnSync('qemu-io', ['-f', 'raw', '-c', 'write 0 512', file]);
const qemuReads = () => spawnSync('qemu-io', ['-f', 'raw', '-r', '-U', '-c', 'read 0 512', file]);

async function withoutPerl(task: () => Promise<void>): Promise<void> {
  const { PATH } = process.env;
  process.env['PATH'] = dir;
  try {
    await task();
  } finally {
    process.env['PATH'] = PATH;
  }
}

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
    await assert.rejects(
      NodeFile.open(file, { access: 'write' }),
      (error: ImageError) => error.kind === 'locked' && /QEMU/.test(error.message),
    );
    await assert.rejects(
      NodeFile.open(file, { access: 'create' }),
      (error: ImageError) => error.kind === 'locked',
    );
    assert.equal(statSync(file).size, 1 << 20);
    await withoutPerl(() =>
      assert.rejects(
        NodeFile.open(file, { access: 'write' }),
        (error: ImageError) => error.kind === 'locked' && /QEMU/.test(error.message),
      ),
    );
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
    await assert.rejects(
      NodeFile.open(file, { access: 'write' }),
      (error: ImageError) => error.kind === 'locked' && /another writer/.test(error.message),
    );
    const second = NodeFile.open(file, { access: 'write' });
    await new Promise((resolve) => setTimeout(resolve, 40));
    await first.close();
    await (await second).close();
  });
});
