import { RequestError } from '#base/errors.ts';
import type { CheckResult } from '#storage/image.ts';
import { nodeStorageHost } from '#storage/node/node-host.ts';
import { checkImage } from '#storage/ops/check.ts';
import { print } from '../host.ts';
import { asRequestError, type ImageContext, STATUS_OK, say } from './context.ts';
import { flushesOf } from './flags.ts';

export interface CheckFlags {
  readonly format?: string;
  readonly output: 'human' | 'json';
  readonly repair?: string;
  readonly sourceCache?: string;
}

// qemu-img's.
const STATUS_NOT_CHECKED = 1;
const STATUS_CORRUPT = 2;
const STATUS_LEAKS = 3;
const STATUS_UNSUPPORTED = 63;

/** `ring0 image check`: whether an image's metadata are sound. */
export async function imageCheck(
  file: string,
  flags: CheckFlags,
  context: ImageContext,
): Promise<number> {
  flushesOf(flags.sourceCache, 'source-cache', false);
  const repair = flags.repair ?? 'none';
  if (repair !== 'none' && repair !== 'leaks' && repair !== 'all')
    throw new RequestError(`'${repair}' is no way to repair; give leaks or all`, 'repair');
  const checked = await checkImage(file, nodeStorageHost, flags.format, repair).catch(
    (error: unknown) => {
      throw asRequestError(error);
    },
  );
  const { format, result, repaired } = checked;
  if (result === undefined) {
    context.host.stderr.write(`ring0: ${file}: ${format.name} images have nothing to check\n`);
    return STATUS_UNSUPPORTED;
  }
  const fixed = repaired ?? result;
  const total = {
    ...result,
    corruptionsFixed: fixed.corruptionsFixed,
    leaksFixed: fixed.leaksFixed,
  };
  for (const message of [...(repaired?.messages ?? []), ...result.messages])
    context.host.stderr.write(`${message}\n`);
  if (flags.output === 'json')
    print(context.host, `${JSON.stringify(jsonOf(total, file, format.name), undefined, 4)}\n`);
  else say(context, textOf(total).join('\n'));
  return statusOf(total);
}

function statusOf(result: CheckResult): number {
  if (result.corruptions > 0) return STATUS_CORRUPT;
  if (result.leaks > 0) return STATUS_LEAKS;
  return result.checkErrors > 0 ? STATUS_NOT_CHECKED : STATUS_OK;
}

/** What is 0 is left out, as qemu-img does; in its order. */
function jsonOf(result: CheckResult, file: string, format: string): Record<string, unknown> {
  const counts = {
    'image-end-offset': result.imageEndBytes,
    'compressed-clusters': result.compressedClusters,
    'total-clusters': result.totalClusters,
    'corruptions-fixed': result.corruptionsFixed,
    corruptions: result.corruptions,
    'check-errors': result.checkErrors,
    'leaks-fixed': result.leaksFixed,
    leaks: result.leaks,
    'allocated-clusters': result.allocatedClusters,
    filename: file,
    format,
    'fragmented-clusters': result.fragmentedClusters,
  };
  return Object.fromEntries(
    Object.entries(counts).filter(([name, value]) => value !== 0 || name === 'check-errors'),
  );
}

function textOf(result: CheckResult): string[] {
  const { corruptions, leaks, checkErrors, corruptionsFixed, leaksFixed } = result;
  const lines: string[] = [];
  if (corruptionsFixed + leaksFixed > 0)
    lines.push(
      'The following inconsistencies were found and repaired:',
      '',
      `    ${leaksFixed} leaked clusters`,
      `    ${corruptionsFixed} corruptions`,
      '',
      'Double checking the fixed image now...',
    );
  if (corruptions + leaks + checkErrors === 0) lines.push('No errors were found on the image.');
  if (corruptions > 0)
    lines.push(
      '',
      `${corruptions} errors were found on the image.`,
      'Data may be corrupted, or further writes to the image may corrupt it.',
    );
  if (leaks > 0)
    lines.push(
      '',
      `${leaks} leaked clusters were found on the image.`,
      'This means waste of disk space, but no harm to data.',
    );
  if (checkErrors > 0)
    lines.push('', `${checkErrors} internal errors have occurred during the check.`);
  const { totalClusters: total, allocatedClusters: allocated } = result;
  const share = (part: number, whole: number): string => hundredths((part * 100) / whole);
  if (total > 0 && allocated > 0)
    lines.push(
      `${allocated}/${total} = ${share(allocated, total)}% allocated, ${share(result.fragmentedClusters, allocated)}% fragmented, ${share(result.compressedClusters, allocated)}% compressed clusters`,
    );
  if (result.imageEndBytes > 0) lines.push(`Image end offset: ${result.imageEndBytes}`);
  return lines;
}

/** Two digits, as C's printf rounds: what lies between two, odd eighths, goes to the even one. */
function hundredths(value: number): string {
  const low = Math.floor(value * 100);
  const isTie = (value * 8) % 2 === 1;
  return isTie ? ((low + (low % 2)) / 100).toFixed(2) : value.toFixed(2);
}
