import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { RequestError } from '#base/errors.ts';
import { formatSize } from '#base/units.ts';
import { type DefaultGuest, fetchDefaultGuest, findDefaultGuest } from '#guests/default-guest.ts';
import { type CliHost, progressWriter } from './host.ts';
import { catchInterrupts, Interrupted } from './interrupts.ts';

export interface GuestFlags {
  readonly json?: boolean;
}

/** `ring0 guest fetch`: the newest packages, whatever the cache holds. */
export async function guestFetch(flags: GuestFlags, host: CliHost): Promise<number> {
  const interrupts = catchInterrupts();
  const progress = progressWriter(host.stderr);
  try {
    const guestHost = { env: host.env, progress: progress.progress, signal: interrupts.signal };
    const guest = await fetchDefaultGuest(guestHost, { newest: true });
    progress.end();
    if (flags.json) writeJson(guest, host);
    return 0;
  } catch (error) {
    if (error instanceof Interrupted) return error.exitStatus;
    throw error;
  } finally {
    progress.end();
    interrupts.release();
  }
}

/** `ring0 guest list`: what is in the cache. */
export async function guestList(flags: GuestFlags, host: CliHost): Promise<number> {
  const guest = await findDefaultGuest(host.env);
  const guests =
    guest === undefined ? [] : [{ name: 'default', ...guest, bytes: await bytesOf(guest) }];
  if (flags.json) {
    writeJson(guests, host);
    return 0;
  }
  if (guests.length === 0)
    host.stderr.write('ring0: no guest is cached; `ring0 guest fetch` gets the default one\n');
  for (const one of guests) {
    host.stdout.write(
      `${one.name}  Linux ${one.kernelVersion}, busybox ${one.busyboxVersion}, ${formatSize(one.bytes)}, fetched ${one.fetchedAt.slice(0, 10)}\n`,
    );
  }
  return 0;
}

/** `ring0 guest path`: where its kernel and initrd lie, a line each, for other programs to use. */
export async function guestPath(flags: GuestFlags, host: CliHost): Promise<number> {
  const guest = await findDefaultGuest(host.env);
  if (guest === undefined)
    throw new RequestError(
      'guest path: the default guest is not cached; run `ring0 guest fetch` first',
    );
  if (flags.json) writeJson(guest, host);
  else host.stdout.write(`${guest.kernel}\n${guest.initrd}\n`);
  return 0;
}

function writeJson(value: DefaultGuest | readonly DefaultGuest[], host: CliHost): void {
  host.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
}

async function bytesOf(guest: DefaultGuest): Promise<number> {
  const dir = path.dirname(guest.initrd);
  let bytes = 0;
  for (const name of await readdir(dir, { recursive: true })) {
    const info = await stat(path.join(dir, name)).catch(() => undefined);
    if (info?.isFile()) bytes += info.size;
  }
  return bytes;
}
