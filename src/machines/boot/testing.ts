import type { BootInput } from './plan-types.ts';

// Small kernels for tests, made field by field.

export interface TestSegment {
  readonly type?: number;
  readonly vaddr?: bigint;
  readonly paddr: number | bigint;
  readonly bytes?: Uint8Array;
  readonly memoryBytes?: number | bigint;
  /** What the header says, where that is not the truth. */
  readonly fileBytes?: bigint;
}

const HEADER = 64;
const PROGRAM_HEADER = 56;

/** An ELF64 executable for x86-64; the bytes of its segments lie behind the headers. */
export function makeElf64(entry: bigint, segments: readonly TestSegment[]): Uint8Array {
  const bodyAt = HEADER + segments.length * PROGRAM_HEADER;
  const total = segments.reduce((sum, s) => sum + (s.bytes?.length ?? 0), bodyAt);
  const file = new Uint8Array(total);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, 62, true);
  view.setBigUint64(24, entry, true);
  view.setBigUint64(32, BigInt(HEADER), true);
  view.setUint16(54, PROGRAM_HEADER, true);
  view.setUint16(56, segments.length, true);
  let body = bodyAt;
  segments.forEach((s, i) => {
    const at = HEADER + i * PROGRAM_HEADER;
    const bytes = s.bytes ?? new Uint8Array(0);
    view.setUint32(at, s.type ?? 1, true);
    view.setBigUint64(at + 8, BigInt(body), true);
    view.setBigUint64(at + 16, s.vaddr ?? BigInt(s.paddr), true);
    view.setBigUint64(at + 24, BigInt(s.paddr), true);
    view.setBigUint64(at + 32, s.fileBytes ?? BigInt(bytes.length), true);
    view.setBigUint64(at + 40, BigInt(s.memoryBytes ?? bytes.length), true);
    file.set(bytes, body);
    body += bytes.length;
  });
  return file;
}

/** An ELF32 executable for the 386 with one segment. */
export function makeElf32(entry: number, paddr: number, bytes: Uint8Array): Uint8Array {
  const file = new Uint8Array(52 + 32 + bytes.length);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  view.setUint16(18, 3, true);
  view.setUint32(24, entry, true);
  view.setUint32(28, 52, true);
  view.setUint16(42, 32, true);
  view.setUint16(44, 1, true);
  [1, 84, paddr, paddr, bytes.length, bytes.length + 16].forEach((word, i) => {
    view.setUint32(52 + i * 4, word, true);
  });
  file.set(bytes, 84);
  return file;
}

/** An ELF note by Xen with one word. */
export function xenNote(type: number, value: number): Uint8Array {
  const words = new Uint32Array([4, 4, type, 0x006e6558, value]);
  return new Uint8Array(words.buffer);
}

/** A bzImage of protocol 2.15 with this payload, which the length of the result follows. */
export function makeBzImage(payload: Uint8Array): Uint8Array {
  const setupBytes = 1024;
  const payloadOffset = 0x400;
  const file = new Uint8Array(setupBytes + payloadOffset + payload.length + 4);
  const view = new DataView(file.buffer);
  file[0x1f1] = 1;
  file[0x201] = 0x6a;
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, 0x020f, true);
  view.setUint32(0x22c, 0x7fff_ffff, true);
  view.setUint16(0x236, 1, true);
  view.setUint32(0x238, 2047, true);
  view.setUint32(0x248, payloadOffset, true);
  view.setUint32(0x24c, payload.length + 4, true);
  view.setBigUint64(0x258, 0x100_0000n, true);
  view.setUint32(0x260, 0x10_0000, true);
  file.set(payload, setupBytes + payloadOffset);
  return file;
}

/** A Multiboot header with right checksum; `addresses` are header, load, load end, bss end, entry. */
export function multibootHeader(flags: number, addresses: readonly number[] = []): Uint8Array {
  const magic = 0x1badb002;
  return new Uint8Array(new Uint32Array([magic, flags, -(magic + flags), ...addresses]).buffer);
}

/** What `planBoot` takes, for a machine of 64 MiB. */
export function bootInput(kernel: Uint8Array, more: Partial<BootInput> = {}): BootInput {
  const unsupported = () => {
    throw new RangeError('not in this test');
  };
  return {
    kernel,
    cmdline: 'console=ttyS0',
    memoryBytes: 64 << 20,
    cpu: { name: 'test', has64: true },
    rsdpPaddr: 0xe0000,
    decompress: { gzip: unsupported, zstd: unsupported, lz4: unsupported },
    ...more,
  };
}

/** Numbers from a seed, for inputs that nobody thought of. */
export function randomBytes(seed: number): (count: number) => Uint8Array {
  let state = seed >>> 0 || 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state & 0xff;
  };
  return (count) => Uint8Array.from({ length: count }, next);
}
