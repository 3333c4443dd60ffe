import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { RequestError } from '#base/errors.ts';
import { formatSize, parseSize } from '#base/units.ts';
import { buildDebianDisk } from '#guests/debian-disk.ts';
import {
  type DefaultGuest,
  fetchDefaultGuest,
  findDefaultGuest,
  type GuestHost,
} from '#guests/default-guest.ts';
import { type CliHost, print, progressWriter } from './host.ts';
import { catchInterrupts, Interrupted } from './interrupts.ts';

export interface GuestFlags {
  readonly json?: boolean;
}

/** The flags of `ring0 guest build` as commander gives them. */
export interface GuestBuildFlags {
  readonly output: string;
  readonly size: string;
  readonly suite: string;
  readonly include?: string;
}

/** `ring0 guest build debian`: a disk that `ring0 run` starts. */
export async function guestBuild(
  system: string,
  flags: GuestBuildFlags,
  host: CliHost,
): Promise<number> {
  if (system !== 'debian')
    throw new RequestError(`guest build: '${system}' is not one of them; give debian`);
  const sizeBytes = parseSize(flags.size, 'M');
  if (sizeBytes === undefined)
    throw new RequestError(`'${flags.size}' is not a size; give one, for example 2G`, 'size');
  const { output, suite } = flags;
  const include = (flags.include ?? '').split(',').filter((name) => name !== '');
  for (const word of [suite, ...include])
    if (!/^[a-z0-9][a-z0-9+.-]*$/.test(word))
      throw new RequestError(`'${word}' is no name of a package or a release`, 'include');
  return await withProgress(host, (guestHost) =>
    buildDebianDisk(guestHost, { output, sizeBytes, suite, include }),
  );
}

/** Tells of progress, and of Ctrl-C by the exit status. */
async function withProgress(
  host: CliHost,
  work: (guestHost: GuestHost) => Promise<void>,
): Promise<number> {
  const interrupts = catchInterrupts();
  const progress = progressWriter(host.stderr);
  try {
    await work({ env: host.env, progress: progress.progress, signal: interrupts.signal });
    return 0;
  } catch (error) {
    if (error instanceof Interrupted) return error.exitStatus;
    throw error;
  } finally {
    progress.end();
    interrupts.release();
  }
}

/** `ring0 guest fetch`: the newest packages, whatever the cache holds. */
export function guestFetch(flags: GuestFlags, host: CliHost): Promise<number> {
  return withProgress(host, async (guestHost) => {
    const guest = await fetchDefaultGuest(guestHost, { newest: true });
    if (flags.json) writeJson(guest, host);
  });
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
    print(
      host,
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
  else print(host, `${guest.kernel}\n${guest.initrd}\n`);
  return 0;
}

function writeJson(value: DefaultGuest | readonly DefaultGuest[], host: CliHost): void {
  print(host, `${JSON.stringify(value, undefined, 2)}\n`);
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
