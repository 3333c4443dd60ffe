import { writeStream } from '../formats/vmdk/stream-writer.ts';
import {
  type DiskImage,
  type HostFile,
  ImageError,
  SECTOR_BYTES,
  type StorageHost,
} from '../image.ts';
import { type ManifestLine, makeManifest } from './manifest.ts';
import { makeOvf, type OvfSystem } from './ovf.ts';
import { tarHeader } from './tar.ts';

export interface ExportRequest {
  readonly name: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly networks: readonly string[];
  readonly disks: readonly DiskImage[];
}

/** The digest by SHA-256 of a range of a file. */
type RangeDigest = (file: HostFile, offsetBytes: number, lengthBytes: number) => Promise<string>;

const DIGEST_CHARACTERS = 64;

/**
 * Fills an empty file with a package of one system: descriptor, manifest, disks as VMDK streams, in the order that readers
 * of streams want. @throws {ImageError} `bad-option`, `io`, `no-space`.
 */
export async function exportAppliance(
  file: HostFile,
  request: ExportRequest,
  tools: { readonly host: StorageHost; readonly digest: RangeDigest },
): Promise<void> {
  if (!/^[\w .-]{1,60}$/.test(request.name))
    throw new ImageError('bad-option', `name: '${request.name}': letters, digits, spaces, . - _`);
  const exporter = new Exporter(file, request, tools);
  await exporter.run();
}

class Exporter {
  readonly #file: HostFile;
  readonly #request: ExportRequest;
  readonly #tools: { readonly host: StorageHost; readonly digest: RangeDigest };
  readonly #lines: ManifestLine[] = [];
  #endBytes = 0;

  constructor(
    file: HostFile,
    request: ExportRequest,
    tools: { readonly host: StorageHost; readonly digest: RangeDigest },
  ) {
    this.#file = file;
    this.#request = request;
    this.#tools = tools;
  }

  async run(): Promise<void> {
    const { name, disks } = this.#request;
    const system: OvfSystem = {
      ...this.#request,
      disks: disks.map(({ sizeBytes }, index) => ({
        id: `disk${index + 1}`,
        file: `${name}-disk${index + 1}.vmdk`,
        capacityBytes: sizeBytes,
        format: 'vmdk',
      })),
    };
    const descriptor = new TextEncoder().encode(makeOvf(system));
    const descriptorAt = await this.#add(`${name}.ovf`, descriptor);
    await this.#note(`${name}.ovf`, descriptorAt, descriptor.length);
    // The manifest comes before the disks, and its length is known before what it says is.
    const files = system.disks.map(({ file }) => file ?? '');
    const blank = files.map((one) => lineOf(one, '0'.repeat(DIGEST_CHARACTERS)));
    const length = makeManifest([...this.#lines, ...blank]).length;
    const manifestAt = await this.#add(`${name}.mf`, new Uint8Array(length));
    for (const [index, disk] of disks.entries()) await this.#addDisk(disk, files[index] ?? '');
    await this.#file.write(manifestAt, new TextEncoder().encode(makeManifest(this.#lines)));
    // Two blocks of zeros end an archive.
    await this.#file.write(this.#endBytes, new Uint8Array(2 * SECTOR_BYTES));
    await this.#file.flush();
  }

  /** Where the member's content came to lie. */
  async #add(name: string, content: Uint8Array): Promise<number> {
    const at = await this.#writeHeader(name, content.length);
    await this.#file.write(at, content);
    this.#endBytes = at + Math.ceil(content.length / SECTOR_BYTES) * SECTOR_BYTES;
    return at;
  }

  async #addDisk(disk: DiskImage, name: string): Promise<void> {
    const { host } = this.#tools;
    const startBytes = this.#endBytes + SECTOR_BYTES;
    const length = await writeStream(disk, { file: this.#file, startBytes, name }, host);
    await this.#writeHeader(name, length);
    this.#endBytes = startBytes + length;
    await this.#note(name, startBytes, length);
  }

  async #writeHeader(name: string, sizeBytes: number): Promise<number> {
    await this.#file.write(this.#endBytes, tarHeader(name, sizeBytes, this.#tools.host.nowMs()));
    return this.#endBytes + SECTOR_BYTES;
  }

  async #note(name: string, at: number, length: number): Promise<void> {
    this.#lines.push(lineOf(name, await this.#tools.digest(this.#file, at, length)));
  }
}

function lineOf(file: string, digest: string): ManifestLine {
  return { algorithm: 'SHA256', file, digest };
}
