import { randomBytes } from 'node:crypto';
import path from 'node:path';

/** For a file that is to take the place of another: beside it, hidden, and not to be guessed where others may write. */
export function temporaryName(place: string): string {
  const suffix = randomBytes(8).toString('hex');
  return path.join(path.dirname(place), `.${path.basename(place)}.ring0-${suffix}`);
}
