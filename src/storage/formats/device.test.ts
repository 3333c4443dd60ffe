import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { FileOptions, HostFile } from '../image.ts';
import { formatNamed, openImage } from '../open.ts';
import { MemoryFile, MemoryHost, noise } from '../testing.ts';
import { createImage } from './testing.ts';

const MIB = 1 << 20;

/** As a device that cannot discard does, keeps what is cut off. */
class KeepingFile extends MemoryFile {
  override async truncate(sizeBytes: number): Promise<void> {
    if (sizeBytes > (await this.size())) await super.truncate(sizeBytes);
  }

  override punch(): Promise<boolean> {
    return Promise.resolve(false);
  }
}

class KeepingHost extends MemoryHost {
  override async openFile(path: string, options: FileOptions = {}): Promise<HostFile> {
    if (!this.files.has(path)) this.files.set(path, new KeepingFile(path));
    return await super.openFile(path, options);
  }
}

describe('an image whose file keeps what is cut off', () => {
  for (const [format, options] of [
    ['vdi', {}],
    ['vhdx', { block_size: MIB }],
    ['parallels', {}],
    ['vmdk', {}],
    ['vpc', {}],
  ] as const)
    it(`shows zeros where nothing was written since: ${format}`, async () => {
      const host = new KeepingHost();
      await createImage(await formatNamed(format), host, '/disk', 16 * MIB, options);
      const image = await openImage('/disk', host, { format });
      const { resize, sizeBytes } = image;
      assert.ok(resize !== undefined);
      await image.write(0, noise(16 * MIB, 1));
      await resize(4 * MIB, { shrink: true });
      await resize(sizeBytes);
      for (let at = 4 * MIB; at < 16 * MIB; at += MIB) await image.write(at, noise(512, 2));
      for (let at = 4 * MIB; at < 16 * MIB; at += MIB) {
        const bytes = new Uint8Array(MIB);
        await image.read(at, bytes);
        const expected = new Uint8Array(MIB);
        expected.set(noise(512, 2));
        assert.ok(Buffer.compare(bytes, expected) === 0, `at ${at}`);
      }
      await image.close();
    });
});
