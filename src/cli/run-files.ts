import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { RequestError } from '#base/errors.ts';
import { DEFAULT_APPEND } from '#control/config.ts';
import type { VmConfig } from '#control/vm.ts';
import { DEFAULT_GUEST_APPEND } from '#guests/default-append.ts';
import {
  cacheDir,
  ensureDefaultGuest,
  GUEST_32,
  GUEST_64,
  type GuestHost,
} from '#guests/default-guest.ts';
import type { RunRequest } from './run-request.ts';

/**
 * Reads the files of a request, the default guest's when it names none.
 * @throws {RequestError} that names the flag and the file.
 */
export async function loadConfig(request: RunRequest, host: GuestHost): Promise<VmConfig> {
  const files = await guestFiles(request, host);
  const { kernel, initrd } = files;
  const modules = await Promise.all(
    request.modules.map(async ({ file, cmdline }) => ({
      bytes: await readInput(file, 'module'),
      cmdline,
    })),
  );
  return {
    memoryBytes: request.memoryBytes,
    ...(kernel !== undefined && { kernel: await readInput(kernel, 'kernel'), kernelName: kernel }),
    ...(initrd !== undefined && { initrd: await readInput(initrd, 'initrd'), initrdName: initrd }),
    ...(modules.length > 0 && { modules }),
    ...(request.firmware !== undefined && {
      firmware: await readInput(request.firmware, 'firmware'),
    }),
    append: files.append,
    ...(request.disks.length > 0 && { disks: request.disks }),
    ...(request.bootDisk && { bootDisk: true }),
    cpuModel: request.cpuModel,
    accel: request.accel,
    noReboot: request.noReboot,
    translate: request.translate,
    ...(request.translationCache && {
      translationCache: path.join(cacheDir(host.env), 'translations'),
    }),
    ...(request.verify && { verify: true }),
    ...(request.disturb !== undefined && { disturb: request.disturb }),
    ...(request.trace !== undefined && { trace: request.trace }),
    ...(request.profile !== undefined && { profile: request.profile }),
    ...(files.symbols !== undefined && { symbols: await readInput(files.symbols, 'symbols') }),
    ...dumpPlace(request, host.env),
    stats: request.stats !== 'none',
  };
}

/** Of dumps that nobody asked for only a few are kept: each may be as large as the guest's memory. */
const KEPT_DUMPS = 3;

function dumpPlace({ dump }: RunRequest, env: NodeJS.ProcessEnv): Pick<VmConfig, 'dump'> {
  if (dump === 'none') return {};
  if (dump !== 'default') return { dump };
  return { dump: { dir: path.join(cacheDir(env), 'crashes'), keep: KEPT_DUMPS - 1 } };
}

interface GuestFiles {
  readonly kernel: string | undefined;
  readonly initrd: string | undefined;
  readonly symbols: string | undefined;
  readonly append: string;
}

async function guestFiles(request: RunRequest, host: GuestHost): Promise<GuestFiles> {
  const { kernel, initrd, firmware, append, symbols } = request;
  if (kernel !== undefined || firmware !== undefined || request.bootDisk)
    return { kernel, initrd, symbols, append: append ?? DEFAULT_APPEND };
  const guest = await ensureDefaultGuest(host, request.guest === '32' ? GUEST_32 : GUEST_64);
  return {
    kernel: guest.kernel,
    initrd: initrd ?? guest.initrd,
    // Debian's System.map is a stub; the kernel's own names in its memory serve.
    symbols,
    // Added to ours, or a single word of the user's would take the console away.
    append: append === undefined ? DEFAULT_GUEST_APPEND : `${DEFAULT_GUEST_APPEND} ${append}`,
  };
}

/** @throws {RequestError} that names the flag and the file. */
export async function readInput(file: string, field: string): Promise<Uint8Array> {
  let bytes: Uint8Array;
  try {
    await checkKind(file, field);
    bytes = await readFile(file);
  } catch (error) {
    if (error instanceof RequestError) throw error;
    throw new RequestError(`${file}: ${whyUnreadable(error)}`, field, { cause: error });
  }
  if (bytes.length === 0) throw new RequestError(`${file}: the file is empty; give another`, field);
  return bytes;
}

/** Devices may have no end. A pipe is what a shell makes of <(…). */
async function checkKind(file: string, field: string): Promise<void> {
  const info = await stat(file);
  if (info.isFile() || info.isFIFO() || info.isDirectory()) return;
  throw new RequestError(`${file}: is neither a file nor a pipe; give a file`, field);
}

function whyUnreadable(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return 'no such file; check the path';
    case 'EACCES':
    case 'EPERM':
      return 'no permission to read it; change its mode or run as its owner';
    case 'EISDIR':
      return 'is a folder; give a file';
    case 'ERR_FS_FILE_TOO_LARGE':
      return 'is too large to be one; give another file';
    default:
      return error instanceof Error ? error.message : String(error);
  }
}
