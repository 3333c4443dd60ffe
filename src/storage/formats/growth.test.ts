// What takes long on XFS: it writes a file to its disk at once that is cut back, or that is made longer behind data.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatNamed, openImage } from '../open.ts';
import { MemoryFile, MemoryHost, noise } from '../testing.ts';
import { createImage } from './testing.ts';

const MIB = 1 << 20;
const FORMATS = ['qcow2', 'vdi', 'vpc', 'vhdx', 'vmdk', 'parallels', 'qed'];

class WatchedFile extends MemoryFile {
  /** Of large files. */
  readonly slow: string[] = [];
  /** By what was written behind its end. */
  #isLonger = false;
  #sizeBytes = 0;

  override apply(offsetBytes: number, from: Uint8Array): void {
    super.apply(offsetBytes, from);
    const end = offsetBytes + from.length;
    if (end > this.#sizeBytes) this.#isLonger = true;
    this.#sizeBytes = Math.max(this.#sizeBytes, end);
  }

  override resizeTo(sizeBytes: number): void {
    const isCut = sizeBytes < this.#sizeBytes;
    const isBehindData = this.#isLonger && sizeBytes > this.#sizeBytes;
    if (this.#sizeBytes > 4 * MIB && (isCut || isBehindData))
      this.slow.push(`${this.#sizeBytes} to ${sizeBytes}`);
    this.#isLonger = false;
    this.#sizeBytes = sizeBytes;
    super.resizeTo(sizeBytes);
  }
}

describe('the file of an image that large pieces are written to', () => {
  for (const format of FORMATS)
    it(`is not cut, nor made longer behind data: ${format}`, async () => {
      const host = new MemoryHost();
      const file = new WatchedFile('/disk');
      host.files.set('/disk', file);
      await createImage(await formatNamed(format), host, '/disk', 256 * MIB);
      const image = await openImage('/disk', host, { format });
      for (let at = 0; at < 128 * MIB; at += 4 * MIB) await image.write(at, noise(3 * MIB, at));
      await image.write(200 * MIB, noise(MIB / 4, 1));
      await image.flush();
      await image.close();
      assert.deepEqual(file.slow, []);
    });
});
