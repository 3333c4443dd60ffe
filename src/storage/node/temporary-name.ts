import path from 'node:path';

/** So long a part of the name at most: of UTF-8, with ours, in the 255 bytes that Linux's file systems take. */
const MOST_CHARACTERS = 50;

/**
 * For a file that is to take the place of another: beside it, hidden, and not to be guessed where others may write: V8 draws
 * the seed of its random numbers from the host's, and nobody sees one before (`node:crypto` takes 5 ms to load). It is made
 * by `create-new`: to guess it would make that fail, no more.
 */
export function temporaryName(place: string): string {
  const digits = (): string => Math.floor(Math.random() * 2 ** 32).toString(36);
  const name = path.basename(place).slice(0, MOST_CHARACTERS);
  return path.join(path.dirname(place), `.${name}.ring0-${digits()}${digits()}`);
}
