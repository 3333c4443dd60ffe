import type { ImageInfo, InfoValue, Snapshot } from '#storage/image.ts';
import { fileOfName } from '#storage/image-name.ts';
import { statsOf } from '#storage/node/paths.ts';
import { oneLine } from '../error-line.ts';
import { print } from '../host.ts';
import {
  closeAll,
  type ImageContext,
  openNamed,
  STATUS_OK,
  warnOfOverSubscription,
} from './context.ts';
import { backingDisplayName, chainOf, type NamedImage } from './names.ts';
import { sizeText } from './size-text.ts';
import { snapshotTable } from './snapshot-table.ts';

export interface InfoFlags {
  readonly format?: string;
  readonly output: 'human' | 'json';
  readonly backingChain?: boolean;
}

/** `ring0 image info`: what an image is; with several, whether their disks fit the file system together. */
export async function imageInfo(
  files: readonly string[],
  flags: InfoFlags,
  context: ImageContext,
): Promise<number> {
  const asList = flags.backingChain === true || files.length > 1;
  const disks: { file: string; sizeBytes: number }[] = [];
  const parts: Description[] = [];
  for (const file of files) {
    const image = await openNamed(file, context, {
      format: flags.format,
      withBacking: flags.backingChain === true,
    });
    try {
      disks.push({ file, sizeBytes: image.sizeBytes });
      const chain = flags.backingChain
        ? await chainOf(image, file)
        : [{ image, name: fileOfName(file) }];
      for (const one of chain) parts.push(await describe(one));
    } finally {
      await closeAll([image]);
    }
  }
  if (flags.output === 'json') {
    const all = parts.map(jsonOf);
    print(context.host, `${JSON.stringify(asList ? all : all[0], undefined, 4)}\n`);
  } else print(context.host, parts.map(textOf).join('\n'));
  await warnOfOverSubscription(context, disks);
  return STATUS_OK;
}

interface Description {
  readonly name: string;
  readonly format: string;
  readonly sizeBytes: number;
  readonly actualBytes: number | undefined;
  readonly info: ImageInfo;
  /** The name that a user would use for the backing file. */
  readonly fullBackingName: string | undefined;
}

async function describe({ image, name }: NamedImage): Promise<Description> {
  const info = await image.info();
  const blocks = statsOf(fileOfName(image.path))?.blocks;
  return {
    name,
    format: image.format,
    sizeBytes: image.sizeBytes,
    actualBytes: blocks === undefined ? undefined : blocks * 512,
    info,
    fullBackingName:
      info.backingName === undefined ? undefined : backingDisplayName(name, info.backingName),
  };
}

/** In qemu-img's order, so that outputs can be compared. */
function jsonOf({ info, ...one }: Description): InfoValue {
  const { snapshots = [], specific } = info;
  return defined({
    'backing-filename-format': info.backingFormat,
    snapshots: snapshots.length === 0 ? undefined : snapshots.map(snapshotJson),
    'virtual-size': one.sizeBytes,
    filename: one.name,
    'cluster-size': info.clusterBytes,
    format: one.format,
    'actual-size': one.actualBytes,
    'format-specific': specific === undefined ? undefined : { type: one.format, data: specific },
    'full-backing-filename': one.fullBackingName,
    'backing-filename': info.backingName,
    compressed: info.compressed === true ? true : undefined,
    encrypted: info.encrypted === true ? true : undefined,
    'dirty-flag': info.dirty ?? false,
  });
}

function snapshotJson(snapshot: Snapshot): InfoValue {
  const { createdNs, vmClockNs, icount } = snapshot;
  return {
    ...(icount === undefined ? {} : { icount: Number(icount) }),
    'vm-clock-nsec': Number(vmClockNs % 1_000_000_000n),
    name: snapshot.name,
    'date-sec': Number(createdNs / 1_000_000_000n),
    'date-nsec': Number(createdNs % 1_000_000_000n),
    'vm-clock-sec': Number(vmClockNs / 1_000_000_000n),
    id: snapshot.id,
    'vm-state-size': snapshot.vmStateBytes,
  };
}

function defined(value: { readonly [key: string]: InfoValue | undefined }): InfoValue {
  const kept: { [key: string]: InfoValue } = {};
  for (const [key, one] of Object.entries(value)) if (one !== undefined) kept[key] = one;
  return kept;
}

function textOf({ info, ...one }: Description): string {
  const { actualBytes, fullBackingName } = one;
  const lines = [
    `image: ${one.name}`,
    `file format: ${one.format}`,
    `virtual size: ${sizeText(one.sizeBytes)} (${one.sizeBytes} bytes)`,
    `disk size: ${actualBytes === undefined ? 'unavailable' : sizeText(actualBytes)}`,
  ];
  if (info.encrypted === true) lines.push('encrypted: yes');
  if (info.clusterBytes !== undefined) lines.push(`cluster_size: ${info.clusterBytes}`);
  if (info.dirty === true) lines.push('cleanly shut down: no');
  if (info.backingName !== undefined) {
    const actual = fullBackingName === info.backingName ? '' : ` (actual path: ${fullBackingName})`;
    lines.push(`backing file: ${info.backingName}${actual}`);
  }
  if (info.backingFormat !== undefined) lines.push(`backing file format: ${info.backingFormat}`);
  if (info.snapshots !== undefined && info.snapshots.length > 0)
    lines.push(...snapshotTable(info.snapshots));
  if (info.specific !== undefined)
    lines.push('Format specific information:', ...specificLines(info.specific, 1));
  return `${lines.map(oneLine).join('\n')}\n`;
}

function specificLines(value: InfoValue, depth: number): string[] {
  const indent = '    '.repeat(depth);
  if (typeof value !== 'object') return [`${indent}${String(value)}`];
  const entries: readonly (readonly [string, InfoValue])[] = isList(value)
    ? value.map((one, index) => [`[${index}]`, one] as const)
    : Object.entries(value).map(([key, one]) => [key.replaceAll('-', ' '), one] as const);
  return entries.flatMap(([key, one]) =>
    typeof one === 'object'
      ? [`${indent}${key}:`, ...specificLines(one, depth + 1)]
      : [`${indent}${key}: ${String(one)}`],
  );
}

function isList(value: InfoValue): value is readonly InfoValue[] {
  return Array.isArray(value);
}
