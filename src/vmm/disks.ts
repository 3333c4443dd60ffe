import { createHash, randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { RequestError } from '#base/errors.ts';
import type { DiskConfig, IoLimits } from '#control/vm.ts';
import { type DiskImage, ImageError, SECTOR_BYTES, type StorageHost } from '#storage/image.ts';
import { parseImageName } from '#storage/image-name.ts';
import { overSubscribed, type ThinDisk } from '#storage/node/free-space.ts';
import { directStorageHost, nodeStorageHost, unsafeStorageHost } from '#storage/node/node-host.ts';
import { openImage } from '#storage/open.ts';
import { OverlayImage } from '#storage/overlay.ts';
import { settle } from '#storage/settle.ts';
import { DiskBackend } from './disk-backend.ts';
import { unitOf } from './disk-cards.ts';
import { IoLimiter } from './io-limit.ts';

/** How long a write waits before it asks the host again for room. */
const RETRY_MS = 500;
/** How long after a guest has freed room the host gets it, when the guest flushes nothing. */
const GIVE_BACK_MS = 1000;

export interface OpenDisk {
  readonly id: string;
  readonly config: DiskConfig;
  /** Its number on its controller. */
  readonly unit: number;
  readonly image: DiskImage;
  /** Its card has been taken away: requests wait for nothing any more. */
  isGone: boolean;
  limits: IoLimits | undefined;
  /** As its card sees it, when it has one. */
  backend?: DiskBackend;
}

/** Who hears what goes wrong on the host. */
export interface DiskEvents {
  failed(message: string): void;
  /** A write waits for room, and why; undefined: one waits no longer. */
  stalled(why: string | undefined): void;
}

/** The images of a VM's disks, open as long as it has them. */
export class Disks {
  readonly warnings: string[] = [];
  readonly #listeners: ((line: string) => void)[] = [];
  #isEnding = false;
  #isClosed = false;
  /** Those of disks that are being opened too. */
  readonly #ids = new Set<string>();
  readonly #open: OpenDisk[] = [];

  /** @throws {RequestError} of the field `disk`. */
  static async open(configs: readonly DiskConfig[]): Promise<Disks> {
    const disks = new Disks();
    try {
      for (const config of configs) await disks.add(config);
      for (const line of await overSubscribed(disks.growing())) disks.warnings.push(line);
    } catch (error) {
      await disks.close();
      throw error;
    }
    return disks;
  }

  /** Hears what the user should know while the guest runs. */
  onWarning(listener: (line: string) => void): void {
    this.#listeners.push(listener);
  }

  warn(line: string): void {
    for (const listener of this.#listeners) listener(line);
  }

  get list(): readonly OpenDisk[] {
    return this.#open;
  }

  /** @throws {RequestError} of the field `disk`. */
  async add(config: DiskConfig): Promise<OpenDisk> {
    if (this.#isClosed) throw new RequestError('the machine has ended', 'disk');
    const id = config.id ?? this.#freeId();
    if (this.#ids.has(id))
      throw new RequestError(`there is a disk '${id}' already; give another id`, 'disk');
    this.#ids.add(id);
    try {
      const image = await this.#openImage(config);
      try {
        return this.#take(id, config, image);
      } catch (error) {
        await image.close();
        throw error;
      }
    } catch (error) {
      this.#ids.delete(id);
      if (!(error instanceof ImageError)) throw error;
      throw new RequestError(`${error.message}${hintFor(error, config)}`, 'disk', { cause: error });
    }
  }

  #take(id: string, config: DiskConfig, image: DiskImage): OpenDisk {
    if (this.#isClosed) throw new RequestError('the machine has ended', 'disk');
    const unit = unitOf(config, this.#open);
    const disk = { id, config, unit, image, isGone: false, limits: config.limits };
    this.#open.push(disk);
    return disk;
  }

  #freeId(): string {
    let number = 0;
    while (this.#ids.has(`disk${number}`)) number++;
    return `disk${number}`;
  }

  async #openImage(config: DiskConfig): Promise<DiskImage> {
    const { path: file, format, readOnly, snapshot } = config;
    const image = await openImage(file, this.#host(config), {
      readOnly: readOnly || snapshot,
      probe: format === undefined,
      ...(format !== undefined && { format }),
    });
    if (image.sizeBytes === 0) {
      await image.close();
      throw new RequestError(`${file}: the disk has no size; give an image of a disk`, 'disk');
    }
    if ((format ?? parseImageName(file).format) === undefined && image.format === 'raw')
      this.warnings.push(
        `${file}: no format is named, and it looks raw; name it, because a guest could make it look like another one`,
      );
    return snapshot && !readOnly ? await overlay(image) : image;
  }

  #host({ cache }: DiskConfig): StorageHost {
    if (cache === 'none') return directStorageHost((line) => this.warnings.push(line));
    return cache === 'unsafe' ? unsafeStorageHost : nodeStorageHost;
  }

  /** The first one's image. */
  get first(): DiskImage | undefined {
    return this.#open[0]?.image;
  }

  /** Those whose files take the room that the guest writes to. */
  growing(): readonly ThinDisk[] {
    return this.#open
      .filter(({ config }) => !config.readOnly && !config.snapshot)
      .map(({ image }) => ({ file: image.path, sizeBytes: image.sizeBytes }));
  }

  /** As a card that is about to be made sees it. */
  backend(disk: OpenDisk, hears: DiskEvents): DiskBackend {
    const { config, image } = disk;
    const isOver = () => this.#isEnding || disk.isGone;
    const backend = new DiskBackend(image, {
      serial: config.serial ?? serialOf(config.path),
      onFull: config.onFull ?? 'wait',
      failed: hears.failed,
      stalled: hears.stalled,
      retry: async () => {
        if (!isOver()) await setTimeout(RETRY_MS);
        return !isOver();
      },
      soon: async () => {
        await setTimeout(GIVE_BACK_MS, undefined, { ref: false });
        return !isOver();
      },
      limiter: limiterOf(disk.limits),
    });
    disk.backend = backend;
    return backend;
  }

  limit(disk: OpenDisk, limits: IoLimits | undefined): void {
    disk.limits = limits;
    disk.backend?.limit(limiterOf(limits));
  }

  /** @throws {RequestError} */
  async resize(
    { config, image, backend }: OpenDisk,
    sizeBytes: number,
    shrink: boolean,
  ): Promise<void> {
    const wrong = (message: string) => new RequestError(`${config.path}: ${message}`, 'disk');
    if (image.resize === undefined || config.snapshot)
      throw wrong('the disk keeps its size: its format, or a snapshot, does not let it change');
    if (image.readOnly) throw wrong('opened for reading only; it keeps its size');
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % SECTOR_BYTES !== 0)
      throw wrong(`${sizeBytes} is no size of a disk; give a multiple of ${SECTOR_BYTES} bytes`);
    if (sizeBytes < image.sizeBytes && !shrink)
      throw wrong(`what lies beyond ${sizeBytes} bytes would be lost; say that it is to shrink`);
    try {
      if (backend === undefined) await image.resize(sizeBytes, { shrink });
      else await backend.resize(sizeBytes, shrink);
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      throw new RequestError(error.message, 'disk', { cause: error });
    }
  }

  /** The machine is powered on. */
  begin(): void {
    this.#isEnding = false;
  }

  /** Requests that wait for room on the host wait no longer. */
  end(): void {
    this.#isEnding = true;
  }

  /** Closes a disk that no card has any more, once nothing is under way. Does nothing the second time. */
  async remove(disk: OpenDisk): Promise<void> {
    const index = this.#open.indexOf(disk);
    if (index < 0) return;
    this.#open.splice(index, 1);
    disk.isGone = true;
    try {
      await disk.backend?.end();
      await disk.image.close();
    } finally {
      this.#ids.delete(disk.id);
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const disks = this.#open.splice(0);
    await settle(disks.map(({ image }) => image.close()));
  }
}

function limiterOf(limits: IoLimits | undefined): IoLimiter | undefined {
  if (limits === undefined) return undefined;
  return new IoLimiter(limits, { nowMs: () => performance.now(), wait: (ms) => setTimeout(ms) });
}

function hintFor({ kind }: ImageError, { readOnly, snapshot }: DiskConfig): string {
  const mayRead = kind === 'read-only' || kind === 'locked';
  return mayRead && !readOnly && !snapshot
    ? '; it can be had for reading alone, or with a snapshot for what is written'
    : '';
}

/** The file has no name left: it goes when it is closed, or when we do. */
async function overlay(base: DiskImage): Promise<DiskImage> {
  const file = path.join(os.tmpdir(), `ring0-snapshot-${randomUUID()}`);
  try {
    const scratch = await nodeStorageHost.openFile(file, { access: 'create-new', lock: false });
    await rm(file);
    return new OverlayImage(base, scratch);
  } catch (error) {
    await base.close();
    throw error;
  }
}

/** The same for the same file, so that the guest finds its disks again. */
function serialOf(path: string): string {
  return createHash('sha256').update(path).digest('hex').slice(0, 16);
}
