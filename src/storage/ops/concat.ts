import { type DiskImage, SECTOR_BYTES } from '../image.ts';
import { settle } from '../settle.ts';
import { type Status, statusAt, untoldBytes } from './status.ts';

/** A part of a disk to read. */
export interface SourceDisk {
  readonly sizeBytes: number;
  status(offsetBytes: number, lengthBytes: number): Promise<Status>;
  /** Where `status` fails: what of it lies in one disk, and is told by nothing above the image that fails. Missing: all. */
  untoldBytes?(offsetBytes: number, lengthBytes: number): Promise<number>;
  read(offsetBytes: number, into: Uint8Array): Promise<void>;
}

/** Disks one after the other. */
export function concatenated(images: readonly DiskImage[]): SourceDisk {
  const [first] = images;
  return first !== undefined && images.length === 1 ? alone(first) : together(images);
}

/** What is one disk is asked as it is: between two pieces of a copy every call counts. */
function alone(image: DiskImage): SourceDisk {
  return {
    sizeBytes: image.sizeBytes,
    status: (offsetBytes, lengthBytes) => statusAt(image, offsetBytes, lengthBytes),
    untoldBytes: (offsetBytes, lengthBytes) => untoldBytes(image, offsetBytes, lengthBytes),
    read: (offsetBytes, into) => image.read(offsetBytes, into),
  };
}

function together(images: readonly DiskImage[]): SourceDisk {
  const parts: { image: DiskImage; startBytes: number; endBytes: number }[] = [];
  let sizeBytes = 0;
  for (const image of images) {
    parts.push({ image, startBytes: sizeBytes, endBytes: sizeBytes + image.sizeBytes });
    sizeBytes += image.sizeBytes;
  }
  return {
    sizeBytes,
    status: async (offsetBytes, lengthBytes) => {
      const part = parts.find((one) => offsetBytes < one.endBytes);
      if (part === undefined)
        return { lengthBytes, kind: 'zero', depth: 0, decidedAt: 0, present: false };
      const length = Math.min(lengthBytes, part.endBytes - offsetBytes);
      return await statusAt(part.image, offsetBytes - part.startBytes, length);
    },
    untoldBytes: async (offsetBytes, lengthBytes) => {
      const part = parts.find((one) => offsetBytes < one.endBytes);
      if (part === undefined) return lengthBytes;
      const length = Math.min(lengthBytes, part.endBytes - offsetBytes);
      return await untoldBytes(part.image, offsetBytes - part.startBytes, length);
    },
    read: async (offsetBytes, into) => {
      const endBytes = offsetBytes + into.length;
      const reads = parts
        .filter((part) => part.startBytes < endBytes && part.endBytes > offsetBytes)
        .map(({ image, startBytes, endBytes: partEnd }) => {
          const from = Math.max(offsetBytes, startBytes);
          const to = Math.min(endBytes, partEnd);
          return image.read(from - startBytes, into.subarray(from - offsetBytes, to - offsetBytes));
        });
      await settle(reads);
    },
  };
}

/** The part of `source` from `skipBytes` on, `limitBytes` at most. A part sector at the end counts as whole. */
export function window(source: SourceDisk, skipBytes: number, limitBytes: number): SourceDisk {
  const rest = Math.max(0, Math.min(source.sizeBytes - skipBytes, limitBytes));
  return {
    sizeBytes: Math.ceil(rest / SECTOR_BYTES) * SECTOR_BYTES,
    status: (offsetBytes, lengthBytes) => source.status(skipBytes + offsetBytes, lengthBytes),
    read: (offsetBytes, into) => source.read(skipBytes + offsetBytes, into),
  };
}
