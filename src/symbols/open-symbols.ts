import { isElfFile, parseElfSymbols } from './elf-symbols.ts';
import { findKallsyms } from './kallsyms.ts';
import { SymbolError } from './symbol-error.ts';
import { SymbolTable } from './symbol-table.ts';
import { parseSystemMap } from './system-map.ts';

/**
 * The symbols of a file: a vmlinux, with a symbol table or the kernel's own (kallsyms), or a System.map.
 * @throws {SymbolError}
 */
export function openSymbols(file: Uint8Array): SymbolTable {
  if (!isElfFile(file)) return new SymbolTable(parseSystemMap(file));
  const symbols = parseElfSymbols(file);
  if (symbols.length > 0) return new SymbolTable(symbols);
  const own = findKallsyms(file);
  if (own === undefined)
    throw new SymbolError('the ELF file has no symbols; give one that is not stripped');
  return new SymbolTable(own);
}
