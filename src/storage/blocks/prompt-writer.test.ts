import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkImage, createImage } from '../formats/testing.ts';
import type { DiskImage } from '../image.ts';
import { formatNamed, openImage } from '../open.ts';
import { MemoryHost, noise } from '../testing.ts';

const MIB = 1 << 20;
const DISK_BYTES = 32 * MIB;

async function diskOf(name: string): Promise<{ host: MemoryHost; image: DiskImage }> {
  const host = new MemoryHost();
  await createImage(await formatNamed(name), host, '/d', DISK_BYTES);
  return { host, image: await openImage('/d', host, { format: name }) };
}

for (const name of ['parallels', 'vdi'])
  describe(`${name}, within the call`, () => {
    it('takes whole units that have no room yet, and what lies in one', async () => {
      const { host, image } = await diskOf(name);
      const data = noise(4 * MIB, 1);
      assert.equal(image.tryWrite?.(0, [data]), false, 'before the image says that it changes');
      await image.write(0, data.subarray(0, MIB));
      const rest = [data.subarray(MIB, MIB + 512), data.subarray(MIB + 512)];
      assert.equal(image.tryWrite?.(MIB, rest), true);
      const sector = noise(512, 2);
      assert.equal(image.tryWrite?.(2 * MIB + 512, [sector]), true);
      data.set(sector, 2 * MIB + 512);
      assert.equal(image.tryWrite?.(8 * MIB, [sector]), false, 'a part of a unit');
      assert.equal(image.tryWrite?.(3 * MIB, [noise(2 * MIB, 3)]), false, 'one that has room, too');
      const into = new Uint8Array(4 * MIB);
      assert.equal(image.tryRead?.(0, [into]), true);
      assert.deepEqual(into.subarray(0, 3 * MIB + 1), data.subarray(0, 3 * MIB + 1));
      await image.close();
      const { leaks, corruptions } = await checkImage(await formatNamed(name), host, '/d');
      assert.deepEqual([leaks, corruptions], [0, 0]);
      const again = await openImage('/d', host, { format: name, readOnly: true });
      await again.read(0, into);
      assert.deepEqual(Buffer.compare(into, data), 0);
      await again.close();
    });

    it('leaves a unit alone that another request is giving room', async () => {
      const { image } = await diskOf(name);
      await image.write(0, noise(512, 1));
      const part = noise(512, 2);
      const writing = image.write(4 * MIB + 512, part);
      await new Promise((resolve) => queueMicrotask(() => queueMicrotask(() => resolve(0))));
      assert.equal(image.tryWrite?.(4 * MIB, [noise(MIB, 3)]), false);
      await writing;
      const into = new Uint8Array(512);
      await image.read(4 * MIB + 512, into);
      assert.deepEqual(into, part);
      await image.close();
    });

    it('reads zeros, and nothing that lies in several ways', async () => {
      const { image } = await diskOf(name);
      await image.write(MIB, noise(MIB, 1));
      const into = new Uint8Array(2 * MIB).fill(1);
      assert.equal(image.tryRead?.(0, [into]), false);
      assert.equal(image.tryRead?.(0, [into.subarray(0, MIB)]), true);
      assert.ok(into.subarray(0, MIB).every((byte) => byte === 0));
      await image.close();
    });
  });
