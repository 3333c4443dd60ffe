import { SymbolError } from './symbol-error.ts';
import type { GuestSymbol } from './symbol-table.ts';

// The symbol table of an ELF file. Source: System V ABI, chapter 4.

const MAGIC = 0x464c457f;
const CLASS64 = 2;
const LITTLE_ENDIAN = 1;
const SHT_SYMTAB = 2;
const SHN_UNDEF = 0;
const SHN_LORESERVE = 0xff00;
const STT_FUNC = 2;
const STT_SECTION = 3;
const SHF_EXECINSTR = 4;
const MAX_NAME = 512;

export function isElfFile(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && viewOf(bytes).getUint32(0, true) === MAGIC;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

interface Section {
  readonly type: number;
  readonly isCode: boolean;
  readonly offset: number;
  readonly bytes: number;
  readonly link: number;
}

/**
 * The symbols of `.symtab`; none where the file is stripped.
 * @throws {SymbolError} for files cut off or of another kind.
 */
export function parseElfSymbols(file: Uint8Array): GuestSymbol[] {
  if (file.length < 64) throw new SymbolError('the ELF file ends inside its header; get it anew');
  if (file[5] !== LITTLE_ENDIAN)
    throw new SymbolError('the ELF file is for another processor; give one for x86');
  const is64 = file[4] === CLASS64;
  const sections = parseSections(file, is64);
  const table = sections.find((s) => s.type === SHT_SYMTAB);
  if (table === undefined) return [];
  const strings = sections[table.link];
  if (strings === undefined) throw new SymbolError('the ELF file names its symbols nowhere');
  const names = new NameReader(file.subarray(strings.offset, strings.offset + strings.bytes));
  const view = viewOf(file.subarray(table.offset, table.offset + table.bytes));
  const entry = is64 ? 24 : 16;
  const symbols: GuestSymbol[] = [];
  for (let at = 0; at + entry <= view.byteLength; at += entry) {
    const symbol = symbolAt(view, at, { is64, sections, names });
    if (symbol !== undefined) symbols.push(symbol);
  }
  return symbols;
}

function parseSections(file: Uint8Array, is64: boolean): Section[] {
  const view = viewOf(file);
  const table = is64 ? Number(view.getBigUint64(40, true)) : view.getUint32(32, true);
  const entry = view.getUint16(is64 ? 58 : 46, true);
  const count = view.getUint16(is64 ? 60 : 48, true);
  if (count === 0) return [];
  if (entry < (is64 ? 64 : 40) || table + entry * count > file.length)
    throw new SymbolError('the ELF file ends inside its section headers; get it anew');
  return Array.from({ length: count }, (_, i) => {
    const section = sectionAt(view, table + i * entry, is64);
    if (section.type === SHT_SYMTAB && section.offset + section.bytes > file.length)
      throw new SymbolError('the ELF file ends inside its symbols; get it anew');
    return section;
  });
}

function sectionAt(view: DataView, at: number, is64: boolean): Section {
  const word = (offset: number) => view.getUint32(at + offset, true);
  const long = (offset: number) => Number(view.getBigUint64(at + offset, true));
  return {
    type: word(4),
    isCode: (word(8) & SHF_EXECINSTR) !== 0,
    offset: is64 ? long(24) : word(16),
    bytes: is64 ? long(32) : word(20),
    link: word(is64 ? 40 : 24),
  };
}

function symbolAt(
  view: DataView,
  at: number,
  file: { is64: boolean; sections: readonly Section[]; names: NameReader },
): GuestSymbol | undefined {
  const { is64 } = file;
  const info = view.getUint8(at + (is64 ? 4 : 12)) & 15;
  const index = view.getUint16(at + (is64 ? 6 : 14), true);
  if (index === SHN_UNDEF || index >= SHN_LORESERVE || info > STT_FUNC || info === STT_SECTION)
    return undefined;
  const name = file.names.at(view.getUint32(at, true));
  if (name === '') return undefined;
  const address = is64 ? view.getBigUint64(at + 8, true) : BigInt(view.getUint32(at + 4, true));
  return { address, name, isCode: file.sections[index]?.isCode ?? false };
}

/** NUL-terminated names; what lies outside is empty. */
class NameReader {
  readonly #bytes: Uint8Array;
  readonly #decoder = new TextDecoder('latin1');

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  at(offset: number): string {
    const end = this.#bytes.indexOf(0, offset);
    if (offset >= this.#bytes.length || end < 0 || end - offset > MAX_NAME) return '';
    return this.#decoder.decode(this.#bytes.subarray(offset, end));
  }
}
