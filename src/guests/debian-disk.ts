import { access, mkdtemp, open, rename, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { RequestError } from '#base/errors.ts';
import { hostReason } from '#base/host-reason.ts';
import { copyHost } from '#storage/node/copy-host.ts';
import { nodeStorageHost } from '#storage/node/node-host.ts';
import { allFormats, formatNamed, openImage } from '#storage/open.ts';
import { concatenated } from '#storage/ops/concat.ts';
import { copyDisk } from '#storage/ops/copy.ts';
import { createImage } from '#storage/ops/create.ts';
import { Apt } from './apt.ts';
import type { GuestHost } from './default-guest.ts';
import { runTool } from './tool.ts';

// A whole Debian on a disk: mmdebstrap makes its files from Debian's packages, mke2fs a file system of them. Who is not root
// does both in a user namespace, in which he is.

export interface DebianDiskOptions {
  /** Where the image goes; its ending names the format: .raw, .img, .qcow2, … */
  readonly output: string;
  readonly sizeBytes: number;
  /** Debian's name of the release. */
  readonly suite: string;
  /** Packages besides those that a system needs to start. */
  readonly include: readonly string[];
}

const PACKAGES = [
  ...['linux-image-cloud-amd64', 'initramfs-tools', 'systemd-sysv', 'udev', 'dbus', 'kmod'],
  ...['e2fsprogs', 'iproute2', 'netbase', 'login', 'procps'],
];

/** The one partition begins where all partitioning programs let it. */
const PARTITION_BYTES = 1 << 20;
const SECTOR_BYTES = 512;
const TYPE_LINUX = 0x83;
const LABEL = 'ring0-root';
const LEAST_BYTES = 1 << 30;

/** Before packages are configured: the initrd gets the drivers of our devices and no others, which keeps it small. */
const BEFORE = `set -e
mkdir -p "$1/etc/initramfs-tools/conf.d"
printf 'MODULES=list\\nCOMPRESS=gzip\\nRESUME=none\\n' >"$1/etc/initramfs-tools/conf.d/ring0"
printf '%s\\n' virtio_pci virtio_mmio virtio_blk virtio_scsi sd_mod nvme ext4 >"$1/etc/initramfs-tools/modules"
`;

/**
 * Root has no password: the console is the user's. On a busy host the guest may be too slow for systemd's 90 seconds, after
 * which it goes on without what it waits for: a console, for one.
 */
const AFTER = `set -e
echo debian >"$1/etc/hostname"
printf '127.0.0.1 localhost debian\\n' >"$1/etc/hosts"
printf 'LABEL=${LABEL} / ext4 errors=remount-ro 0 1\\n' >"$1/etc/fstab"
mkdir -p "$1/etc/systemd/system.conf.d"
printf '[Manager]\\nDefaultDeviceTimeoutSec=15min\\nDefaultTimeoutStartSec=15min\\n' \\
  >"$1/etc/systemd/system.conf.d/slow-host.conf"
chroot "$1" passwd -d root
`;

/** Where all users and groups of a system are others of ours. */
const NAMESPACE = ['unshare', '--user', '--map-root-user', '--map-auto'];

/**
 * Of a namespace: unpacks $1 to $2 and makes a file system of that with the rest. Nobody but the namespace may remove what
 * belongs to others there. Device files cannot be made: the guest's kernel makes them.
 */
const FROM_ARCHIVE = `set -e
trap 'exit 1' TERM INT
trap 'rm -rf "$root"' EXIT
archive=$1
root=$2
shift 2
mkdir "$root"
tar -C "$root" --numeric-owner --exclude='./dev/*' -xpf "$archive"
rm "$archive"
mke2fs "$@"
`;

/** @throws {RequestError} for what the user can do something about. */
export async function buildDebianDisk(given: GuestHost, options: DebianDiskOptions): Promise<void> {
  const { output, sizeBytes } = options;
  // Only root has the folders of mke2fs and its like in his PATH.
  const PATH = `${given.env['PATH'] ?? '/usr/bin:/bin'}:/usr/sbin:/sbin`;
  const host = { ...given, env: { ...given.env, PATH } };
  await check(host, options);
  const dir = await mkdtemp(`${path.resolve(output)}.build-`).catch((error: unknown) => {
    throw new RequestError(`${output}: ${hostReason(error)}`, 'output', { cause: error });
  });
  try {
    const root = path.join(dir, 'root');
    const system = isRoot() ? root : `${root}.tar`;
    await installSystem(host, options, { dir, system });
    host.progress(`debian: making a disk of it`, false);
    const raw = path.join(dir, 'disk.raw');
    await writePartitionTable(raw, sizeBytes);
    const mke2fs = [
      ...['-q', '-F', '-t', 'ext4', '-L', LABEL, '-d', root, '-E', `offset=${PARTITION_BYTES}`],
      ...[raw, `${(sizeBytes - PARTITION_BYTES) / 1024}k`],
    ];
    if (isRoot()) await run(host, 'mke2fs', mke2fs);
    else await inNamespace(host, ['sh', '-c', FROM_ARCHIVE, 'mke2fs', system, root, ...mke2fs]);
    const made = await inFormat(raw, output, dir);
    await rename(made, output);
    host.progress(`debian: ${output} is ready; \`ring0 run ${output}\` starts it`, false);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function check(host: GuestHost, { output, sizeBytes }: DebianDiskOptions): Promise<void> {
  await checkFormat(output);
  if (sizeBytes < LEAST_BYTES || sizeBytes % PARTITION_BYTES !== 0)
    throw new RequestError('a disk for Debian has whole MiB and at least 1 GiB; give 2G', 'size');
  const isThere = await access(output).then(
    () => true,
    () => false,
  );
  if (isThere)
    throw new RequestError(`${output}: is there already; remove it or give another name`, 'output');
  if (!isRoot()) await checkNamespace(host);
  const mke2fs = await runTool('mke2fs', ['-V'], { env: host.env });
  if (mke2fs.status !== 0)
    throw new RequestError('mke2fs is missing; install e2fsprogs, in which it is');
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/** A system belongs to root and to others: a user needs numbers for them. */
async function checkNamespace({ env }: GuestHost): Promise<void> {
  const [command = '', ...args] = NAMESPACE;
  const { status, stderr } = await runTool(command, [...args, 'true'], { env });
  if (status === 0) return;
  const { username } = os.userInfo();
  const why = stderr.trim().split('\n').at(-1) ?? '';
  throw new RequestError(
    `a system belongs to many users, for which ${username} needs a user namespace (${why}); install uidmap, give ${username} lines in /etc/subuid and /etc/subgid (usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${username}), or run this as root`,
  );
}

async function inNamespace(host: GuestHost, args: readonly string[]): Promise<void> {
  const [command = '', ...first] = NAMESPACE;
  await run(host, command, [...first, ...args]);
}

/** What a disk can be made of, before minutes are spent. */
async function checkFormat(output: string): Promise<void> {
  const ending = endingOf(output);
  if (ending === undefined) return;
  const formats = await allFormats();
  const format = formats.find(({ name }) => name === ending);
  if (format?.create !== undefined) return;
  const names = formats.filter(({ create }) => create !== undefined).map(({ name }) => name);
  throw new RequestError(
    `${output}: no image of format '${ending}' can be made; let it end in .img, .${names.join(', .')}`,
    'output',
  );
}

/** The format that a name's ending names; undefined for raw. */
function endingOf(output: string): string | undefined {
  const ending = path.extname(output).slice(1);
  return ending === '' || ending === 'raw' || ending === 'img' ? undefined : ending;
}

async function installSystem(
  host: GuestHost,
  { suite, include }: DebianDiskOptions,
  { dir, system }: { readonly dir: string; readonly system: string },
): Promise<void> {
  const [command = 'mmdebstrap', ...first] = await mmdebstrap(host, dir);
  const packages = [...PACKAGES, ...include].join(',');
  host.progress(`debian: ${suite}'s packages are fetched and installed; that takes minutes`, false);
  await run(host, command, [
    ...first,
    ...[`--mode=${isRoot() ? 'root' : 'unshare'}`, '--variant=minbase', `--include=${packages}`],
    `--essential-hook=${BEFORE}`,
    `--customize-hook=${AFTER}`,
    ...[suite, system],
  ]);
}

/** The command to run: the system's, or one fetched for the occasion, which is a Perl program of one file. */
async function mmdebstrap(host: GuestHost, dir: string): Promise<string[]> {
  const { env, signal } = host;
  const { status } = await runTool('mmdebstrap', ['--version'], { env });
  if (status === 0) return ['mmdebstrap'];
  const apt = new Apt({
    architecture: 'amd64',
    stateDir: path.join(dir, 'apt'),
    cacheDir: dir,
    env,
    signal,
  });
  await apt.check();
  const found = await apt.find('mmdebstrap');
  const deb = found && (await apt.download(found, dir, () => {}));
  if (deb === undefined)
    throw new RequestError('mmdebstrap is missing and cannot be fetched; install it');
  const unpacked = path.join(dir, 'mmdebstrap');
  await apt.unpack(deb, unpacked);
  return ['perl', path.join(unpacked, 'usr', 'bin', 'mmdebstrap')];
}

async function run(host: GuestHost, tool: string, args: readonly string[]): Promise<void> {
  const { env, signal } = host;
  const { status, stderr } = await runTool(tool, args, { env, signal });
  if (status === 0) return;
  const lines = stderr.trim().split('\n');
  const said = lines.findLast((line) => /^E:|error/i.test(line)) ?? lines.at(-1) ?? '';
  throw new RequestError(`${path.basename(tool)} failed: ${said}`);
}

/** An MBR (UEFI specification 2.10, 5.2.1) with one partition, to the end of the disk. */
async function writePartitionTable(file: string, sizeBytes: number): Promise<void> {
  const mbr = new Uint8Array(SECTOR_BYTES);
  const view = new DataView(mbr.buffer);
  const ENTRY = 446;
  const NO_CHS = 0xfeffff;
  view.setUint32(ENTRY, 0x80 | (NO_CHS << 8), true);
  view.setUint32(ENTRY + 4, (TYPE_LINUX | (NO_CHS << 8)) >>> 0, true);
  view.setUint32(ENTRY + 8, PARTITION_BYTES / SECTOR_BYTES, true);
  view.setUint32(ENTRY + 12, (sizeBytes - PARTITION_BYTES) / SECTOR_BYTES, true);
  view.setUint16(510, 0xaa55, true);
  const handle = await open(file, 'wx');
  try {
    await handle.write(mbr, 0, mbr.length, 0);
    await handle.truncate(sizeBytes);
  } finally {
    await handle.close();
  }
}

/** The disk in the format that the ending of `output` names. */
async function inFormat(raw: string, output: string, dir: string): Promise<string> {
  const ending = endingOf(output);
  if (ending === undefined) return raw;
  const made = path.join(dir, `disk.${ending}`);
  const source = await openImage(raw, nodeStorageHost, { format: 'raw', readOnly: true });
  try {
    const { sizeBytes } = source;
    const format = await formatNamed(ending);
    await createImage(made, nodeStorageHost, format, { sizeBytes, options: new Map() });
    const target = await openImage(made, nodeStorageHost, { format: ending });
    try {
      const disk = concatenated([source]);
      await copyDisk({
        source: disk,
        target,
        sparseBytes: 4096,
        targetIsZero: true,
        host: copyHost,
      });
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
  return made;
}
