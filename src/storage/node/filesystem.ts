import { statfsSync } from 'node:fs';

/** What statfs(2) says of ext2, ext3 and ext4. */
const EXT4 = 0xef53;

/** Filesystems on disks and memory of this host, by statfs(2)'s f_type; on others a request may hang as long as a server does. */
const LOCAL_TYPES: ReadonlySet<number> = new Set([
  EXT4,
  0x58465342, // XFS
  0x9123683e, // Btrfs
  0xf2f52010, // F2FS
  0x01021994, // tmpfs
  0x794c7630, // overlayfs
  0x2fc12fc1, // ZFS
]);

export interface Filesystem {
  /** Whether it is one of this host; false when unsure. */
  readonly isLocal: boolean;
  /** Whether it writes more quickly where room was taken first. */
  readonly wantsRoom: boolean;
}

/** The filesystem that `path` lies on. */
export function filesystemOf(path: string): Filesystem {
  const type = typeOf(path);
  return { isLocal: LOCAL_TYPES.has(type), wantsRoom: type === EXT4 };
}

function typeOf(path: string): number {
  try {
    return statfsSync(path).type >>> 0;
  } catch {
    return 0;
  }
}
