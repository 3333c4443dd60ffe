import { RequestError } from '#base/errors.ts';
import { parseDuration, parseSize } from '#base/units.ts';
import { checkMemory, ONE_START, TRACE_KINDS } from '#control/config.ts';
import type { DiskConfig, TraceKind, VmConfig } from '#control/vm.ts';
import { parseDisk } from './disk-request.ts';

/** The flags of `ring0 run` as commander gives them. */
export interface RunFlags {
  readonly guest?: string;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly module?: readonly string[];
  readonly firmware?: string;
  readonly disk?: readonly string[];
  readonly snapshot?: boolean;
  readonly append?: string;
  readonly memory: string;
  readonly console: string;
  readonly timeout?: string;
  readonly accel: string;
  readonly cpu: string;
  readonly trace?: string;
  readonly profile?: string;
  readonly symbols?: string;
  /** A folder; false with --no-dump. */
  readonly dump?: string | boolean;
  readonly reboot: boolean;
  readonly translate: boolean;
  readonly translationCache: boolean;
  readonly verify?: boolean;
  readonly disturb?: string;
  readonly stats?: boolean;
  readonly json?: boolean;
}

/** What to run, checked as far as that goes without opening files. */
export interface RunRequest {
  /** Which guest of Debian's, when there is neither kernel nor firmware. */
  readonly guest: '64' | '32';
  readonly kernel?: string;
  readonly initrd?: string;
  readonly modules: readonly { readonly file: string; readonly cmdline: string }[];
  readonly firmware?: string;
  readonly disks: readonly DiskConfig[];
  /** Kernel and initrd are in the first disk. */
  readonly bootDisk: boolean;
  readonly append?: string;
  readonly memoryBytes: number;
  readonly console: 'stdio' | 'pty' | 'none';
  readonly timeoutMs?: number;
  readonly accel: VmConfig['accel'];
  readonly cpuModel: string;
  readonly trace?: { readonly kinds: TraceKind[]; readonly file?: string };
  readonly profile?: string;
  readonly symbols?: string;
  /** `default` is a folder in the cache. */
  readonly dump: { readonly dir: string } | 'default' | 'none';
  readonly noReboot: boolean;
  readonly translate: boolean;
  readonly translationCache: boolean;
  readonly verify: boolean;
  readonly disturb?: number;
  readonly stats: 'none' | 'text' | 'json';
}

/** @throws {RequestError} whose field is the flag's name. */
export function parseRunFlags(flags: RunFlags, bootDisk?: string): RunRequest {
  checkStart(flags, bootDisk);
  checkVerify(flags);
  const { kernel, initrd, firmware, append, symbols } = flags;
  const modules = (flags.module ?? []).map(parseModule);
  return {
    guest: oneOf(flags.guest ?? '64', ['64', '32'], 'guest'),
    ...(kernel !== undefined && { kernel }),
    ...(initrd !== undefined && { initrd }),
    modules,
    ...(firmware !== undefined && { firmware }),
    disks: [...(bootDisk === undefined ? [] : [bootDisk]), ...(flags.disk ?? [])].map((text) =>
      withSnapshot(parseDisk(text), flags.snapshot),
    ),
    bootDisk: bootDisk !== undefined && kernel === undefined && firmware === undefined,
    ...(append !== undefined && { append }),
    memoryBytes: parseMemory(flags.memory),
    console: oneOf(flags.console, ['stdio', 'pty', 'none'], 'console'),
    ...(flags.timeout !== undefined && { timeoutMs: parseTimeout(flags.timeout) }),
    accel: oneOf(flags.accel, ['auto', 'software'], 'accel'),
    cpuModel: flags.cpu,
    ...(flags.trace !== undefined && { trace: parseTrace(flags.trace) }),
    ...(flags.profile !== undefined && { profile: flags.profile }),
    ...(symbols !== undefined && { symbols }),
    dump: parseDump(flags.dump),
    noReboot: !flags.reboot,
    translate: flags.translate,
    translationCache: flags.translationCache,
    verify: flags.verify === true,
    ...(flags.disturb !== undefined && { disturb: parseSeed(flags.disturb) }),
    stats: flags.json ? 'json' : flags.stats ? 'text' : 'none',
  };
}

function withSnapshot(disk: DiskConfig, all = false): DiskConfig {
  return { ...disk, snapshot: disk.snapshot || all };
}

/** What is started is named once, and what goes with it fits. */
function checkStart(flags: RunFlags, bootDisk: string | undefined): void {
  const { kernel, initrd, firmware, guest } = flags;
  for (const field of ['kernel', 'initrd', 'firmware', 'symbols', 'profile'] as const)
    if (flags[field] === '')
      throw new RequestError('the name of the file is empty; give a path', field);
  if ((flags.module ?? []).length > 0 && kernel === undefined)
    throw new RequestError('modules need a Multiboot kernel; give --kernel', 'module');
  if (initrd !== undefined && kernel === undefined && firmware !== undefined)
    throw new RequestError('a firmware image loads no initrd; give --kernel', 'initrd');
  if (kernel !== undefined && firmware !== undefined) throw new RequestError(ONE_START, 'firmware');
  if (guest !== undefined && (kernel !== undefined || firmware !== undefined))
    throw new RequestError('a kernel or firmware is the guest; give one of the flags', 'guest');
  if (guest !== undefined && bootDisk !== undefined)
    throw new RequestError('the disk is the guest; leave out one of them', 'guest');
  if (initrd !== undefined && bootDisk !== undefined && kernel === undefined)
    throw new RequestError("the disk's own goes with the disk's kernel; give --kernel", 'initrd');
}

/** There must be something to compare, and events are either compared or traced. */
function checkVerify({ verify, translate, trace }: RunFlags): void {
  if (verify !== true) return;
  if (!translate)
    throw new RequestError(
      'compares translated code with the interpreter; leave out --no-translate',
      'verify',
    );
  if (trace !== undefined)
    throw new RequestError('no trace can be written meanwhile; leave out --trace', 'verify');
}

function parseMemory(text: string): number {
  const bytes = parseSize(text, 'M');
  if (bytes === undefined)
    throw new RequestError(
      `'${text}' is not a size; give a number with K, M or G, for example 256M`,
      'memory',
    );
  if (bytes === 0)
    throw new RequestError(
      `'${text}' is no memory at all; give a size, for example 256M`,
      'memory',
    );
  checkMemory(bytes);
  return bytes;
}

/** Node's timers hold 31 bits of milliseconds and fire at once beyond. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

function parseTimeout(text: string): number {
  const milliseconds = parseDuration(text);
  if (milliseconds === undefined || milliseconds <= 0)
    throw new RequestError(
      `'${text}' is not a time; give seconds above 0, for example 60 or 1.5`,
      'timeout',
    );
  if (milliseconds > MAX_TIMEOUT_MS)
    throw new RequestError(
      `'${text}' is too long; give at most ${Math.floor(MAX_TIMEOUT_MS / 1000)} seconds`,
      'timeout',
    );
  return milliseconds;
}

/** `insn,int` or `insn,int:FILE`. */
function parseSeed(text: string): number {
  if (!/^\d{1,9}$/.test(text))
    throw new RequestError(`'${text}' is not a seed; give a number below 1000000000`, 'disturb');
  return Number(text);
}

function parseTrace(text: string): { kinds: TraceKind[]; file?: string } {
  const colon = text.indexOf(':');
  const list = colon < 0 ? text : text.slice(0, colon);
  const kinds = list.split(',').map((word) => oneOf(word.trim(), TRACE_KINDS, 'trace'));
  if (colon < 0) return { kinds };
  const file = text.slice(colon + 1);
  if (file === '')
    throw new RequestError(
      `'${text}' names no file after the colon; give one, or no colon`,
      'trace',
    );
  return { kinds, file };
}

function parseDump(flag: RunFlags['dump']): RunRequest['dump'] {
  if (flag === false) return 'none';
  if (typeof flag !== 'string') return 'default';
  if (flag === '') throw new RequestError('the name of the folder is empty; give a path', 'dump');
  return { dir: flag };
}

/** `FILE` or `FILE,command line`, as Multiboot passes it to the kernel. */
function parseModule(text: string): { file: string; cmdline: string } {
  const comma = text.indexOf(',');
  const file = comma < 0 ? text : text.slice(0, comma);
  if (file === '')
    throw new RequestError(`'${text}' names no file; give FILE or FILE,ARGUMENTS`, 'module');
  return { file, cmdline: comma < 0 ? '' : text.slice(comma + 1) };
}

function oneOf<T extends string>(text: string, allowed: readonly T[], field: string): T {
  const found = allowed.find((word) => word === text);
  if (found === undefined)
    throw new RequestError(`'${text}' is not one of them; give ${allowed.join(', ')}`, field);
  return found;
}
