import { SymbolError } from './symbol-error.ts';
import type { GuestSymbol } from './symbol-table.ts';

// System.map, as Linux's build leaves it and `nm` prints it: `ffffffff81000000 T _text`.
const LINE = /^([0-9a-f]{8,16}) ([a-zA-Z?]) (\S+)$/;
/** nm's letters: text and weak functions; absolute and undefined are no addresses. */
const CODE = 'tTwW';
const NOT_HERE = 'aAUNn?';
const MAX_SYMBOLS = 4_000_000;

/** @throws {SymbolError} when a line is another thing, or there is no symbol. */
export function parseSystemMap(bytes: Uint8Array): GuestSymbol[] {
  const symbols: GuestSymbol[] = [];
  const lines = new TextDecoder('latin1').decode(bytes).split('\n');
  if (lines.length > MAX_SYMBOLS) throw new SymbolError('it has too many lines for a System.map');
  for (const [i, line] of lines.entries()) {
    if (line === '') continue;
    const [, address = '', type = '', name = ''] = LINE.exec(line) ?? [];
    if (name === '') {
      throw new SymbolError(
        i === 0
          ? 'it is neither an ELF file nor a System.map; give one of them'
          : `line ${i + 1} is not one of a System.map; get the file anew`,
      );
    }
    if (!NOT_HERE.includes(type))
      symbols.push({ address: BigInt(`0x${address}`), name, isCode: CODE.includes(type) });
  }
  if (symbols.length === 0) throw new SymbolError('it names no symbol; give another');
  return symbols;
}
