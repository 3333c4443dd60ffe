// What a disk holds, whatever its image is.
import { createHash } from 'node:crypto';
import { nodeStorageHost } from '#storage/node/node-host.ts';
import { openImage } from '#storage/open.ts';
import { isZero } from '#storage/zeros.ts';

const MIB = 1 << 20;

/** Of what is not zero, and where it lies. Some formats round the size up. */
export async function hashOfDisk(file: string, format: string, sizeBytes: number): Promise<string> {
  const image = await openImage(file, nodeStorageHost, { format, readOnly: true });
  const hash = createHash('sha256').update(`${image.sizeBytes >= sizeBytes}`);
  const chunk = new Uint8Array(MIB);
  try {
    for (let at = 0; at < image.sizeBytes; ) {
      const { kind, lengthBytes } = await image.extent(at, image.sizeBytes - at);
      const end = kind === 'data' ? at + MIB - (at % MIB) : at + lengthBytes;
      const from = at - (at % MIB);
      at = Math.min(end, image.sizeBytes);
      if (kind !== 'data') continue;
      const bytes = chunk.subarray(0, Math.min(MIB, image.sizeBytes - from));
      await image.read(from, bytes);
      if (!isZero(bytes)) hash.update(`${from} `).update(bytes);
    }
  } finally {
    await image.close();
  }
  return hash.digest('hex').slice(0, 16);
}
