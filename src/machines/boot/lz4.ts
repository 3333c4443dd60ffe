// LZ4, "legacy frame", which is what kernels are packed with. Source: lz4_Frame_format.md (Legacy frame) and lz4_Block_format.md.
import { BootError } from './boot-error.ts';
import { FieldReader } from './field-reader.ts';

export const LZ4_LEGACY_MAGIC = 0x184c2102;
/** Each block but the last unpacks to this. */
const BLOCK_BYTES = 8 << 20;

const corrupt = (why: string) =>
  new BootError(
    'not-a-kernel',
    `the kernel's LZ4 payload is corrupt (${why}); fetch or build the kernel again`,
  );

/** What is wrong with a block, by the names that core/lz4.ts has for it. */
const WRONG = {
  LENGTH_PAST_END: 'a length runs past the end of its block',
  LITERALS_PAST_END: 'literals run past the end of their block',
  BLOCK_TOO_LARGE: 'a block is larger than the format allows',
  OFFSET_CUT_SHORT: 'a match offset is cut short',
  MATCH_BEFORE_BLOCK: 'a match reaches before its block',
} as const;
type Wrong = keyof typeof WRONG;
/** A byte of a block makes this many at most. */
const MOST_PER_BYTE = 255;
/** What is larger is left to the guest. */
const MOST_BYTES = 1 << 30;
const WASM_PAGE = 65536;

interface Global {
  readonly value: number;
}

interface Lz4Exports extends Readonly<Record<Wrong | 'SLACK', Global>> {
  readonly memory: WebAssembly.Memory;
  unpack(from: number, fromEnd: number, start: number, end: number): number;
}

/**
 * Unpacks a legacy frame of at most `limitBytes` by the build's lz4.wasm.
 * @throws {BootError} `truncated`, `not-a-kernel` on corrupt data, `too-large` past the limit.
 */
export function unpackLz4(
  packed: Uint8Array,
  limitBytes: number,
  module: WebAssembly.Module,
): Uint8Array {
  const blocks = blocksOf(packed);
  const lz4 = new WebAssembly.Instance(module).exports as unknown as Lz4Exports;
  const { memory } = lz4;
  const slack = lz4.SLACK.value;
  const most = blocks.reduce((sum, { length }) => sum + unpacksTo(length), 0);
  const input = memory.buffer.byteLength;
  const output = input + packed.length + slack;
  const limit = output + Math.min(limitBytes, most, MOST_BYTES);
  try {
    memory.grow(Math.ceil((limit + slack - input) / WASM_PAGE));
  } catch {
    throw tooLarge(limitBytes);
  }
  new Uint8Array(memory.buffer).set(packed, input);
  let end = output;
  for (const { at, length } of blocks) {
    const from = input + at;
    const next = lz4.unpack(from, from + length, end, Math.min(limit, end + BLOCK_BYTES));
    if (next === lz4.BLOCK_TOO_LARGE.value && limit < end + BLOCK_BYTES) throw tooLarge(limitBytes);
    if (next < 0) throw corrupt(whatIsWrong(lz4, next));
    end = next;
  }
  return new Uint8Array(memory.buffer, output, end - output);
}

/** Bytes, at most. */
const unpacksTo = (length: number) => Math.min(BLOCK_BYTES, length * MOST_PER_BYTE);

function whatIsWrong(lz4: Lz4Exports, code: number): string {
  const names = Object.keys(WRONG) as Wrong[];
  const name = names.find((n) => lz4[n].value === code);
  return name === undefined ? `error ${code}` : WRONG[name];
}

function tooLarge(limitBytes: number): BootError {
  return new BootError(
    'too-large',
    `the kernel unpacks to more than the ${limitBytes} bytes it declares`,
  );
}

/** Blocks are independent of each other. */
function blocksOf(packed: Uint8Array): { at: number; length: number }[] {
  const reader = new FieldReader(packed, "the kernel's LZ4 payload");
  if (reader.u32(0) !== LZ4_LEGACY_MAGIC) throw corrupt('no legacy frame');
  const blocks: { at: number; length: number }[] = [];
  for (let at = 4; at < packed.length; ) {
    const length = reader.u32(at);
    at += 4;
    if (length === LZ4_LEGACY_MAGIC || length === 0) continue; // frames may follow each other
    reader.slice(at, length);
    blocks.push({ at, length });
    at += length;
  }
  return blocks;
}
