import { RequestError } from '#base/errors.ts';
import type { RunRequest } from './run-request.ts';

/** An error about the kernel of the cached guest, which no flag has named: what it says of the file can be mended by us. */
export function cachedGuestError(error: unknown, request: RunRequest): unknown {
  const { kernel, firmware, bootDisk, guest } = request;
  if (kernel !== undefined || firmware !== undefined || bootDisk) return error;
  if (!(error instanceof RequestError) || error.field !== 'kernel') return error;
  // What is wrong with the request as a whole has none.
  if (!(error.cause instanceof Error && error.cause.name === 'BootError')) return error;
  const [what] = error.message.split('; ');
  const remedy =
    guest === '64'
      ? 'run `ring0 guest fetch`'
      : 'remove guest-32 from the cache, and the next run fetches it';
  return new RequestError(`default guest: ${what}; ${remedy}`, undefined, { cause: error });
}
