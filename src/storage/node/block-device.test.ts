import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import type { ImageError } from '../image.ts';
import { openImage } from '../open.ts';
import { noise } from '../testing.ts';
import { NodeFile } from './node-file.ts';
import { nodeStorageHost } from './node-host.ts';

const MIB = 1 << 20;
const dir = mkdtempSync(path.join(tmpdir(), 'ring0-device-'));
const backing = path.join(dir, 'backing');
const device = attach();
after(() => {
  if (device !== '') spawnSync('losetup', ['-d', device]);
  rmSync(dir, { recursive: true });
});

/** A loop device, where this process may make one. */
function attach(): string {
  writeFileSync(backing, '');
  truncateSync(backing, 8 * MIB);
  const { status, stdout } = spawnSync('losetup', ['-f', '--show', backing], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : '';
}

describe('a block device of the host', { skip: device === '' && 'no loop devices here' }, () => {
  it('is a raw disk of its own size', async () => {
    const image = await openImage(device, nodeStorageHost, { format: 'raw' });
    assert.equal(image.sizeBytes, 8 * MIB);
    await image.write(MIB + 512, noise(4096, 1));
    await image.flush();
    assert.deepEqual(
      new Uint8Array(readFileSync(backing).subarray(MIB + 512, MIB + 512 + 4096)),
      noise(4096, 1),
    );
    await image.writeZeroes(MIB, MIB, { mayUnmap: true });
    const into = new Uint8Array(MIB).fill(7);
    await image.read(MIB, into);
    assert.ok(into.every((byte) => byte === 0));
    await assert.rejects(
      async () => await image.resize?.(9 * MIB),
      (error: ImageError) =>
        error.kind === 'no-space' && /device holds 8388608/.test(error.message),
    );
    await image.close();
  });

  it('has one writer', async () => {
    const first = await NodeFile.open(device, { access: 'write' });
    await assert.rejects(
      NodeFile.open(device, { access: 'write' }),
      (error: ImageError) => error.kind === 'locked',
    );
    await first.close();
  });
});
