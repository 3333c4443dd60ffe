import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type DiskImage, SECTOR_BYTES } from '../../image.ts';
import { openImage } from '../../open.ts';
import { MemoryHost } from '../../testing.ts';
import { createImage } from '../testing.ts';
import { qcow2 } from './qcow2.ts';

/** A mark that TextDecoder leaves out, and bytes that are no UTF-8. */
const ODD = Buffer.from('\xef\xbb\xbf\xff\xfeodd..', 'latin1');

const WAYS: Readonly<Record<string, (image: DiskImage, name: string) => Promise<unknown>>> = {
  snapshot: async (image, name) => await image.snapshots?.create(name),
  bitmap: async (image, name) => await image.bitmaps?.add(name),
};

describe('qcow2 names', () => {
  for (const [what, make] of Object.entries(WAYS))
    it(`keep their bytes when what holds them is written again: ${what}`, async () => {
      const host = new MemoryHost();
      await createImage(qcow2, host, '/d', 2048 * SECTOR_BYTES);
      const add = async (name: string): Promise<void> => {
        const image = await openImage('/d', host, { format: 'qcow2' });
        await make(image, name);
        await image.close();
      };
      const bytes = async (): Promise<Buffer> => {
        const file = await host.openFile('/d');
        const all = Buffer.alloc(await file.size());
        await file.read(0, all);
        return all;
      };
      await add('first-name');
      const file = await host.openFile('/d', { access: 'write' });
      await file.write((await bytes()).indexOf('first-name'), ODD);
      await file.close();
      await add('second');
      const after = await bytes();
      const at = after.indexOf('second');
      assert.ok(at > 0);
      assert.ok(after.subarray(at - 200, at).includes(ODD));
    });
});
