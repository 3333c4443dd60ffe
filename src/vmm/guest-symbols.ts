import { RequestError } from '#base/errors.ts';
import { isElfFile, parseElfSymbols } from '#symbols/elf-symbols.ts';
import { findKallsyms } from '#symbols/kallsyms.ts';
import { openSymbols } from '#symbols/open-symbols.ts';
import { SymbolError } from '#symbols/symbol-error.ts';
import { SymbolTable } from '#symbols/symbol-table.ts';

/** Where names may come from. */
export interface SymbolFiles {
  /** What the user gave. */
  readonly symbols?: Uint8Array;
  /** Only where it is an ELF file: nothing else has symbols of its own. */
  readonly kernel?: Uint8Array;
}

/** The files of `config` that names may come from. */
export function symbolFiles(config: SymbolFiles): SymbolFiles {
  const { symbols, kernel } = config;
  if (symbols !== undefined) return { symbols };
  return kernel !== undefined && isElfFile(kernel) ? { kernel } : {};
}

/** @throws {RequestError} when the user's file has no symbols. */
export function userSymbols(symbols: Uint8Array): SymbolTable {
  try {
    return openSymbols(symbols);
  } catch (error) {
    if (!(error instanceof SymbolError)) throw error;
    throw new RequestError(error.message, 'symbols', { cause: error });
  }
}

/**
 * The guest's names: from the user's file, else from the kernel's, else those that a Linux kernel keeps in its memory,
 * which hold wherever it has put itself.
 */
export function guestSymbols(files: SymbolFiles, ram: Uint8Array): SymbolTable | undefined {
  if (files.symbols !== undefined) return userSymbols(files.symbols);
  const own = files.kernel && kernelSymbols(files.kernel);
  if (own !== undefined && own.size > 0) return own;
  const found = findKallsyms(ram);
  return found && new SymbolTable(found);
}

function kernelSymbols(kernel: Uint8Array): SymbolTable | undefined {
  try {
    return new SymbolTable(parseElfSymbols(kernel));
  } catch (error) {
    if (error instanceof SymbolError) return undefined; // it boots without them
    throw error;
  }
}
