import { createHash, randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { RequestError } from '#base/errors.ts';
import { makeFolder } from '#base/node/make-folder.ts';
import { Apt, type AptPackage, diskFull, unknownPackage } from './apt.ts';
import { buildInitramfs, type GuestModule, MODULE_GROUPS } from './initramfs.ts';
import { areIntact, haveTheirSizes, recordFiles, writeSynced } from './package-files.ts';

/** Which of Debian's systems a guest is made of. */
export interface GuestKind {
  /** Its folder in the cache. */
  readonly folder: string;
  /** Debian's name of the architecture. */
  readonly architecture: string;
  /** The package itself is empty and depends on the present version's. */
  readonly kernelMetaPackage: string;
  readonly kernelPackage: RegExp;
}

/** The guest that runs when none is named: Debian's kernel for virtual machines. */
export const GUEST_64: GuestKind = {
  folder: 'default-guest',
  architecture: 'amd64',
  kernelMetaPackage: 'linux-image-cloud-amd64',
  kernelPackage: /^linux-image-\d.*-amd64$/,
};

/** For 32-bit processors, without PAE. */
export const GUEST_32: GuestKind = {
  folder: 'guest-32',
  architecture: 'i386',
  kernelMetaPackage: 'linux-image-686',
  kernelPackage: /^linux-image-\d.*-686$/,
};

const BUSYBOX_PACKAGE = 'busybox-static';

/** A guest of Debian's packages, as it lies in the cache. */
export interface DefaultGuest {
  /** Paths of files. */
  readonly kernel: string;
  readonly initrd: string;
  readonly systemMap: string;
  /** Where the kernel's package is unpacked; modules are in lib/modules. */
  readonly kernelPackageDir: string;
  readonly kernelVersion: string;
  readonly busyboxVersion: string;
  /** ISO 8601. */
  readonly fetchedAt: string;
}

/** What to know about the host; a test gives its own. */
export interface GuestHost {
  readonly env: NodeJS.ProcessEnv;
  /** Hears what is going on, in lines without an end; `live` ones are overtaken by the next where that can be shown. */
  progress(line: string, live: boolean): void;
  readonly signal?: AbortSignal;
}

/** What `stamp.json` says: which unpacked packages are the present guest. */
interface Stamp {
  readonly kernel: { readonly name: string; readonly version: string };
  readonly busybox: { readonly name: string; readonly version: string };
  readonly fetchedAt: string;
}

/** RING0_CACHE, or `ring0` in the user's cache folder (XDG Base Directory Specification). */
export function cacheDir(env: NodeJS.ProcessEnv): string {
  const own = env['RING0_CACHE'];
  if (own !== undefined && own !== '') return path.resolve(own);
  const xdg = env['XDG_CACHE_HOME'];
  // The specification: a relative path is to be ignored.
  if (xdg !== undefined && path.isAbsolute(xdg)) return path.join(xdg, 'ring0');
  return path.join(homeDir(env['HOME']), '.cache', 'ring0');
}

/** An empty HOME, as `env HOME=` makes it, would put the cache into the current folder; os.homedir() passes it on. */
function homeDir(home: string | undefined): string {
  if (home !== undefined && path.isAbsolute(home)) return home;
  try {
    return os.userInfo().homedir;
  } catch (cause) {
    // A container's user without a line in passwd.
    const message = 'this user has no home folder; set RING0_CACHE to a folder for the cache';
    throw new RequestError(message, undefined, { cause });
  }
}

/** The guest in the cache, or undefined when none is there, or it has been cut off since. Needs no network. */
export async function findDefaultGuest(
  env: NodeJS.ProcessEnv,
  kind = GUEST_64,
): Promise<DefaultGuest | undefined> {
  const dir = guestDir(env, kind);
  const stamp = await readStamp(dir);
  if (stamp === undefined) return undefined;
  try {
    for (const wanted of [stamp.kernel, stamp.busybox])
      if (!(await haveTheirSizes(path.join(dir, 'packages', folderOf(wanted))))) return undefined;
    return await assemble(dir, stamp);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined; // packages were removed by hand
    throw asRequestError(error, dir);
  }
}

/** The guest in the cache, fetched first when it is not there. */
export async function ensureDefaultGuest(host: GuestHost, kind = GUEST_64): Promise<DefaultGuest> {
  const cached = await findDefaultGuest(host.env, kind);
  return cached ?? (await fetchDefaultGuest(host, { newest: false, kind }));
}

/**
 * Fetches the guest's packages. With `newest` the package lists are fetched too, so that updates are seen; without it
 * the system's lists serve while they do.
 * @throws {RequestError} when something the user can mend is in the way.
 */
export async function fetchDefaultGuest(
  host: GuestHost,
  options: { readonly newest: boolean; readonly kind?: GuestKind },
): Promise<DefaultGuest> {
  const { newest, kind = GUEST_64 } = options;
  const dir = guestDir(host.env, kind);
  const packagesDir = path.join(dir, 'packages');
  let tempDir: string | undefined;
  try {
    makePackagesFolder(packagesDir, dir);
    await removeAbandoned(packagesDir);
    tempDir = await mkdtemp(path.join(packagesDir, '.fetch-'));
    const { env, signal } = host;
    const stateDir = path.join(tempDir, 'apt');
    const { architecture } = kind;
    const apt = new Apt({ architecture, stateDir, cacheDir: dir, env, signal });
    await apt.check();
    const places = { packagesDir, tempDir };
    const { kernel, busybox } = await fetchPackages(apt, host, places, { newest, kind });
    const stamp: Stamp = {
      kernel: { name: kernel.name, version: kernel.version },
      busybox: { name: busybox.name, version: busybox.version },
      fetchedAt: new Date().toISOString(),
    };
    await writeAtomically(path.join(dir, 'stamp.json'), `${JSON.stringify(stamp, undefined, 2)}\n`);
    const guest = await assemble(dir, stamp);
    host.progress(`default guest: ready in ${dir}`, false);
    return guest;
  } catch (error) {
    throw asRequestError(error, dir);
  } finally {
    if (tempDir !== undefined) await rm(tempDir, { recursive: true, force: true });
  }
}

interface Places {
  readonly packagesDir: string;
  readonly tempDir: string;
}

type Found = { readonly kernel: AptPackage; readonly busybox: AptPackage };

async function fetchPackages(
  apt: Apt,
  host: GuestHost,
  places: Places,
  wanted: { readonly newest: boolean; readonly kind: GuestKind },
): Promise<Found> {
  if (!wanted.newest) {
    const known = await findPackages(apt, wanted.kind);
    if (!('unknown' in known) && (await fetchAll(apt, host, places, known))) return known;
  }
  host.progress('default guest: fetching package lists (apt-get update)', false);
  const update = await apt.update();
  const found = await findPackages(apt, wanted.kind);
  if ('unknown' in found)
    throw unknownPackage(found.unknown, update, path.dirname(places.packagesDir));
  if (await fetchAll(apt, host, places, found)) return found;
  throw new RequestError(
    'default guest: the package servers do not have what their lists say; try again later',
  );
}

async function findPackages(
  apt: Apt,
  kind: GuestKind,
): Promise<Found | { readonly unknown: string }> {
  const meta = await apt.find(kind.kernelMetaPackage);
  const kernelName = meta?.depends.find((name) => kind.kernelPackage.test(name));
  if (kernelName === undefined) return { unknown: kind.kernelMetaPackage };
  const kernel = await apt.find(kernelName);
  if (kernel === undefined) return { unknown: kernelName };
  const busybox = await apt.find(BUSYBOX_PACKAGE);
  return busybox === undefined ? { unknown: BUSYBOX_PACKAGE } : { kernel, busybox };
}

/** False when the servers no longer have the versions asked for. */
async function fetchAll(apt: Apt, host: GuestHost, places: Places, found: Found): Promise<boolean> {
  for (const wanted of [found.kernel, found.busybox]) {
    const target = path.join(places.packagesDir, folderOf(wanted));
    if (await areIntact(target)) continue;
    if (!(await fetchOne(apt, host, places.tempDir, wanted, target))) return false;
  }
  return true;
}

/**
 * Downloads and unpacks aside, then renames: a folder with its final name was complete, and two fetches do no harm. One
 * that has been damaged since makes room.
 */
async function fetchOne(
  apt: Apt,
  host: GuestHost,
  tempDir: string,
  wanted: AptPackage,
  target: string,
): Promise<boolean> {
  const downloadDir = path.join(tempDir, `${wanted.name}.download`);
  const unpackDir = path.join(tempDir, wanted.name);
  await mkdir(downloadDir, { recursive: true });
  const total = megabytes(wanted.bytes);
  const what = `default guest: fetching ${wanted.name} ${wanted.version}`;
  host.progress(`${what} (${total} MB)`, false);
  const deb = await apt.download(wanted, downloadDir, (bytes) => {
    host.progress(`${what}: ${megabytes(bytes)} of ${total} MB`, true);
  });
  if (deb === undefined) return false;
  host.progress(`default guest: unpacking ${wanted.name}`, true);
  await apt.unpack(deb, unpackDir);
  await rm(downloadDir, { recursive: true });
  await recordFiles(unpackDir, await guestFiles(unpackDir));
  if (!(await areIntact(target)))
    await rename(target, path.join(tempDir, `${wanted.name}.damaged`)).catch(absent);
  try {
    await rename(unpackDir, target);
  } catch (error) {
    if (!isErrno(error, 'ENOTEMPTY') && !isErrno(error, 'EEXIST')) throw error; // another fetch was first
  }
  return true;
}

/** The paths of a complete guest. The initramfs is made here, so that a new version of ours does not fetch anything. */
async function assemble(dir: string, stamp: Stamp): Promise<DefaultGuest> {
  const kernelPackageDir = path.join(dir, 'packages', folderOf(stamp.kernel));
  const bootFiles = await readdir(path.join(kernelPackageDir, 'boot'));
  const boot = (prefix: string): string => {
    const file = bootFiles.find((name) => name.startsWith(prefix));
    if (file === undefined)
      throw new RequestError(`default guest: ${stamp.kernel.name} has no boot/${prefix}*`);
    return path.join(kernelPackageDir, 'boot', file);
  };
  const busybox = await readFile(
    path.join(dir, 'packages', folderOf(stamp.busybox), 'bin', 'busybox'),
  );
  const archive = buildInitramfs(busybox, await readModules(kernelPackageDir));
  const digest = createHash('sha256').update(archive).digest('hex').slice(0, 12);
  const initrd = path.join(dir, `initrd-${digest}.cpio`);
  const kept = await readFile(initrd).catch(absent);
  if (kept === undefined || !kept.equals(archive)) await writeAtomically(initrd, archive);
  return {
    kernel: boot('vmlinuz-'),
    initrd,
    systemMap: boot('System.map-'),
    kernelPackageDir,
    kernelVersion: stamp.kernel.version,
    busyboxVersion: stamp.busybox.version,
    fetchedAt: stamp.fetchedAt,
  };
}

/** Drivers of virtio disks, below lib/modules/VERSION/kernel/drivers, each behind what it needs. */
const MODULES = {
  virtio: [
    'virtio/virtio_ring.ko',
    'virtio/virtio.ko',
    'virtio/virtio_pci_modern_dev.ko',
    'virtio/virtio_pci_legacy_dev.ko',
    'virtio/virtio_pci.ko',
    'block/virtio_blk.ko',
  ],
  mmio: ['virtio/virtio_mmio.ko'],
  scsi: ['scsi/scsi_common.ko', 'scsi/scsi_mod.ko', 'scsi/sd_mod.ko', 'scsi/virtio_scsi.ko'],
} as const;

/** Those of the modules that the package has: in others they are part of the kernel. */
async function readModules(kernelPackageDir: string): Promise<GuestModule[]> {
  const drivers = await driversFolder(kernelPackageDir);
  if (drivers === undefined) return [];
  const modules: GuestModule[] = [];
  for (const group of MODULE_GROUPS)
    for (const file of MODULES[group]) {
      const bytes = await readFile(path.join(kernelPackageDir, drivers, file)).catch(absent);
      if (bytes !== undefined) modules.push({ group, name: path.basename(file), bytes });
    }
  return modules;
}

/** Below the package's folder. */
async function driversFolder(packageDir: string): Promise<string | undefined> {
  const modules = path.join('lib', 'modules');
  const [version] = await readdir(path.join(packageDir, modules)).catch(() => []);
  return version === undefined ? undefined : path.join(modules, version, 'kernel', 'drivers');
}

/** What of a package a guest is made of, below its folder. */
async function guestFiles(packageDir: string): Promise<string[]> {
  const bootFiles = await readdir(path.join(packageDir, 'boot')).catch(() => []);
  const drivers = await driversFolder(packageDir);
  const names = [
    path.join('bin', 'busybox'),
    ...bootFiles.map((name) => path.join('boot', name)),
    ...(drivers === undefined
      ? []
      : Object.values(MODULES)
          .flat()
          .map((m) => path.join(drivers, m))),
  ];
  const infos = await Promise.all(names.map((n) => stat(path.join(packageDir, n)).catch(absent)));
  return names.filter((_, i) => infos[i]?.isFile());
}

async function readStamp(dir: string): Promise<Stamp | undefined> {
  try {
    const stamp: unknown = JSON.parse(await readFile(path.join(dir, 'stamp.json'), 'utf8'));
    return isStamp(stamp) ? stamp : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || isErrno(error, 'ENOENT')) return undefined;
    throw asRequestError(error, dir);
  }
}

function isStamp(value: unknown): value is Stamp {
  const isPackage = (one: unknown): boolean =>
    typeof one === 'object' &&
    one !== null &&
    'name' in one &&
    typeof one.name === 'string' &&
    'version' in one &&
    typeof one.version === 'string';
  return (
    typeof value === 'object' &&
    value !== null &&
    'kernel' in value &&
    'busybox' in value &&
    'fetchedAt' in value &&
    isPackage(value.kernel) &&
    isPackage(value.busybox) &&
    typeof value.fetchedAt === 'string'
  );
}

/** Left by a fetch that was killed: one that still runs is younger. */
async function removeAbandoned(packagesDir: string): Promise<void> {
  const dayMs = 24 * 60 * 60 * 1000;
  for (const name of await readdir(packagesDir)) {
    if (!name.startsWith('.fetch-')) continue;
    const dir = path.join(packagesDir, name);
    const info = await stat(dir).catch(() => undefined);
    if (info !== undefined && Date.now() - info.mtimeMs > dayMs)
      await rm(dir, { recursive: true, force: true });
  }
}

async function writeAtomically(file: string, content: string | Uint8Array): Promise<void> {
  const temp = `${file}.${randomUUID()}.tmp`;
  try {
    await writeSynced(temp, content);
    await rename(temp, file);
  } finally {
    await rm(temp, { force: true });
  }
}

function asRequestError(error: unknown, dir: string): unknown {
  if (isErrno(error, 'ENOSPC') || isErrno(error, 'EDQUOT')) return diskFull(dir);
  if (
    isErrno(error, 'EACCES') ||
    isErrno(error, 'EROFS') ||
    isErrno(error, 'EPERM') ||
    isErrno(error, 'ENOTDIR')
  )
    return unwritable(dir);
  return error;
}

function makePackagesFolder(folder: string, dir: string): void {
  try {
    makeFolder(folder);
  } catch (error) {
    throw isErrno(error, 'ENOENT') ? unwritable(dir) : error;
  }
}

function unwritable(dir: string): RequestError {
  return new RequestError(
    `default guest: cannot write to ${dir}; set RING0_CACHE to a folder that can be`,
  );
}

function guestDir(env: NodeJS.ProcessEnv, kind: GuestKind): string {
  return path.join(cacheDir(env), kind.folder);
}

function folderOf(wanted: { readonly name: string; readonly version: string }): string {
  return `${wanted.name}_${encodeURIComponent(wanted.version)}`;
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}

function absent(error: unknown): undefined {
  if (!isErrno(error, 'ENOENT')) throw error;
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
