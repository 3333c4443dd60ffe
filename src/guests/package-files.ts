import { createHash } from 'node:crypto';
import { open, readFile, stat } from 'node:fs/promises';
import path from 'node:path';

// A record of what a guest is made of, beside it: a power cut, a full disk or a hand may have changed it since.

const RECORD = 'ring0-files.json';

interface FileRecord {
  /** Below the folder of the package. */
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** Writes what files of a package are like now, when they and the record have reached the disk. */
export async function recordFiles(dir: string, names: readonly string[]): Promise<void> {
  const files: FileRecord[] = [];
  for (const name of names) {
    const handle = await open(path.join(dir, name), 'r');
    try {
      await handle.sync();
      const content = await handle.readFile();
      files.push({ name, bytes: content.length, sha256: digestOf(content) });
    } finally {
      await handle.close();
    }
  }
  await writeSynced(path.join(dir, RECORD), `${JSON.stringify(files, undefined, 1)}\n`);
}

/** Whether the files are as they were. False where no record was made. */
export async function areIntact(dir: string): Promise<boolean> {
  const files = await readRecord(dir);
  if (files === undefined) return false;
  const same = files.map(async ({ name, sha256 }) => {
    const content = await readFile(path.join(dir, name)).catch(() => undefined);
    return content !== undefined && digestOf(content) === sha256;
  });
  return (await Promise.all(same)).every(Boolean);
}

/** Whether the files are as long as they were: quick enough for each run. True where no record was made. */
export async function haveTheirSizes(dir: string): Promise<boolean> {
  const files = await readRecord(dir);
  const same = (files ?? []).map(async ({ name, bytes }) => {
    const info = await stat(path.join(dir, name)).catch(() => undefined);
    return info?.size === bytes;
  });
  return (await Promise.all(same)).every(Boolean);
}

/** Writes a file whose bytes are on the disk when it resolves. */
export async function writeSynced(file: string, content: string | Uint8Array): Promise<void> {
  const handle = await open(file, 'w');
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function readRecord(dir: string): Promise<readonly FileRecord[] | undefined> {
  const text = await readFile(path.join(dir, RECORD), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    const files: unknown = JSON.parse(text);
    return Array.isArray(files) && files.every(isFileRecord) ? files : undefined;
  } catch {
    return undefined;
  }
}

function isFileRecord(value: unknown): value is FileRecord {
  return (
    typeof value === 'object' &&
    value !== null &&
    'name' in value &&
    typeof value.name === 'string' &&
    'bytes' in value &&
    typeof value.bytes === 'number' &&
    'sha256' in value &&
    typeof value.sha256 === 'string'
  );
}

function digestOf(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}
