import { RequestError } from '#base/errors.ts';
import type { DiskConfig } from '#control/vm.ts';
import { isLimitWord, parseLimits } from './disk-limits.ts';

const KEYS = [
  ...(['id', 'format', 'bus', 'cache', 'readonly', 'serial', 'snapshot'] as const),
  ...(['full', 'controller', 'nsid', 'lun'] as const),
];
type Key = (typeof KEYS)[number];
const BUSES: readonly DiskConfig['bus'][] = [
  ...(['virtio', 'nvme', 'scsi'] as const),
  ...(['virtio-mmio', 'virtio-mmio-legacy'] as const),
];
const CACHES: readonly DiskConfig['cache'][] = ['writeback', 'none', 'unsafe'];
const FULL: readonly NonNullable<DiskConfig['onFull']>[] = ['wait', 'report'];
/** The shortest that a device has room for: NVMe's and virtio's. */
const MOST_SERIAL = 20;

/**
 * `FILE[,id=I][,format=F][,bus=B][,cache=C][,readonly][,serial=S][,snapshot]…`; a comma in the name is doubled, and `file=`
 * may stand before it, as with QEMU.
 */
export function parseDisk(text: string): DiskConfig {
  const [first = '', ...options] = splitCommas(text);
  const path = first.replace(/^file=/, '');
  if (path === '') throw wrong(`'${text}' names no file; give FILE or FILE,OPTION,…`);
  const { values, limits } = sortOptions(options);
  const format = values.get('format');
  const serial = values.get('serial');
  const id = values.get('id');
  if (format === '') throw wrong("'format' has no value; give format=raw, format=qcow2, …");
  if (id !== undefined && !/^[\w.-]{1,64}$/.test(id))
    throw wrong(`'${id}' is no id; give letters, digits, '.', '-' and '_'`);
  if (serial !== undefined && !/^[!-~][ -~]{0,19}$/.test(serial))
    throw wrong(`'${serial}' is no serial number; give 1 to ${MOST_SERIAL} ASCII characters`);
  return {
    path,
    ...(id !== undefined && { id }),
    ...(format !== undefined && { format }),
    bus: oneOf(values.get('bus'), BUSES, 'bus') ?? 'virtio',
    cache: oneOf(values.get('cache'), CACHES, 'cache') ?? 'writeback',
    readOnly: isOn(values.get('readonly'), 'readonly'),
    ...(serial !== undefined && { serial }),
    snapshot: isOn(values.get('snapshot'), 'snapshot'),
    ...place(values),
    ...policy(values, limits),
  };
}

/** Its controller, and its number there, for which each bus has its own word. */
function place(values: ReadonlyMap<Key, string>): Partial<DiskConfig> {
  const controller = values.get('controller');
  const bus = values.get('bus');
  if (controller !== undefined && !/^[\w.-]{1,64}$/.test(controller))
    throw wrong(
      `'${controller}' is no name of a controller; give letters, digits, '.', '-' and '_'`,
    );
  let unit: number | undefined;
  for (const [word, its] of [
    ['nsid', 'nvme'],
    ['lun', 'scsi'],
  ] as const) {
    const text = values.get(word);
    if (text === undefined) continue;
    if (bus !== its) throw wrong(`'${word}' goes with bus=${its}`);
    if (!/^\d{1,3}$/.test(text)) throw wrong(`${word}='${text}' is no number; give for example 2`);
    unit = Number(text);
  }
  return { ...(controller !== undefined && { controller }), ...(unit !== undefined && { unit }) };
}

interface Options {
  readonly values: ReadonlyMap<Key, string>;
  /** Those that parseLimits knows. */
  readonly limits: ReadonlyMap<string, string>;
}

function sortOptions(options: readonly string[]): Options {
  const values = new Map<Key, string>();
  const limits = new Map<string, string>();
  const put = <K extends string>(map: Map<K, string>, name: K, value: string): void => {
    if (map.has(name)) throw wrong(`'${name}' is given twice; give it once`);
    map.set(name, value);
  };
  for (const option of options) {
    const [name = '', ...rest] = option.split('=');
    const key = KEYS.find((known) => known === name);
    if (key !== undefined) put(values, key, rest.join('='));
    else if (isLimitWord(name)) put(limits, name, rest.join('='));
    else throw wrong(`'${name}' is no option; there are ${[...KEYS, 'iops', 'bps'].join(', ')}`);
  }
  return { values, limits };
}

function policy(
  values: ReadonlyMap<Key, string>,
  words: ReadonlyMap<string, string>,
): Partial<DiskConfig> {
  const onFull = oneOf(values.get('full'), FULL, 'full');
  const limits = parseLimits(words);
  return { ...(onFull !== undefined && { onFull }), ...(limits !== undefined && { limits }) };
}

function wrong(message: string): RequestError {
  return new RequestError(message, 'disk');
}

/** As QEMU's options: two commas are one that belongs to the value. */
function splitCommas(text: string): string[] {
  const parts = [''];
  for (let at = 0; at < text.length; at++) {
    const isComma = text[at] === ',';
    if (isComma && text[at + 1] !== ',') parts.push('');
    else parts.push((parts.pop() ?? '') + text[at]);
    if (isComma && text[at + 1] === ',') at++;
  }
  return parts;
}

function oneOf<T extends string>(
  text: string | undefined,
  allowed: readonly T[],
  name: Key,
): T | undefined {
  if (text === undefined) return undefined;
  const found = allowed.find((word) => word === text);
  if (found !== undefined) return found;
  throw wrong(`${name}='${text}' is not one of them; give ${allowed.join(', ')}`);
}

function isOn(text: string | undefined, name: Key): boolean {
  if (text === undefined || text === 'off') return false;
  if (text === '' || text === 'on') return true;
  throw wrong(`${name}='${text}' is neither; give ${name}, ${name}=on or ${name}=off`);
}
