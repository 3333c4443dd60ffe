import type { GuestSymbol } from './symbol-table.ts';

// The names that a Linux kernel keeps of itself (CONFIG_KALLSYMS), found in its image or in the memory it runs in. Source:
// Linux scripts/kallsyms.c and kernel/kallsyms.c. The tables have no header; what finds them is the token table, 256 strings
// that names are packed into, and its index right behind it. A running kernel's tables hold where it really lies.
//
//   to 6.3:   offsets, relative_base, num_syms, names, markers, [seqs_of_names,] token_table, token_index
//   from 6.4: num_syms, names, markers, token_table, token_index, offsets, relative_base
//
// Each begins at a multiple of a word of the kernel: 8 bytes, or 4 of a 32-bit one, and relative_base is a word.

const TOKENS = 256;
const DIGIT_ZERO = 48;
const NAMES_A_MARKER = 256;
/** A table with fewer is taken for chance. */
const FEWEST_MARKERS = 4;
const MOST_NAME_BYTES = 512;
/** seqs_of_names, 3 bytes a name, lie between the markers and the tokens. */
const MOST_BETWEEN_BYTES = 16 * 1024 * 1024;
const MOST_TOKEN_BYTES = 4096;
/** More than the names behind the last marker take. */
const LAST_NAMES_BYTES = 65536;
/** A guest's memory may be made to look like many tables: only so many are tried. */
const MOST_TRIES = 32;
const CODE = 'tTwW';
/** Kernels lie above, by the bytes of their words: 32-bit ones from PAGE_OFFSET of CONFIG_VMSPLIT_1G. */
const KERNEL_PART = { 8: 0xffff_8000_0000_0000n, 4: 0x4000_0000n } as const;
const WORDS = [8, 4] as const;
type Word = (typeof WORDS)[number];

const align = (at: number, word: Word) => Math.ceil(at / word) * word;

interface Tokens {
  readonly start: number;
  /** Behind the index. */
  readonly end: number;
  /** Those that the index's place agrees with. */
  readonly words: readonly Word[];
  readonly strings: readonly string[];
}

/** The symbols, or undefined where the bytes hold no kernel with them. `bytes` begins at a multiple of 8. */
export function findKallsyms(bytes: Uint8Array): GuestSymbol[] | undefined {
  const digits = Uint8Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? DIGIT_ZERO + i / 2 : 0));
  const tries = { left: MOST_TRIES };
  for (let at = indexOf(bytes, digits, 0); at >= 0; at = indexOf(bytes, digits, at + 1)) {
    const tokens = readTokens(bytes, at);
    if (tokens === undefined) continue;
    const symbols = readSymbols(bytes, tokens, tries);
    if (symbols !== undefined || tries.left-- <= 0) return symbols;
  }
  return undefined;
}

function indexOf(bytes: Uint8Array, wanted: Uint8Array, from: number): number {
  const first = wanted[0] ?? 0;
  for (let at = bytes.indexOf(first, from); at >= 0; at = bytes.indexOf(first, at + 1))
    if (wanted.every((byte, i) => bytes[at + i] === byte)) return at;
  return -1;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The table whose string for `0` is at `zero`, where the index behind it confirms that it is one. */
function readTokens(bytes: Uint8Array, zero: number): Tokens | undefined {
  let last = zero;
  for (let i = DIGIT_ZERO; i < TOKENS; i++) {
    last = bytes.indexOf(0, last) + 1;
    if (last === 0 || last - zero > MOST_TOKEN_BYTES) return undefined;
  }
  for (const index of new Set(WORDS.map((word) => align(last, word)))) {
    const end = index + TOKENS * 2;
    if (end > bytes.length) continue;
    // What stands before the table may end with any byte.
    const start = zero - viewOf(bytes).getUint16(index + DIGIT_ZERO * 2, true);
    const strings = readStrings(bytes, start, index);
    if (strings === undefined) continue;
    return { start, end, words: WORDS.filter((word) => align(last, word) === index), strings };
  }
  return undefined;
}

/** The strings from `start` on, where the index has their offsets. */
function readStrings(bytes: Uint8Array, start: number, index: number): string[] | undefined {
  const view = viewOf(bytes);
  const strings: string[] = [];
  let at = start;
  for (let i = 0; i < TOKENS; i++) {
    if (at < 8 || view.getUint16(index + i * 2, true) !== at - start) return undefined;
    const end = bytes.indexOf(0, at);
    strings.push(String.fromCharCode(...bytes.subarray(at, end)));
    at = end + 1;
  }
  return strings;
}

/** What is left of MOST_TRIES. */
interface Tries {
  left: number;
}

function readSymbols(bytes: Uint8Array, tokens: Tokens, tries: Tries): GuestSymbol[] | undefined {
  const view = viewOf(bytes);
  const lowest = Math.max(0, tokens.start - MOST_BETWEEN_BYTES);
  for (let at = (tokens.start & ~3) - 8; at >= lowest; at -= 4) {
    if (view.getUint32(at, true) !== 0 || !isMarkerStep(view.getUint32(at + 4, true))) continue;
    const symbols = readBefore(bytes, at, tokens, tries);
    if (symbols !== undefined) return symbols;
  }
  return undefined;
}

/** What 256 names can take. */
function isMarkerStep(bytes: number): boolean {
  return bytes >= NAMES_A_MARKER * 2 && bytes <= NAMES_A_MARKER * MOST_NAME_BYTES;
}

/** The symbols whose markers begin at `markers`, if they do. */
function readBefore(
  bytes: Uint8Array,
  markers: number,
  tokens: Tokens,
  tries: Tries,
): GuestSymbol[] | undefined {
  const view = viewOf(bytes);
  let count = 1;
  let last = 0;
  for (let at = markers + 4; at < tokens.start; at += 4, count++) {
    const value = view.getUint32(at, true);
    if (!isMarkerStep(value - last)) break;
    last = value;
  }
  if (count < FEWEST_MARKERS) return undefined;
  const end = markers - view.getUint32(markers + (count - 2) * 4, true);
  for (let names = end & ~3; names >= 16 && names > end - 2 * LAST_NAMES_BYTES; names -= 4) {
    for (const word of tokens.words) {
      const total = view.getUint32(names - word, true);
      // What follows the markers may look like one more.
      const isTotal = Math.abs(Math.ceil(total / NAMES_A_MARKER) - count) <= 1;
      if (!isTotal || names % word !== 0) continue;
      if (tries.left-- <= 0) return undefined;
      const at = { word, names, count: total, end: markers, behind: tokens.end };
      const symbols = readTable(bytes, at, tokens.strings);
      if (symbols !== undefined) return symbols;
    }
  }
  return undefined;
}

/** Where the tables lie, as far as is known. */
interface Places {
  readonly word: Word;
  readonly names: number;
  readonly count: number;
  /** Of the names. */
  readonly end: number;
  /** The tokens' index. */
  readonly behind: number;
}

function readTable(
  bytes: Uint8Array,
  at: Places,
  tokens: readonly string[],
): GuestSymbol[] | undefined {
  const names = readNames(bytes, at, tokens);
  const addresses = names && readAddresses(bytes, at);
  if (addresses === undefined) return undefined;
  return names?.flatMap((text, i) => {
    const address = addresses[i] ?? 0n;
    const isCode = CODE.includes(text.slice(0, 1));
    return address === 0n ? [] : [{ address, name: text.slice(1), isCode }];
  });
}

/** All names, type letter first, when they end where the markers begin. */
function readNames(bytes: Uint8Array, at: Places, tokens: readonly string[]): string[] | undefined {
  const list: string[] = [];
  let next = at.names;
  for (let i = 0; i < at.count; i++) {
    let length = bytes[next++] ?? 0;
    // From 6.1 long names have a second byte of length.
    if (length >= 0x80) length = (length & 0x7f) | ((bytes[next++] ?? 0) << 7);
    if (length === 0 || next + length > at.end) return undefined;
    let name = '';
    for (let j = 0; j < length; j++) name += tokens[bytes[next + j] ?? 0] ?? '';
    list.push(name);
    next += length;
  }
  return align(next, at.word) === align(at.end, at.word) ? list : undefined;
}

/** Absolute addresses; 0 for per-CPU variables, which have none. */
function readAddresses(
  bytes: Uint8Array,
  { word, names, count, behind }: Places,
): bigint[] | undefined {
  const view = viewOf(bytes);
  const tableBytes = align(count * 4, word);
  const before = names - 2 * word;
  const places = [
    { base: before, offsets: before - tableBytes },
    { base: behind + tableBytes, offsets: behind },
  ];
  for (const { base, offsets } of places) {
    if (offsets < 0 || base + word > bytes.length) continue;
    const relativeBase =
      word === 8 ? view.getBigUint64(base, true) : BigInt(view.getUint32(base, true));
    if (relativeBase < KERNEL_PART[word] || (relativeBase & 0xfffn) !== 0n) continue;
    const list = Array.from({ length: count }, (_, i) => view.getInt32(offsets + i * 4, true));
    return list.map(
      addressOf(
        relativeBase,
        list.some((offset) => offset < 0),
      ),
    );
  }
  return undefined;
}

/** With CONFIG_KALLSYMS_ABSOLUTE_PERCPU, which x86 had to 6.14, offsets from 0 up are those of per-CPU variables. */
function addressOf(base: bigint, absolutePerCpu: boolean): (offset: number) => bigint {
  if (!absolutePerCpu) return (offset) => base + BigInt(offset >>> 0);
  return (offset) => (offset >= 0 ? 0n : base - 1n - BigInt(offset));
}
