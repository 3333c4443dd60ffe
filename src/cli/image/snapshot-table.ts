import type { Snapshot } from '#storage/image.ts';
import { sizeText } from './size-text.ts';

/** The lines that qemu-img lists snapshots with. */
export function snapshotTable(snapshots: readonly Snapshot[]): string[] {
  const row = (id: string, tag: string, rest: readonly [string, string, string, string]): string =>
    `${id.padEnd(9)} ${tag.padEnd(16)} ${rest[0].padStart(8)}${rest[1].padStart(20)}${rest[2].padStart(13)}${rest[3].padStart(11)}`;
  return [
    'Snapshot list:',
    row('ID', 'TAG', ['VM SIZE', 'DATE', 'VM CLOCK', 'ICOUNT']),
    ...snapshots.map(({ id, name, vmStateBytes, createdNs, vmClockNs, icount }) =>
      row(id, name, [
        sizeText(vmStateBytes),
        dateText(Number(createdNs / 1_000_000n)),
        clockText(vmClockNs),
        icount === undefined ? '' : String(icount),
      ]),
    ),
  ];
}

const two = (value: number): string => String(value).padStart(2, '0');

function dateText(ms: number): string {
  const date = new Date(ms);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

function clockText(ns: bigint): string {
  const seconds = Number(ns / 1_000_000_000n);
  const ms = Number((ns / 1_000_000n) % 1000n);
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return `${two(hours)}:${two(minutes)}:${two(seconds % 60)}.${String(ms).padStart(3, '0')}`;
}
