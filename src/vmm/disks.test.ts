import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import type { DiskConfig } from '#control/vm.ts';
import { Disks } from './disks.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-disks-'));
after(() => rmSync(dir, { recursive: true }));

function config(name: string, more: Partial<DiskConfig> = {}): DiskConfig {
  const file = path.join(dir, name);
  return {
    path: file,
    bus: 'virtio',
    cache: 'writeback',
    readOnly: false,
    snapshot: false,
    ...more,
  };
}

describe("a machine's disks", () => {
  it('says nothing of what is asked of a disk that has been removed', async () => {
    writeFileSync(path.join(dir, 'raw'), new Uint8Array(8192));
    const told: string[] = [];
    const disks = await Disks.open([config('raw', { format: 'raw' })]);
    const [disk] = disks.list;
    assert.ok(disk);
    const backend = disks.backend(disk, { failed: (line) => told.push(line), stalled: () => {} });
    assert.equal(await backend.discard(0, 4096), 'ok');
    const underWay = backend.write(4096, [new Uint8Array(512).fill(7)]);
    await disks.remove(disk);
    // As when room is given back after a while.
    assert.deepEqual([await underWay, await backend.flush()], ['ok', 'io-error']);
    assert.deepEqual(told, []);
  });

  it('says how a disk that can only be read is given', async () => {
    const volume = new Uint8Array(20 * 2048);
    volume.set(new TextEncoder().encode('\u0001CD001\u0001'), 16 * 2048);
    writeFileSync(path.join(dir, 'iso'), volume);
    await assert.rejects(
      Disks.open([config('iso', { format: 'iso' })]),
      /; it can be had for reading alone, or with a snapshot for what is written$/,
    );
    for (const way of [{ readOnly: true }, { snapshot: true }])
      await (await Disks.open([config('iso', { format: 'iso', ...way })])).close();
  });

  it('says how a disk that another machine writes to can be read', async () => {
    writeFileSync(path.join(dir, 'taken'), new Uint8Array(8192));
    const taken = config('taken', { format: 'raw' });
    const first = await Disks.open([taken]);
    await assert.rejects(
      Disks.open([taken]),
      /in use by another writer.*; it can be had for reading alone/,
    );
    await (await Disks.open([{ ...taken, snapshot: true }])).close();
    await first.close();
  });

  it('warns in words that know of no command line', async () => {
    writeFileSync(path.join(dir, 'guessed'), new Uint8Array(8192));
    const disks = await Disks.open([config('guessed', {})]);
    assert.equal(disks.warnings.length, 1);
    assert.match(
      disks.warnings[0] ?? '',
      /^\/.*guessed: no format is named, and it looks raw; name it/,
    );
    await disks.close();
  });

  it("opens a disk by QEMU's json:{…}, and keeps others from writing to its file", async () => {
    writeFileSync(path.join(dir, 'named'), new Uint8Array(8192).fill(5));
    const file = path.join(dir, 'named');
    const json = `json:${JSON.stringify({ driver: 'raw', file: { driver: 'file', filename: file } })}`;
    const disks = await Disks.open([{ ...config('named', {}), path: json }]);
    const into = new Uint8Array(512);
    await disks.first?.read(0, into);
    assert.ok(into.every((byte) => byte === 5));
    assert.deepEqual([disks.warnings, disks.growing()], [[], [{ file, sizeBytes: 8192 }]]);
    await assert.rejects(
      Disks.open([config('named', { format: 'raw' })]),
      /in use by another writer/,
    );
    await disks.close();
  });

  it('refuses a folder in words', async () => {
    await assert.rejects(
      Disks.open([config('', { format: 'raw' })]),
      /is a directory; give a disk image$/,
    );
  });
});
