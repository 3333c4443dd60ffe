/** A file that holds no symbols we can read. */
export class SymbolError extends Error {
  override readonly name = 'SymbolError';
}
