import {
  type FileOptions,
  type HostFile,
  ImageError,
  type Replaced,
  type StorageHost,
} from '../image.ts';
import { PartFile } from '../part-file.ts';
import { parseManifest } from './manifest.ts';
import { type Ovf, type OvfDisk, parseOvf } from './ovf.ts';
import { isTar, readTar, type TarMember } from './tar.ts';

const MAX_TEXT_BYTES = 4 << 20;

/** Computes a digest of a whole file, in hexadecimal, small letters. */
type Digest = (algorithm: 'SHA1' | 'SHA256' | 'SHA512', file: HostFile) => Promise<string>;

interface ApplianceParts {
  readonly ovf: Ovf;
  readonly host: StorageHost;
  readonly archive: HostFile | undefined;
  readonly manifest: string | undefined;
}

/** A package: a folder with an .ovf, or all of it in one .ova. Its disks are read in place. */
export class Appliance {
  readonly path: string;
  readonly ovf: Ovf;
  /** Opens the package's files by the paths that `pathOf` gives; `openImage` reads the disks through it. */
  readonly host: StorageHost;
  readonly #archive: HostFile | undefined;
  readonly #manifest: string | undefined;

  constructor(path: string, parts: ApplianceParts) {
    this.path = path;
    this.ovf = parts.ovf;
    this.host = parts.host;
    this.#archive = parts.archive;
    this.#manifest = parts.manifest;
  }

  /** Under what path `host` opens the disk's image; undefined: the disk is empty. */
  pathOf(disk: OvfDisk): string | undefined {
    return disk.file === undefined ? undefined : this.host.resolve(this.path, disk.file);
  }

  /**
   * Compares all files with the manifest. Resolves with false when there is none.
   * @throws {ImageError} `corrupt` when a file is not as it was when the package was made.
   */
  async verify(digest: Digest): Promise<boolean> {
    if (this.#manifest === undefined) return false;
    const manifest = await this.host.openFile(
      this.host.resolve(this.path, this.#manifest.replace(/^.*\//s, '')),
    );
    const lines = parseManifest(await textOf(manifest), this.#manifest);
    await manifest.close();
    for (const { algorithm, file: name, digest: expected } of lines) {
      const path = this.host.resolve(this.path, name);
      if (/[/\\]/.test(name))
        throw new ImageError(
          'unsupported',
          `${this.path}: a file '${name}' outside of the package`,
        );
      const file = await this.host.openFile(path);
      const actual = await digest(algorithm, file).finally(() => file.close());
      if (actual !== expected)
        throw new ImageError(
          'corrupt',
          `${path}: its ${algorithm} is ${actual}, and the manifest says ${expected}: it was changed or damaged`,
          { path },
        );
    }
    const missing = this.ovf.files.find((name) => !lines.some(({ file }) => file === name));
    if (missing === undefined) return true;
    throw new ImageError('corrupt', `${this.path}: the manifest does not have '${missing}'`, {
      path: this.path,
    });
  }

  async close(): Promise<void> {
    await this.#archive?.close();
  }
}

/** @throws {ImageError} `bad-format`, `corrupt`, `unsupported`, `not-found`. */
export async function openAppliance(path: string, host: StorageHost): Promise<Appliance> {
  const file = await host.openFile(path);
  try {
    const head = new Uint8Array(512);
    await file.read(0, head);
    if (isTar(head)) return await openArchive(file, host);
    const ovf = parseOvf(await textOf(file), path);
    const manifest = path.replace(/\.ovf$/i, '.mf');
    const names = await host.list(path);
    const hasManifest = manifest !== path && names.includes(manifest.replace(/^.*\//s, ''));
    await file.close();
    const parts = { ovf, host: new FolderHost(path, host), archive: undefined };
    return new Appliance(path, { ...parts, manifest: hasManifest ? manifest : undefined });
  } catch (error) {
    await file.close().catch(() => {});
    throw error;
  }
}

async function textOf(file: HostFile): Promise<string> {
  const sizeBytes = await file.size();
  if (sizeBytes > MAX_TEXT_BYTES)
    throw new ImageError('bad-format', `${file.path}: is no OVF descriptor or manifest`, {
      path: file.path,
    });
  const bytes = new Uint8Array(sizeBytes);
  await file.read(0, bytes);
  return new TextDecoder().decode(bytes);
}

async function openArchive(file: HostFile, host: StorageHost): Promise<Appliance> {
  const members = await readTar(file);
  const descriptor = members.find(({ name }) => /\.ovf$/i.test(name));
  if (descriptor === undefined)
    throw new ImageError('bad-format', `${file.path}: is an archive without an OVF descriptor`, {
      path: file.path,
    });
  const inside = new ArchiveHost(file, members, host);
  const ovf = parseOvf(await textOf(inside.part(descriptor)), file.path);
  const manifest = members.find(({ name }) => /\.mf$/i.test(name));
  return new Appliance(`${file.path}/${descriptor.name}`, {
    ovf,
    host: inside,
    archive: file,
    manifest: manifest === undefined ? undefined : `${file.path}/${manifest.name}`,
  });
}

/** The files beside a descriptor: a disk of a stranger's package leads to nothing else on this host. */
class FolderHost implements StorageHost {
  readonly codec: StorageHost['codec'];
  readonly #descriptor: string;
  readonly #host: StorageHost;

  constructor(descriptor: string, host: StorageHost) {
    this.codec = host.codec;
    this.#descriptor = descriptor;
    this.#host = host;
  }

  async openFile(path: string, options?: FileOptions): Promise<HostFile> {
    const name = path.replace(/^.*\//s, '');
    if (path !== this.#host.resolve(this.#descriptor, name))
      throw new ImageError('unsupported', `${path}: lies outside of the package`, { path });
    return await this.#host.openFile(path, options);
  }

  replace(path: string, bytes: Uint8Array): Promise<Replaced> {
    return this.#host.replace(path, bytes);
  }

  remove(path: string): Promise<void> {
    return this.#host.remove(path);
  }

  resolve(imagePath: string, name: string): string {
    return this.#host.resolve(imagePath, name);
  }

  identity(path: string): Promise<string> {
    return this.#host.identity(path);
  }

  list(path: string): Promise<readonly string[]> {
    return this.#host.list(path);
  }

  nowMs(): number {
    return this.#host.nowMs();
  }
}

/** The files of an archive, as if it were a folder. */
class ArchiveHost implements StorageHost {
  readonly codec: StorageHost['codec'];
  readonly #archive: HostFile;
  readonly #members: readonly TarMember[];
  readonly #host: StorageHost;

  constructor(archive: HostFile, members: readonly TarMember[], host: StorageHost) {
    this.codec = host.codec;
    this.#archive = archive;
    this.#members = members;
    this.#host = host;
  }

  part(member: TarMember): PartFile {
    const path = `${this.#archive.path}/${member.name}`;
    return new PartFile(this.#archive, path, member.offsetBytes, member.sizeBytes);
  }

  openFile(path: string, options: FileOptions = {}): Promise<HostFile> {
    const member = this.#members.find(({ name }) => path === `${this.#archive.path}/${name}`);
    if ((options.access ?? 'read') !== 'read') return this.#refuse(path);
    if (member !== undefined) return Promise.resolve(this.part(member));
    return Promise.reject(
      new ImageError('not-found', `${path}: the archive has no such file`, { path }),
    );
  }

  replace(path: string): Promise<Replaced> {
    return this.#refuse(path);
  }

  remove(path: string): Promise<void> {
    return this.#refuse(path);
  }

  #refuse(path: string): Promise<never> {
    return Promise.reject(
      new ImageError('read-only', `${path}: is in an archive, and can only be read`, { path }),
    );
  }

  resolve(_imagePath: string, name: string): string {
    return `${this.#archive.path}/${name}`;
  }

  identity(path: string): Promise<string> {
    return Promise.resolve(path);
  }

  list(): Promise<readonly string[]> {
    return Promise.resolve(this.#members.map(({ name }) => name).sort());
  }

  nowMs(): number {
    return this.#host.nowMs();
  }
}
