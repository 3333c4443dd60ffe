import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { writeCpio } from '#guests/cpio.ts';
import { DEFAULT_GUEST_APPEND } from '#guests/default-append.ts';
import { ensureDefaultGuest } from '#guests/default-guest.ts';
import { checkImage, createImage } from '#storage/formats/qcow2/testing.ts';
import { nodeStorageHost } from '#storage/node/node-host.ts';
import { openImage } from '#storage/open.ts';
import { GuestConsole, PATIENCE_MS, PROMPT } from './guest-console.ts';

// A load on three disks at once, checked by the guest as it goes, and by the host when the guest has ended.

const SOURCE = fileURLToPath(new URL('disk-check.c', import.meta.url));
const SECTORS = 16384;
const DISK_BYTES = SECTORS * 512;
const REQUESTS = 1500;
/** Requests to a disk with limits are never served within the notification. */
const DISKS = [
  { bus: 'virtio', device: '/dev/vda', limits: '' },
  { bus: 'nvme', device: '/dev/nvme0n1', limits: '' },
  { bus: 'scsi', device: '/dev/sda', limits: ',iops=100000' },
] as const;

const noCompiler = spawnSync('gcc', ['--version']).status !== 0 && 'no gcc; install it';

describe('a load on disks of the default guest', { skip: noCompiler }, () => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-disk-check-'));
  after(() => rmSync(dir, { recursive: true }));
  const at = (name: string): string => path.join(dir, name);

  it('leaves what was written last, for the guest and in sound qcow2 images', {
    timeout: PATIENCE_MS * 2,
  }, async (t) => {
    for (const { bus } of DISKS)
      await createImage(nodeStorageHost, at(bus), { sizeBytes: DISK_BYTES, options: new Map() });
    const full = mountSmall(at('full'));
    if (full === undefined) t.diagnostic('no right to mount: a host without room was not tried');
    const fullFlags = full === undefined ? [] : ['--disk', `${full}/disk,format=raw`];
    const flags = [...(await guestFlags(at)), ...diskFlags(at), ...fullFlags];
    const guest = new GuestConsole(flags);
    try {
      await guest.until(PROMPT);
      const loads = DISKS.map(
        ({ device }, seed) => `disk-check ${device} ${DISK_BYTES} ${REQUESTS} ${seed + 1} &`,
      );
      guest.type(`${loads.join(' ')} wait; echo al''l`);
      await guest.until('all');
      if (full !== undefined) await fillHost(guest, full);
      guest.type('poweroff');
      assert.equal(await guest.exitStatus(), 0);
    } finally {
      guest.process.kill('SIGKILL');
      if (full !== undefined) spawnSync('umount', ['-l', full]);
    }
    for (const { bus, device } of DISKS) {
      const said = new RegExp(`${device}: (.*?)\\r?\\n`).exec(guest.text)?.[1];
      assert.equal(said, `right ${await hashOf(at(bus))}`, bus);
      const { corruptions, leaks, text } = await checkImage(nodeStorageHost, at(bus));
      assert.deepEqual({ corruptions, leaks, text }, { corruptions: 0, leaks: 0, text: '' });
    }
  });
});

/** A file system with 4 MiB of room, and a disk of 8 MiB on it; undefined where we may not mount. */
function mountSmall(dir: string): string | undefined {
  mkdirSync(dir);
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=12m', 'none', dir]).status !== 0) return;
  writeFileSync(path.join(dir, 'filler'), new Uint8Array(8 << 20));
  writeFileSync(path.join(dir, 'disk'), '');
  truncateSync(path.join(dir, 'disk'), DISK_BYTES);
  return dir;
}

/** The machine stands still while the host has no room, and its guest sees no error. */
async function fillHost(guest: GuestConsole, dir: string): Promise<void> {
  guest.type('yes | head -c 8388608 | dd of=/dev/vdb bs=1M oflag=direct iflag=fullblock; echo');
  await guest.until("the host's disk is full; the guest stands still");
  rmSync(path.join(dir, 'filler'));
  await guest.until('8+0 records out');
  assert.match(guest.text, /no write waits for room any more; the guest goes on/);
  const disk = readFileSync(path.join(dir, 'disk'));
  assert.equal(disk.indexOf('y\n'.repeat(1 << 19), 7 << 20), 7 << 20);
}

const diskFlags = (at: (name: string) => string): string[] =>
  DISKS.flatMap(({ bus, limits }) => ['--disk', `${at(bus)},format=qcow2,bus=${bus}${limits}`]);

/** The default guest with the program. */
async function guestFlags(at: (name: string) => string): Promise<string[]> {
  execFileSync('gcc', ['-O2', '-static', '-s', '-o', at('disk-check'), SOURCE]);
  const { kernel, initrd } = await ensureDefaultGuest({ env: process.env, progress: () => {} });
  const bytes = readFileSync(at('disk-check'));
  // Linux unpacks archives one after the other.
  const added = writeCpio([{ type: 'file', path: 'bin/disk-check', mode: 0o755, bytes }]);
  writeFileSync(at('initrd'), Buffer.concat([readFileSync(initrd), added]));
  const flags = ['--initrd', at('initrd'), '--append', DEFAULT_GUEST_APPEND, '--timeout', '1200'];
  return ['--kernel', kernel, ...flags];
}

/** FNV-1a over words of 64 bits, as the guest has it. */
async function hashOf(file: string): Promise<string> {
  const image = await openImage(file, nodeStorageHost, { format: 'qcow2', readOnly: true });
  const bytes = new Uint8Array(DISK_BYTES);
  await image.read(0, bytes);
  await image.close();
  let hash = 0xcbf29ce484222325n;
  for (const word of new BigUint64Array(bytes.buffer))
    hash = BigInt.asUintN(64, (hash ^ word) * 0x100000001b3n);
  return hash.toString(16).padStart(16, '0');
}
