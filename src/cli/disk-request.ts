import { RequestError } from '#base/errors.ts';
import { parseSize } from '#base/units.ts';
import type { DiskConfig } from '#control/vm.ts';

const KEYS = [
  ...(['format', 'bus', 'cache', 'readonly', 'serial', 'snapshot'] as const),
  ...(['full', 'iops', 'bps'] as const),
];
type Key = (typeof KEYS)[number];
const BUSES: readonly DiskConfig['bus'][] = ['virtio', 'nvme', 'scsi'];
const CACHES: readonly DiskConfig['cache'][] = ['writeback', 'none', 'unsafe'];
const FULL: readonly NonNullable<DiskConfig['onFull']>[] = ['wait', 'report'];
/** The shortest that a device has room for: NVMe's and virtio's. */
const MOST_SERIAL = 20;

/** `FILE[,format=F][,bus=B][,cache=C][,readonly][,serial=S][,snapshot]…`; a comma in the name is doubled. */
export function parseDisk(text: string): DiskConfig {
  const [path = '', ...options] = splitCommas(text);
  if (path === '') throw wrong(`'${text}' names no file; give FILE or FILE,OPTION,…`);
  const values = new Map<Key, string>();
  for (const option of options) {
    const [name = '', ...rest] = option.split('=');
    const key = KEYS.find((known) => known === name);
    if (key === undefined) throw wrong(`'${name}' is no option; there are ${KEYS.join(', ')}`);
    if (values.has(key)) throw wrong(`'${name}' is given twice; give it once`);
    values.set(key, rest.length === 0 ? '' : rest.join('='));
  }
  const format = values.get('format');
  const serial = values.get('serial');
  if (format === '') throw wrong("'format' has no value; give format=raw, format=qcow2, …");
  if (serial !== undefined && !/^[!-~][ -~]{0,19}$/.test(serial))
    throw wrong(`'${serial}' is no serial number; give 1 to ${MOST_SERIAL} ASCII characters`);
  return {
    path,
    ...(format !== undefined && { format }),
    bus: oneOf(values.get('bus'), BUSES, 'bus') ?? 'virtio',
    cache: oneOf(values.get('cache'), CACHES, 'cache') ?? 'writeback',
    readOnly: isOn(values.get('readonly'), 'readonly'),
    ...(serial !== undefined && { serial }),
    snapshot: isOn(values.get('snapshot'), 'snapshot'),
    ...policy(values),
  };
}

function policy(values: ReadonlyMap<Key, string>): Partial<DiskConfig> {
  const onFull = oneOf(values.get('full'), FULL, 'full');
  const requestsPerSecond = rate(values.get('iops'), 'iops');
  const bytesPerSecond = rate(values.get('bps'), 'bps');
  return {
    ...(onFull !== undefined && { onFull }),
    ...(requestsPerSecond !== undefined && { requestsPerSecond }),
    ...(bytesPerSecond !== undefined && { bytesPerSecond }),
  };
}

function rate(text: string | undefined, name: Key): number | undefined {
  if (text === undefined) return undefined;
  const value = /^[1-9]\d{0,14}$/.test(text) ? Number(text) : parseSize(text, 'M');
  if (value === undefined || value === 0)
    throw wrong(`${name}='${text}' is no rate; give a number a second, for example 500 or 10M`);
  return value;
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
