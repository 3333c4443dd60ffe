import type { BlockMap, Place, Run } from '../../blocks/block-map.ts';
import { findFlat } from '../../blocks/flat-map.ts';
import { type HostFile, ImageError, type ImageInfo, SECTOR_BYTES } from '../../image.ts';
import { settle } from '../../settle.ts';
import type { ParallelsMap } from './parallels-map.ts';

/** A part of a level: an expanding disk, or a plain one. */
export interface LevelPart {
  readonly startBytes: number;
  readonly lengthBytes: number;
  readonly file: HostFile;
  readonly map: ParallelsMap | undefined;
}

/** One level of a bundle: the files that one snapshot of the disk lies in. */
export class BundleMap implements BlockMap {
  readonly unitBytes: number;
  readonly #parts: readonly LevelPart[];
  /** The descriptor, which the bundle's writer holds. */
  readonly #descriptor: HostFile | undefined;

  /** @throws {ImageError} `unsupported` when the parts do not meet at whole clusters of one size. */
  constructor(parts: readonly LevelPart[], descriptor: HostFile | undefined) {
    this.#parts = parts;
    this.#descriptor = descriptor;
    const sizes = parts.flatMap(({ map }) => (map === undefined ? [] : [map.unitBytes]));
    this.unitBytes = sizes[0] ?? SECTOR_BYTES;
    for (const { startBytes, file } of parts)
      if (startBytes % this.unitBytes !== 0 || sizes.some((size) => size !== this.unitBytes))
        throw new ImageError('unsupported', `${file.path}: parts that do not meet at clusters`, {
          path: file.path,
        });
  }

  get sizeBytes(): number {
    const last = this.#parts.at(-1);
    return last === undefined ? 0 : last.startBytes + last.lengthBytes;
  }

  #partAt(offsetBytes: number): LevelPart {
    const part = this.#parts.findLast(({ startBytes }) => startBytes <= offsetBytes);
    if (part === undefined) throw new Error(`no part has the byte at ${offsetBytes}`);
    return part;
  }

  find(offsetBytes: number, lengthBytes: number): Run | Promise<Run> {
    const part = this.#partAt(offsetBytes);
    const within = offsetBytes - part.startBytes;
    // The last cluster may be asked for as a whole, although the disk ends within it.
    const end = Math.ceil(part.lengthBytes / this.unitBytes) * this.unitBytes;
    const length = Math.min(lengthBytes, end - within);
    return part.map?.find(within, length) ?? findFlat(part.file, within, length);
  }

  /** The expanding disk that has a unit, and which of its units that is. */
  #unitOf(unit: number): { map: ParallelsMap; own: number } {
    const { map, startBytes, file } = this.#partAt(unit * this.unitBytes);
    if (map === undefined) throw new Error(`${file.path}: a plain disk takes no room`);
    return { map, own: unit - startBytes / this.unitBytes };
  }

  allocate(unit: number): Place | Promise<Place> {
    return this.#unitOf(unit).map.allocate();
  }

  abandon(place: Place): void {
    this.#parts.find(({ file }) => file === place.file)?.map?.abandon(place);
  }

  link(unit: number, place: Place): Promise<void> {
    const { map, own } = this.#unitOf(unit);
    return map.link(own, place);
  }

  async beforeChange(): Promise<void> {
    for (const { map } of this.#parts) await map?.beforeChange();
  }

  async commit(): Promise<void> {
    for (const { map, file } of this.#parts) await (map?.commit() ?? file.flush());
  }

  info(): ImageInfo {
    return { clusterBytes: this.unitBytes };
  }

  async close(): Promise<void> {
    await settle([
      ...this.#parts.map(({ map, file }) => map?.close() ?? file.close()),
      this.#descriptor?.close() ?? Promise.resolve(),
    ]);
  }
}
