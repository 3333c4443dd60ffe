import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { DEFAULT_CPU_MODEL } from '#control/config.ts';
import type { DiskConfig, Vm } from '#control/vm.ts';
import { DEFAULT_GUEST_APPEND } from '#guests/default-append.ts';
import { ensureDefaultGuest } from '#guests/default-guest.ts';
import { createVm } from '#vmm/vm.ts';

// Disks that come and go while Debian's kernel runs, which knows of it from the board's ACPI methods.

const PROMPT = '/ # ';
const PATIENCE_MS = 600_000;
const DISK_BYTES = 4 << 20;

const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-hotplug-'));
after(() => rmSync(dir, { recursive: true }));

function disk(
  name: string,
  bus: DiskConfig['bus'],
  controller?: string,
): DiskConfig & { content: Buffer } {
  const file = path.join(dir, name);
  const content = randomBytes(DISK_BYTES);
  writeFileSync(file, content);
  const common = { cache: 'writeback', readOnly: false, snapshot: false } as const;
  const place = controller === undefined ? {} : { controller };
  return { ...common, path: file, format: 'raw', bus, id: name, ...place, content };
}

/** A guest's console. */
class Shell {
  readonly #vm: Vm;
  text = '';

  constructor(vm: Vm) {
    this.#vm = vm;
    vm.console.onOutput((bytes) => {
      this.text += Buffer.from(bytes).toString('latin1');
    });
  }

  async #until(wanted: string, from: number): Promise<void> {
    const deadline = Date.now() + PATIENCE_MS;
    while (!this.text.slice(from).includes(wanted)) {
      if (Date.now() > deadline)
        throw new Error(`no '${wanted}' on the console:\n${this.text.slice(-2000)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async boot(): Promise<void> {
    await this.#until(PROMPT, 0);
  }

  /** What a command prints. */
  async run(command: string): Promise<string> {
    const from = this.text.length;
    this.#vm.console.write(Buffer.from(`${command}; echo don''e\n`));
    await this.#until('\ndone', from);
    return this.text.slice(from).split('\n').slice(1, -1).join('\n');
  }

  /** Waits for a block device to have so many sectors. */
  async waitForSize(device: string, sectors: number): Promise<void> {
    await this.run(`while [ $(cat /sys/block/${device}/size) != ${sectors} ]; do sleep 0.05; done`);
  }

  /** Waits for a block device to be there, or to be gone. */
  async waitFor(device: string, there = true): Promise<void> {
    const not = there ? '!' : '';
    await this.run(`while [ ${not} -b /dev/${device} ]; do sleep 0.05; done`);
  }
}

/** Disks of one controller: the second comes and goes while the controller stays, and so does the first. */
async function share(
  vm: Vm,
  shell: Shell,
  [first = '', second = '', again = '']: readonly string[],
  bus: DiskConfig['bus'],
): Promise<void> {
  const one = disk(`${bus}-one`, bus, bus);
  const two = disk(`${bus}-two`, bus, bus);
  await vm.addDisk(one);
  await shell.waitFor(first);
  await vm.addDisk(two);
  await shell.waitFor(second);
  await shell.run(`dd if=/dev/${first} of=/dev/${second} bs=64k; sync`);
  await vm.resizeDisk(`${bus}-two`, 2 * DISK_BYTES);
  await shell.waitForSize(second, (2 * DISK_BYTES) / 512);
  await vm.removeDisk(`${bus}-one`);
  await shell.waitFor(first, false);
  assert.ok(readFileSync(two.path).subarray(0, DISK_BYTES).equals(one.content));
  await vm.addDisk(one);
  await shell.waitFor(again);
  const read = await shell.run(`cmp -n ${DISK_BYTES} /dev/${again} /dev/${second} && echo same`);
  assert.match(read, /same/);
  await vm.removeDisk(`${bus}-one`);
  await shell.waitFor(again, false);
  await vm.removeDisk(`${bus}-two`);
  await shell.waitFor(second, false);
}

describe('disks that come and go', { timeout: PATIENCE_MS * 2 }, () => {
  it('are seen by a running guest, written, given up, and complete on the host', async () => {
    const guest = await ensureDefaultGuest({ env: process.env, progress: () => {} });
    const first = disk('first', 'nvme');
    const vm = await createVm({
      memoryBytes: 192 << 20,
      kernel: readFileSync(guest.kernel),
      initrd: readFileSync(guest.initrd),
      append: DEFAULT_GUEST_APPEND,
      disks: [first],
      cpuModel: DEFAULT_CPU_MODEL,
      accel: 'software',
      noReboot: true,
      stats: false,
    });
    const shell = new Shell(vm);
    const end = vm.run();
    try {
      await shell.boot();
      const second = disk('second', 'nvme');
      assert.equal(await vm.addDisk(second), 'second');
      await assert.rejects(vm.addDisk(second), { field: 'disk' });
      await shell.waitFor('nvme1n1');
      await shell.run('dd if=/dev/nvme0n1 of=/dev/nvme1n1 bs=64k; sync');
      await vm.resizeDisk('second', 2 * DISK_BYTES);
      await shell.waitForSize('nvme1n1', (2 * DISK_BYTES) / 512);
      await assert.rejects(vm.resizeDisk('second', DISK_BYTES), { field: 'disk' });
      await vm.resizeDisk('second', DISK_BYTES, { shrink: true });
      await vm.removeDisk('second');
      await shell.waitFor('nvme1n1', false);
      assert.ok(readFileSync(second.path).equals(first.content));

      // The slot is used again, by a card of another kind.
      const third = disk('third', 'virtio');
      await vm.addDisk(third);
      assert.deepEqual(
        vm.disks().map(({ id, bus }) => `${id} ${bus}`),
        ['first nvme', 'third virtio'],
      );
      // The first that needs those drivers: the guest loads them.
      await shell.waitFor('vda');
      await shell.run('dd if=/dev/nvme0n1 of=/dev/vda bs=64k; sync');
      await vm.resizeDisk('third', 3 * DISK_BYTES);
      await shell.waitForSize('vda', (3 * DISK_BYTES) / 512);
      await vm.removeDisk('third');
      assert.equal(statSync(third.path).size, 3 * DISK_BYTES);
      assert.ok(readFileSync(third.path).subarray(0, DISK_BYTES).equals(first.content));
      // Taken by force: the guest's requests fail, and it gives the card up.
      const fourth = disk('fourth', 'virtio');
      await vm.addDisk(fourth);
      await shell.waitFor('vda');
      await shell.run('dd if=/dev/nvme0n1 of=/dev/vda bs=64k oflag=direct');
      await vm.removeDisk('fourth', { force: true });
      assert.ok(readFileSync(fourth.path).equals(first.content));
      await shell.waitFor('vda', false);
      // Without asking, and one that was there from the beginning: the guest finds nothing where the disk was.
      await vm.removeDisk('first', { force: true });
      assert.deepEqual(vm.disks(), []);
      await shell.waitFor('nvme0n1', false);
      await share(vm, shell, ['nvme0n1', 'nvme0n2', 'nvme0n1'], 'nvme');
      await share(vm, shell, ['sda', 'sdb', 'sda'], 'scsi');
    } finally {
      await vm.stop();
    }
    assert.deepEqual(await end, { type: 'stopped' });
  });
});
