import { type HostFile, type ImageInfo, SECTOR_BYTES } from '../image.ts';
import type { BlockMap, Run } from './block-map.ts';

interface FlatParts {
  readonly startBytes: number;
  readonly sizeBytes: number;
  readonly info: ImageInfo;
  /** As in {@link Run}. */
  readonly fixed?: boolean;
  /** Gives the disk another size, on the file. */
  readonly resize?: (sizeBytes: number) => Promise<void>;
}

/** A disk that lies in its file in one piece. */
export class FlatMap implements BlockMap {
  readonly unitBytes = SECTOR_BYTES;
  readonly resize?: (sizeBytes: number) => Promise<void>;
  readonly #file: HostFile;
  readonly #parts: FlatParts;
  #sizeBytes: number;

  constructor(file: HostFile, parts: FlatParts) {
    this.#file = file;
    this.#parts = parts;
    this.#sizeBytes = parts.sizeBytes;
    const { resize } = parts;
    if (resize !== undefined)
      this.resize = async (sizeBytes) => {
        await resize(sizeBytes);
        this.#sizeBytes = sizeBytes;
      };
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  find(offsetBytes: number, lengthBytes: number): Promise<Run> {
    const { startBytes, fixed } = this.#parts;
    return findFlat(this.#file, startBytes + offsetBytes, lengthBytes, fixed);
  }

  commit(): Promise<void> {
    return this.#file.flush();
  }

  info(): ImageInfo {
    return this.#parts.info;
  }

  async close(): Promise<void> {
    try {
      if (!this.#file.readOnly) await this.#file.flush();
    } finally {
      await this.#file.close();
    }
  }
}

/** The run from `hostOffsetBytes` on of bytes that stand in a file as they are; `fixed` as in {@link Run}. */
export async function findFlat(
  file: HostFile,
  hostOffsetBytes: number,
  lengthBytes: number,
  fixed = false,
): Promise<Run> {
  const run = await file.extent(hostOffsetBytes, lengthBytes);
  const sectors = run.lengthBytes / SECTOR_BYTES;
  // A sector that is partly a hole is data.
  const isHole = !run.data && sectors >= 1;
  const whole = (isHole ? Math.floor(sectors) : Math.ceil(sectors)) * SECTOR_BYTES;
  return {
    kind: isHole ? 'zero' : 'data',
    lengthBytes: Math.min(lengthBytes, whole),
    file,
    hostOffsetBytes,
    fixed,
  };
}
