import { RequestError } from '#base/errors.ts';
import type { VmConfig } from '#control/vm.ts';
import { Ext4 } from '#storage/filesystems/ext4.ts';
import { readPartitions } from '#storage/filesystems/partitions.ts';
import { type DiskImage, ImageError } from '#storage/image.ts';

/** Where Debian and its kin keep the present kernel and its initrd: links in the root, or in /boot. */
const PAIRS = [
  { kernel: '/vmlinuz', initrd: '/initrd.img' },
  { kernel: '/boot/vmlinuz', initrd: '/boot/initrd.img' },
];

type BootFiles = Pick<VmConfig, 'kernel' | 'kernelName' | 'initrd' | 'initrdName' | 'append'>;

/**
 * Takes a kernel and its initrd out of the first ext4 file system on a disk that has them, as a boot loader would.
 * @throws {RequestError} when there is none.
 */
export async function bootFromDisk(disk: DiskImage, append: string): Promise<BootFiles> {
  try {
    const whole = { offsetBytes: 0, lengthBytes: disk.sizeBytes };
    for (const partition of [whole, ...(await readPartitions(disk))]) {
      const files = await Ext4.open(disk, partition);
      const found = files && (await bootFiles(disk, files, append));
      if (found !== undefined) return found;
    }
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    throw new RequestError(error.message, 'disk', { cause: error });
  }
  throw new RequestError(
    `${disk.path}: no ext4 file system with /vmlinuz or /boot/vmlinuz-*; give a kernel`,
    'kernel',
  );
}

async function bootFiles(
  disk: DiskImage,
  files: Ext4,
  append: string,
): Promise<BootFiles | undefined> {
  for (const { kernel, initrd } of [...PAIRS, ...(await newest(files))]) {
    const bytes = await optional(files, kernel);
    if (bytes === undefined) continue;
    const initrdBytes = await optional(files, initrd);
    return {
      kernel: bytes,
      kernelName: `${disk.path}:${kernel}`,
      ...(initrdBytes && { initrd: initrdBytes, initrdName: `${disk.path}:${initrd}` }),
      append: `root=UUID=${files.uuid} ro ${append}`,
    };
  }
  return undefined;
}

/** The kernel with the highest version in /boot. */
async function newest(files: Ext4): Promise<typeof PAIRS> {
  const names = await files.list('/boot').catch(absent);
  const compare = new Intl.Collator('en', { numeric: true }).compare;
  const [kernel] = (names ?? [])
    .filter((name) => name.startsWith('vmlinuz-'))
    .sort((a, b) => compare(b, a));
  if (kernel === undefined) return [];
  const version = kernel.slice('vmlinuz-'.length);
  return [{ kernel: `/boot/${kernel}`, initrd: `/boot/initrd.img-${version}` }];
}

function optional(files: Ext4, path: string): Promise<Uint8Array | undefined> {
  return files.readFile(path).catch(absent);
}

function absent(error: unknown): undefined {
  if (error instanceof ImageError && error.kind === 'not-found') return undefined;
  throw error;
}
