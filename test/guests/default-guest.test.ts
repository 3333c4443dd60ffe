import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { GuestConsole, PATIENCE_MS, PROMPT } from './guest-console.ts';

// The main job as its user runs it: Debian's cloud kernel with busybox, to a shell and back. The first run fetches the
// guest's packages with apt.

const DISK_BYTES = 8 << 20;

function busOf(disk: string): string {
  return path.basename(disk, '.img');
}

function md5(bytes: Uint8Array): string {
  return createHash('md5').update(bytes).digest('hex');
}

describe('the default guest', { timeout: PATIENCE_MS * 2 }, () => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-disk-'));
  after(() => rmSync(dir, { recursive: true }));

  it('boots to a shell, runs a command, keeps tsc as its clock, uses its disks, and powers off with status 0', async () => {
    const disks = ['virtio', 'virtio-mmio', 'virtio-mmio-legacy', 'nvme', 'scsi'].map((bus) =>
      path.join(dir, `${bus}.img`),
    );
    const content = randomBytes(DISK_BYTES);
    for (const disk of disks) writeFileSync(disk, content);
    const flags = disks.flatMap((disk) => ['--disk', `${disk},format=raw,bus=${busOf(disk)}`]);
    const guest = new GuestConsole(['--timeout', '1200', ...flags]);
    try {
      await guest.until(PROMPT);
      for (const device of ['/dev/vda', '/dev/vdb', '/dev/vdc', '/dev/nvme0n1', '/dev/sda']) {
        guest.type(`md5sum ${device}`);
        await guest.until(md5(content));
        // Copies the first half over the second, in pieces that are no whole pages.
        guest.type(`dd if=${device} of=${device} bs=2560 count=1638 seek=1638; sync; echo`);
        await guest.until('1638+0 records out');
      }
      content.copy(content, 1638 * 2560, 0, 1638 * 2560);
      // Linux takes a second or more to make up its mind, and looks again when its host was busy meanwhile.
      const clock = '/sys/devices/system/clocksource/clocksource0/current_clocksource';
      guest.type(`until grep -x tsc ${clock}; do sleep 0.1; done; echo sum $((6 * 7))`);
      await guest.until('sum 42');
      guest.type('yes | head -c 1000000 | sha256sum; dmesg | grep -c -i "marked unstable"');
      // What sha256sum of coreutils gives.
      await guest.until('f893c2c2c50aec163cf36deb88e21b61c336fa93c0482b945337862cffeca280');
      guest.type('poweroff');
      assert.equal(await guest.exitStatus(), 0);
      for (const disk of disks) assert.equal(md5(readFileSync(disk)), md5(content), disk);
      assert.match(guest.text, /^tsc\s*$/m);
      assert.match(guest.text, /^0\s*$/m);
    } finally {
      guest.process.kill('SIGKILL');
    }
  });

  it('ends with status 124 at the timeout', async () => {
    const guest = new GuestConsole(['--timeout', '1']);
    assert.equal(await guest.exitStatus(), 124);
  });

  it('of 32 bits boots a kernel without PAE to a shell', async () => {
    const guest = new GuestConsole(['--guest', '32', '--timeout', '1200']);
    try {
      await guest.until(PROMPT);
      guest.type('uname -m; grep -o -w fpu /proc/cpuinfo; yes | head -c 1000000 | sha256sum');
      await guest.until('f893c2c2c50aec163cf36deb88e21b61c336fa93c0482b945337862cffeca280');
      guest.type('poweroff');
      assert.equal(await guest.exitStatus(), 0);
      assert.match(guest.text, /^i686\s*$/m);
      assert.match(guest.text, /^fpu\s*$/m);
    } finally {
      guest.process.kill('SIGKILL');
    }
  });
});
