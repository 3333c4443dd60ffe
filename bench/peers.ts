// Who takes part: how each is started on a guest, and which version it is.
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { PeerName } from './measurement.ts';

const ROOT = new URL('../', import.meta.url);
const RING0 = fileURLToPath(new URL('bin/ring0.mjs', ROOT));
const QEMU = 'qemu-system-x86_64';

/** The same for all. */
const MEMORY_MIB = 256;

/** A peer that is here, or why it is not. */
export type Presence = { readonly version: string } | { readonly absent: string };

export interface Guest {
  readonly kernel: string;
  readonly initrd?: string;
  readonly append?: string;
}

export function ring0Command(guest: Guest): string[] {
  const command = [process.execPath, RING0, 'run', '--kernel', guest.kernel];
  if (guest.initrd !== undefined) command.push('--initrd', guest.initrd);
  if (guest.append !== undefined) command.push('--append', guest.append);
  return [...command, '--memory', `${MEMORY_MIB}M`, '--no-reboot', '--stats', '--json'];
}

/** `console` is where standard input and output lead: QEMU keeps its serial port and port 0xe9 apart. */
export function qemuCommand(guest: Guest, console: 'serial' | 'debugcon'): string[] {
  const command = [QEMU, '-accel', 'tcg', '-cpu', 'max', '-smp', '1', '-m', `${MEMORY_MIB}`];
  command.push('-nodefaults', '-display', 'none', '-no-reboot');
  command.push('-device', 'isa-debug-exit,iobase=0xf4,iosize=1');
  command.push(`-${console}`, 'stdio', '-kernel', guest.kernel);
  if (guest.initrd !== undefined) command.push('-initrd', guest.initrd);
  if (guest.append !== undefined) command.push('-append', guest.append);
  return command;
}

export async function findPeers(): Promise<Map<PeerName, Presence>> {
  return new Map([
    ['ring0', { version: await ring0Version() }],
    ['qemu', await qemuPresence()],
    ['native', nativePresence()],
  ]);
}

async function ring0Version(): Promise<string> {
  const text = await readFile(new URL('package.json', ROOT), 'utf8');
  const data: unknown = JSON.parse(text);
  const version =
    typeof data === 'object' && data !== null && 'version' in data ? data.version : '?';
  const commit = await output('git', ['-C', fileURLToPath(ROOT), 'rev-parse', '--short', 'HEAD']);
  return `${version}${commit === undefined ? '' : ` (${commit.trim()})`}, Node ${process.version}`;
}

async function qemuPresence(): Promise<Presence> {
  const text = await output(QEMU, ['--version']);
  const version = text === undefined ? undefined : /version (\S+)/.exec(text)?.[1];
  return version === undefined
    ? { absent: `${QEMU} does not start; Debian has it in qemu-system-x86` }
    : { version: `${version}, TCG` };
}

function nativePresence(): Presence {
  return process.platform === 'linux' && process.arch === 'x64'
    ? { version: 'this processor' }
    : { absent: 'the host does not run programs of x86-64 Linux' };
}

async function output(file: string, args: readonly string[]): Promise<string | undefined> {
  try {
    return (await promisify(execFile)(file, args, { timeout: 20_000 })).stdout;
  } catch {
    return undefined;
  }
}
