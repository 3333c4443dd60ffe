import { statfsSync } from 'node:fs';

/** Filesystems on disks and memory of this host, by statfs(2)'s f_type; on others a request may hang as long as a server does. */
const LOCAL_TYPES: ReadonlySet<number> = new Set([
  0xef53, // ext2, ext3, ext4
  0x58465342, // XFS
  0x9123683e, // Btrfs
  0xf2f52010, // F2FS
  0x01021994, // tmpfs
  0x794c7630, // overlayfs
  0x2fc12fc1, // ZFS
]);

/** Whether `path` lies on a filesystem of this host; false when unsure. */
export function isOnLocalFilesystem(path: string): boolean {
  try {
    return LOCAL_TYPES.has(statfsSync(path).type >>> 0);
  } catch {
    return false;
  }
}
