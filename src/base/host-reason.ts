/** The name of a system call's error: `ENOSPC`. */
export function errnoOf(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
}

/** Why the host did not do something with a file, and what to do. */
export function hostReason(error: unknown): string {
  switch (errnoOf(error)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return 'the disk is full; make room or name another place';
    case 'ENOENT':
    case 'ENOTDIR':
      return 'there is no such folder; make it or name another';
    case 'EISDIR':
      return 'is a folder; name a file';
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return 'no permission to write there; name another place';
    case 'EFBIG':
      return 'it grew larger than files may here; name another place';
    case 'EPIPE':
      return 'nobody reads it any more';
    default:
      return error instanceof Error ? error.message : String(error);
  }
}
