import { RequestError } from '#base/errors.ts';
import { formatExactSize, formatSize, GIB, KIB, MIB } from '#base/units.ts';
import type { TraceKind, VmConfig } from './vm.ts';

/** x86-64-v2: what today's distributions ask for at least. */
export const DEFAULT_CPU_MODEL = 'ring0-v2';
/** Linux writes its console where we read it. Other kernels ignore it. */
export const DEFAULT_APPEND = 'console=ttyS0';

/** The smallest memory that has all of the first MiB's fixed addresses below it, and something above to load to. */
const MIN_MEMORY_BYTES = 2 * MIB;
/** What a 32-bit address space holds beside the windows of devices below 4 GiB. */
const MAX_MEMORY_BYTES = 3.5 * GIB;
const PAGE_BYTES = 4 * KIB;

export const ONE_START =
  'a machine starts in a kernel or in a firmware image, not in both; give one of them';

export const TRACE_KINDS: readonly TraceKind[] = ['insn', 'int', 'mmu', 'io'];

/**
 * Rejects what can be seen to be wrong without looking into the files.
 * @throws {RequestError} whose field is `memory`, `kernel`, `initrd`, `module` or `firmware`.
 */
export function checkConfig(config: VmConfig): void {
  checkMemory(config.memoryBytes);
  const hasStart = config.kernel !== undefined || config.firmware !== undefined;
  if (!hasStart && config.bootDisk !== true)
    throw new RequestError('there is nothing to run; give a kernel or a firmware image', 'kernel');
  if (config.kernel !== undefined && config.firmware !== undefined)
    throw new RequestError(ONE_START, 'firmware');
  if (config.initrd !== undefined && config.kernel === undefined)
    throw new RequestError('an initrd needs a kernel; give one', 'initrd');
  if ((config.modules?.length ?? 0) > 0 && config.kernel === undefined)
    throw new RequestError('modules need a Multiboot kernel; give one', 'module');
  checkFits(config);
}

/** @throws {RequestError} whose field is `memory`. */
export function checkMemory(bytes: number): void {
  const range = `give ${formatSize(MIN_MEMORY_BYTES)} to ${formatSize(MAX_MEMORY_BYTES)}, for example 256M`;
  if (!Number.isSafeInteger(bytes) || bytes < MIN_MEMORY_BYTES)
    throw new RequestError(`${formatExactSize(bytes)} is too small; ${range}`, 'memory');
  if (bytes > MAX_MEMORY_BYTES)
    throw new RequestError(`${formatExactSize(bytes)} is too large; ${range}`, 'memory');
  if (bytes % PAGE_BYTES !== 0)
    throw new RequestError(`${bytes} bytes is not a multiple of 4 KiB; ${range}`, 'memory');
}

function checkFits(config: VmConfig): void {
  const parts = [
    { field: 'kernel', name: config.kernelName, bytes: config.kernel?.length ?? 0 },
    { field: 'initrd', name: config.initrdName, bytes: config.initrd?.length ?? 0 },
    ...(config.modules ?? []).map((m) => ({
      field: 'module',
      name: undefined,
      bytes: m.bytes.length,
    })),
  ];
  let total = 0;
  for (const part of parts) {
    total += part.bytes;
    if (total <= config.memoryBytes) continue;
    const what = `${part.name === undefined ? '' : `${part.name}: `}${formatSize(part.bytes)}`;
    const memory = formatSize(config.memoryBytes);
    throw new RequestError(
      `${what} does not fit in a memory of ${memory}; give more memory`,
      part.field,
    );
  }
}
