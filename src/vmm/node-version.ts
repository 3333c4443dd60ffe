/** The library is imported by a Node that somebody else has chosen; package.json's is that of the command's launcher. */
const WANTED_MAJOR = 24;

/** @throws {Error} */
export function checkNodeVersion(version: string): void {
  if (Number(version.split('.')[0]) >= WANTED_MAJOR) return;
  throw new Error(`ring0 needs Node ${WANTED_MAJOR} or later; this is ${version}`);
}

// When it is imported, before anything that an older Node lacks is used.
checkNodeVersion(process.versions.node);
