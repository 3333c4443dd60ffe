import { createHash } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { makeFolder } from '#base/node/make-folder.ts';

// Files of a cache: hash and length of the head, the head, the body. The head vouches for the body.

const HASH_BYTES = 32;
/** Behind the hash and the length of the head. */
const HEAD_AT = HASH_BYTES + 8;
/** Of a folder; older files go first. */
const MOST_BYTES = 512 << 20;

/** A part of a file, and the nothing that makes what follows begin at a multiple of 8. */
export function pad(bytes: Uint8Array): Uint8Array {
  if (bytes.length % 8 === 0) return bytes;
  const whole = new Uint8Array(padded(bytes.length));
  whole.set(bytes);
  return whole;
}

export function padded(length: number): number {
  return Math.ceil(length / 8) * 8;
}

/** A file's head, and its body, in memory that threads share; undefined when it is not there or the head is damaged. */
export function openStored(
  file: string,
): { readonly head: Uint8Array; readonly body: Uint8Array<ArrayBuffer> } | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(file, 'r');
    const bytes = new Uint8Array(new SharedArrayBuffer(fstatSync(fd).size));
    for (let at = 0, got = -1; got !== 0; at += got) got = readSync(fd, bytes, { offset: at });
    const headBytes = new DataView(bytes.buffer).getUint32(HASH_BYTES, true);
    const head = bytes.subarray(HEAD_AT, HEAD_AT + headBytes);
    if (!hashOf(head).equals(bytes.subarray(0, HASH_BYTES))) return undefined;
    const body = bytes.subarray(HEAD_AT + padded(headBytes));
    return { head, body: body as Uint8Array as Uint8Array<ArrayBuffer> };
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function hashOf(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

/** Writes a file at once, and makes room for it. Throws the host's errors. */
export function writeStored(file: string, head: Uint8Array, body: readonly Uint8Array[]): void {
  const start = Buffer.alloc(HEAD_AT);
  hashOf(head).copy(start);
  start.writeUInt32LE(head.length, HASH_BYTES);
  const parts = [start, pad(head), ...body];
  const folder = path.dirname(file);
  makeFolder(folder, 0o700);
  makeRoom(folder, MOST_BYTES - parts.reduce((sum, part) => sum + part.length, 0));
  const temporary = `${file}.${process.pid}`;
  const fd = openSync(temporary, 'w', 0o600);
  try {
    for (const part of parts) writeAll(fd, part);
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
