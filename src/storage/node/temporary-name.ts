import path from 'node:path';

/**
 * For a file that is to take the place of another: beside it, hidden, and not to be guessed where others may write: V8 draws
 * the seed of its random numbers from the host's, and nobody sees one before (`node:crypto` takes 5 ms to load). It is made
 * by `create-new`: to guess it would make that fail, no more.
 */
export function temporaryName(place: string): string {
  const digits = (): string => Math.floor(Math.random() * 2 ** 32).toString(36);
  return path.join(path.dirname(place), `.${path.basename(place)}.ring0-${digits()}${digits()}`);
}
