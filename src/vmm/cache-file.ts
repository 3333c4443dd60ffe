import { createHash } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';

// Files of a cache: a hash of what follows, then that. They are whole or not there.

const HASH_BYTES = 32;
/** Of a folder; older files go first. */
const MOST_BYTES = 512 << 20;

/** What stands behind the hash; undefined when it does not belong to it. */
export function readWhole(file: string): Buffer | undefined {
  try {
    const bytes = readFileSync(file);
    const content = bytes.subarray(HASH_BYTES);
    const hash = createHash('sha256').update(content).digest();
    // A file that was cut short would end the process: V8 trusts machine code.
    return hash.equals(bytes.subarray(0, HASH_BYTES)) ? content : undefined;
  } catch {
    return undefined;
  }
}

/** Writes a file at once, and makes room for it. Throws the host's errors. */
export function putInPlace(file: string, parts: readonly Uint8Array[]): void {
  const folder = path.dirname(file);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  makeRoom(folder, MOST_BYTES - parts.reduce((sum, part) => sum + part.length, 0));
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  const temporary = `${file}.${process.pid}`;
  const fd = openSync(temporary, 'w', 0o600);
  try {
    for (const part of [hash.digest(), ...parts]) writeAll(fd, part);
    renameSync(temporary, file);
  } finally {
    closeSync(fd);
    rmSync(temporary, { force: true });
  }
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}

function makeRoom(folder: string, bytes: number): void {
  const files = readdirSync(folder)
    .map((name) => path.join(folder, name))
    .map((name) => ({ name, ...pick(statSync(name)) }))
    .sort((a, b) => b.usedMs - a.usedMs);
  let room = bytes;
  for (const { name, size } of files) {
    room -= size;
    if (room < 0) rmSync(name, { force: true });
  }
}

function pick({ size, mtimeMs }: { size: number; mtimeMs: number }): {
  size: number;
  usedMs: number;
} {
  return { size, usedMs: mtimeMs };
}
