import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Random } from './blocks/testing.ts';
import { checkImage, createImage, type Options } from './formats/testing.ts';
import { type DiskImage, type FileOptions, type HostFile, ImageError } from './image.ts';
import { formatNamed, openImage } from './open.ts';
import { MemoryFile, MemoryHost, noise } from './testing.ts';

// A host whose disk is full now and then, or cannot be read. What is asked again gets through; nothing else is lost.

const MIB = 1 << 20;
const DISK_BYTES = 8 * MIB;
const LANES = 4;
const LANE_BYTES = DISK_BYTES / LANES;

/** Whether the next call fails, and how long it takes. */
interface Weather {
  readonly random: Random;
  isBad: boolean;
}

class FailingFile extends MemoryFile {
  readonly #weather: Weather;

  constructor(path: string, weather: Weather) {
    super(path);
    this.#weather = weather;
  }

  override async read(offsetBytes: number, into: Uint8Array): Promise<number> {
    await this.#pass('io', 12);
    return await super.read(offsetBytes, into);
  }

  override async write(offsetBytes: number, from: Uint8Array): Promise<void> {
    await this.#pass('no-space', 8);
    await super.write(offsetBytes, from);
  }

  override tryRead(offsetBytes: number, into: readonly Uint8Array[]): boolean {
    return !this.#weather.isBad && super.tryRead(offsetBytes, into);
  }

  override tryWrite(offsetBytes: number, from: readonly Uint8Array[]): boolean {
    return !this.#weather.isBad && super.tryWrite(offsetBytes, from);
  }

  override async truncate(sizeBytes: number): Promise<void> {
    await this.#pass('no-space', 8);
    await super.truncate(sizeBytes);
  }

  override async punch(offsetBytes: number, lengthBytes: number): Promise<boolean> {
    await this.#pass('io', 12);
    return await super.punch(offsetBytes, lengthBytes);
  }

  override async flush(): Promise<void> {
    await this.#pass('no-space', 6);
    await super.flush();
  }

  async #pass(kind: ImageError['kind'], oneIn: number): Promise<void> {
    const { random, isBad } = this.#weather;
    if (!isBad) return;
    for (let turns = random.below(4); turns > 0; turns--)
      await new Promise((resolve) => setImmediate(resolve));
    if (random.below(oneIn) === 0) throw new ImageError(kind, `${this.path}: bad weather`);
  }
}

class FailingHost extends MemoryHost {
  readonly weather: Weather;

  constructor(seed: number) {
    super();
    this.weather = { random: new Random(seed), isBad: false };
  }

  override async openFile(path: string, options: FileOptions = {}): Promise<HostFile> {
    if (!this.files.has(path)) this.files.set(path, new FailingFile(path, this.weather));
    const access = options.access === 'create-new' ? 'create' : (options.access ?? 'read');
    return await super.openFile(path, { ...options, access });
  }
}

/** Asks until it is done, as a guest's disk does that waits for room. */
async function insist(request: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++)
    try {
      return await request();
    } catch (error) {
      if (!(error instanceof ImageError) || error.kind === 'corrupt' || attempt > 1000) throw error;
    }
}

/** Requests on a part of the disk, one after the other, beside those on other parts. */
async function useLane(
  image: DiskImage,
  model: Uint8Array,
  { first, random }: { readonly first: number; readonly random: Random },
): Promise<void> {
  for (let step = 0; step < 24; step++) {
    const length = 512 * (1 + random.below(random.below(3) === 0 ? 1500 : 40));
    const offset = first + 512 * random.below((LANE_BYTES - length) / 512);
    const expected = model.subarray(offset, offset + length);
    const kind = random.below(8);
    if (kind < 4) {
      const data = noise(length, step + first);
      await insist(() => image.write(offset, data));
      expected.set(data);
    } else if (kind === 4) {
      const mayUnmap = random.below(2) === 0;
      await insist(() => image.writeZeroes(offset, length, { mayUnmap }));
      expected.fill(0);
    } else if (kind === 5) await insist(() => image.flush());
    else {
      const into = new Uint8Array(length);
      await insist(() => image.read(offset, into));
      assert.ok(Buffer.compare(into, expected) === 0, `${length} bytes at ${offset} differ`);
    }
  }
}

const CASES: readonly { readonly format: string; readonly options?: Options }[] = [
  { format: 'qcow2' },
  { format: 'qcow2', options: { cluster_size: 4096 } },
  { format: 'qcow2', options: { extended_l2: true, lazy_refcounts: true } },
  { format: 'vdi' },
  { format: 'vpc' },
  { format: 'vhdx' },
  { format: 'vmdk' },
  { format: 'parallels' },
  { format: 'qed' },
];

describe('a host that fails now and then', () => {
  for (const { format: name, options = {} } of CASES)
    for (const seed of [1, 2])
      it(`${name} ${JSON.stringify(options)}, seed ${seed}`, async () => {
        const host = new FailingHost(seed);
        const format = await formatNamed(name);
        const model = new Uint8Array(DISK_BYTES);
        await createImage(format, host, '/d', DISK_BYTES, options);
        const image = await openImage('/d', host, { format: name });
        host.weather.isBad = true;
        const lanes = Array.from({ length: LANES }, (_, lane) => ({
          first: lane * LANE_BYTES,
          random: new Random(seed * 100 + lane),
        }));
        await Promise.all(lanes.map((lane) => useLane(image, model, lane)));
        host.weather.isBad = false;
        await image.close();
        const { corruptions, messages } = await checkImage(format, host, '/d');
        assert.equal(corruptions, 0, messages.join('\n'));
        const again = await openImage('/d', host, { format: name, readOnly: true });
        const all = new Uint8Array(DISK_BYTES);
        await again.read(0, all);
        await again.close();
        assert.ok(Buffer.compare(all, model) === 0, 'the disk holds something else');
      });
});
