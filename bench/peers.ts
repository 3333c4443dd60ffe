// Who takes part: how each is started on a guest, and which version it is.
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { MEMORY_MIB, type PeerName, type Presence } from './measurement.ts';
import { v86Presence } from './v86.ts';

const ROOT = new URL('../', import.meta.url);
const RING0 = fileURLToPath(new URL('bin/ring0.mjs', ROOT));
const QEMU = 'qemu-system-x86_64';

export interface Guest {
  readonly kernel: string;
  readonly initrd?: string;
  readonly append?: string;
}

/** `anew`: without the code that earlier runs have translated. */
export function ring0Command(guest: Guest, anew: boolean): string[] {
  const command = [process.execPath, RING0, 'run', '--kernel', guest.kernel];
  if (anew) command.push('--no-translation-cache');
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

const PRESENCES: Readonly<Record<PeerName, () => Promise<Presence>>> = {
  ring0: ring0Presence,
  qemu: qemuPresence,
  v86: v86Presence,
  native: nativePresence,
};

export async function findPeers(wanted: readonly PeerName[]): Promise<Map<PeerName, Presence>> {
  const found = new Map<PeerName, Presence>();
  for (const peer of wanted) found.set(peer, await PRESENCES[peer]());
  return found;
}

async function ring0Presence(): Promise<Presence> {
  const text = await readFile(new URL('package.json', ROOT), 'utf8');
  const data: unknown = JSON.parse(text);
  const version =
    typeof data === 'object' && data !== null && 'version' in data ? data.version : '?';
  const commit = await output('git', ['-C', fileURLToPath(ROOT), 'rev-parse', '--short', 'HEAD']);
  const build = commit === undefined ? '' : ` (${commit.trim()})`;
  return { version: `${version}${build}, Node ${process.version}` };
}

async function qemuPresence(): Promise<Presence> {
  const text = await output(QEMU, ['--version']);
  const version = text === undefined ? undefined : /version (\S+)/.exec(text)?.[1];
  return version === undefined
    ? { absent: `${QEMU} does not start; Debian has it in qemu-system-x86` }
    : { version: `${version}, TCG` };
}

async function nativePresence(): Promise<Presence> {
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
