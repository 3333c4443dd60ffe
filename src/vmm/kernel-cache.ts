import { createHash } from 'node:crypto';
import path from 'node:path';
import { deserialize, serialize } from 'node:v8';
import { crc32 } from 'node:zlib';
import { compactElf } from '#machines/boot/compact-elf.ts';
import { isElf } from '#machines/boot/elf.ts';
import type { BootInput } from '#machines/boot/plan-types.ts';
import { openStored, pad, writeStored } from './cache-file.ts';

// Kernels that earlier runs have unpacked, without their zeros: reading one takes a tenth of the time.

const SUFFIX = '.kernel';
/** So that what is written does not keep the guest from starting. */
const WRITE_AFTER_MS = 200;

interface Head {
  readonly bytes: number;
  readonly crc: number;
}

/** Runs `write` when the guest is under way, unless the process ends before. */
function whenUnderWay(write: () => void): void {
  setTimeout(write, WRITE_AFTER_MS).unref();
}

/** Looks for what a payload unpacks to in `folder`, and keeps it there. */
export function keptKernels(
  folder: string,
  later: (write: () => void) => void = whenUnderWay,
): NonNullable<BootInput['decompress']['kept']> {
  return (payload, unpack) => {
    const name = createHash('sha256').update(payload).digest('hex').slice(0, 32);
    const file = path.join(folder, `${name}${SUFFIX}`);
    const kept = readKept(file);
    if (kept !== undefined) return kept;
    const unpacked = unpack();
    if (unpacked !== undefined) later(() => writeKept(file, unpacked));
    return unpacked;
  };
}

function readKept(file: string): Uint8Array | undefined {
  const stored = openStored(file);
  if (stored === undefined) return undefined;
  const { bytes, crc } = deserialize(stored.head) as Head;
  const unpacked = stored.body.subarray(0, bytes);
  return unpacked.length === bytes && crc32(unpacked) === crc ? unpacked : undefined;
}

function writeKept(file: string, unpacked: Uint8Array): void {
  try {
    const bytes = (isElf(unpacked) && compactElf(unpacked)) || unpacked;
    const head: Head = { bytes: bytes.length, crc: crc32(bytes) };
    writeStored(file, serialize(head), [pad(bytes)]);
  } catch {
    // A disk that is full or read-only, or a kernel that cannot be loaded: the next run unpacks again.
  }
}
