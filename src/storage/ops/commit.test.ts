import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { crashes, RecordingHost } from '../blocks/testing.ts';
import { createImage, readAll } from '../formats/testing.ts';
import { type DiskImage, ImageError, type StorageHost } from '../image.ts';
import { formatNamed, openImage } from '../open.ts';
import { MemoryHost, noise } from '../testing.ts';
import { commitDisk } from './commit.ts';

const KIB = 1 << 10;
const SIZE_BYTES = 2048 * KIB;

/** A base with data and, on it, a top and a sister of that. */
async function make<Host extends StorageHost>(host: Host, format: string): Promise<Host> {
  const files = ['base', 'top', 'sister'].map((name) => `/${name}.${format}`);
  for (const file of files) {
    const options = file === files[0] ? {} : { backing_file: `base.${format}` };
    await createImage(await formatNamed(format), host, file, SIZE_BYTES, options);
    if (file !== files[0]) continue;
    const base = await openImage(file, host, { format });
    await base.write(0, noise(256 * KIB, 1));
    await base.close();
  }
  return host;
}

async function writeTop(host: StorageHost, format: string): Promise<void> {
  const top = await openImage(`/top.${format}`, host, { format });
  await top.write(224 * KIB, noise(64 * KIB, 2));
  await top.write(1536 * KIB, noise(64 * KIB, 3));
  await top.close();
}

async function commitTop(host: StorageHost, format: string): Promise<void> {
  const top = await openImage(`/top.${format}`, host, { format });
  const base = await openImage(`/base.${format}`, host, { format });
  await commitDisk({ top, base, baseDepth: 1 });
  await base.close();
  await top.close();
}

async function bytesOf(host: StorageHost, file: string, format: string): Promise<Uint8Array> {
  const image = await openImage(file, host, { format, readOnly: true });
  try {
    return await readAll(image);
  } finally {
    await image.close();
  }
}

async function refused(host: StorageHost, file: string, format: string): Promise<boolean> {
  let image: DiskImage;
  try {
    image = await openImage(file, host, { format, readOnly: true });
  } catch (error) {
    assert.ok(error instanceof ImageError && /was changed after/.test(error.message));
    return true;
  }
  await image.close();
  return false;
}

/** Whether the top is refused, after a crash: then nothing else was done. */
async function isEarly(
  host: StorageHost,
  format: string,
  bytes: { readonly base: Uint8Array; readonly expected: Uint8Array },
): Promise<boolean> {
  const isRefused = await refused(host, `/top.${format}`, format);
  if (!isRefused) assert.deepEqual(await bytesOf(host, `/top.${format}`, format), bytes.expected);
  // No image takes the base for what it was when it is not.
  if (isRefused || !(await refused(host, `/sister.${format}`, format)))
    assert.deepEqual(await bytesOf(host, `/base.${format}`, format), bytes.base);
  if (isRefused) {
    await acceptBase(host, format);
    assert.deepEqual(await bytesOf(host, `/top.${format}`, format), bytes.expected);
  }
  return isRefused;
}

async function acceptBase(host: StorageHost, format: string): Promise<void> {
  const top = await openImage(`/top.${format}`, host, { format, anyBacking: true });
  await top.adoptBacking?.();
  await top.close();
}

describe('commitDisk', () => {
  for (const format of ['vmdk', 'vdi', 'vhdx', 'vpc']) {
    it(`leaves the top usable: ${format}`, async () => {
      const host = await make(new MemoryHost(), format);
      await writeTop(host, format);
      const expected = await bytesOf(host, `/top.${format}`, format);
      const file = `/above.${format}`;
      const options = { backing_file: `top.${format}` };
      await createImage(await formatNamed(format), host, file, SIZE_BYTES, options);
      await commitTop(host, format);
      assert.deepEqual(await bytesOf(host, file, format), expected);
      assert.deepEqual(await bytesOf(host, `/base.${format}`, format), expected);
      assert.deepEqual(await bytesOf(host, `/top.${format}`, format), expected);
      // And again, as it was left.
      await commitTop(host, format);
      assert.deepEqual(await bytesOf(host, `/top.${format}`, format), expected);
    });

    it(`does not touch a base for nothing: ${format}`, async () => {
      const host = await make(new MemoryHost(), format);
      await commitTop(host, format);
      assert.equal(await refused(host, `/sister.${format}`, format), false);
    });
  }

  for (const format of ['vmdk', 'vdi', 'vhdx'])
    it(`leaves the top as it was, or refused, when the power fails: ${format}`, async () => {
      const host = await make(new RecordingHost(), format);
      await writeTop(host, format);
      const expected = await bytesOf(host, `/top.${format}`, format);
      const base = await bytesOf(host, `/base.${format}`, format);
      const start = new MemoryHost();
      for (const [name, file] of host.files) start.files.set(name, file.clone());
      host.events.length = 0;
      await commitTop(host, format);
      assert.equal(await refused(host, `/sister.${format}`, format), true);
      let earlyCrashes = 0;
      for (let seed = 1; seed <= 4; seed++)
        for (const crash of crashes(start, host.events, seed))
          if (await isEarly(crash.host, format, { base, expected })) earlyCrashes++;
      assert.ok(earlyCrashes > 0, 'no crash came before the top was told');
    });
});
