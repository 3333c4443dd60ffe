import { RequestError } from '#base/errors.ts';
import { parseSize } from '#base/units.ts';
import type { IoLimits, KindLimits, RateLimit } from '#control/vm.ts';

// Limits of a disk, in QEMU's words: `throttling.bps-total-max=…`, and shorter ones: `bps=`, `bps-read=`, `bps-burst=`.

const WORD = /^(?:throttling\.)?(iops|bps)(?:-(total|read|write))?(?:-(?:max|burst)(-length)?)?$/;
const SIZE_WORD = /^(?:throttling\.)?iops-size$/;
const LONGEST_BURST_SECONDS = 3600;

type Unit = 'iops' | 'bps';
type Kind = keyof KindLimits;

interface Given {
  rate?: number;
  burst?: number;
  seconds?: number;
}

export function isLimitWord(name: string): boolean {
  return WORD.test(name) || SIZE_WORD.test(name);
}

/** `iops=100,bps=1M`. @throws {RequestError} of the field `disk`. */
export function parseLimitWords(text: string): IoLimits | undefined {
  const words = new Map<string, string>();
  for (const option of text.split(',')) {
    const [name = '', value = ''] = option.split('=');
    if (!isLimitWord(name)) throw wrong(`'${name}' is no limit; give iops=, bps=, iops-burst=, …`);
    if (words.has(name)) throw wrong(`'${name}' is given twice; give it once`);
    words.set(name, value);
  }
  return parseLimits(words);
}

/** The limits that words say; undefined when there are none. @throws {RequestError} of the field `disk`. */
export function parseLimits(words: ReadonlyMap<string, string>): IoLimits | undefined {
  const given = new Map<string, Given>();
  let bytesPerRequest: number | undefined;
  for (const [name, text] of words) {
    if (SIZE_WORD.test(name)) {
      bytesPerRequest = number(name, text);
      continue;
    }
    const [, unit = '', kind = 'total', length] = WORD.exec(name) ?? [];
    const limit = given.get(`${unit}-${kind}`) ?? {};
    given.set(`${unit}-${kind}`, limit);
    const what = length !== undefined ? 'seconds' : /-(?:max|burst)$/.test(name) ? 'burst' : 'rate';
    if (limit[what] !== undefined) throw wrong(`'${name}' is given twice; give it once`);
    limit[what] = number(name, text);
  }
  const requests = kinds(given, 'iops');
  const bytes = kinds(given, 'bps');
  if (bytesPerRequest !== undefined && requests === undefined)
    throw wrong("'iops-size' says what iops count; give iops= too");
  if (requests === undefined && bytes === undefined) return undefined;
  return {
    ...(requests !== undefined && { requests }),
    ...(bytes !== undefined && { bytes }),
    ...(bytesPerRequest !== undefined && { bytesPerRequest }),
  };
}

function kinds(given: ReadonlyMap<string, Given>, unit: Unit): KindLimits | undefined {
  const limits: { [K in Kind]?: RateLimit } = {};
  for (const kind of ['total', 'read', 'write'] as const) {
    const limit = given.get(`${unit}-${kind}`);
    if (limit !== undefined)
      limits[kind] = rateLimit(limit, kind === 'total' ? unit : `${unit}-${kind}`);
  }
  if (limits.total !== undefined && (limits.read ?? limits.write) !== undefined)
    throw wrong(
      `'${unit}' limits reads and writes together; give it or ${unit}-read, ${unit}-write`,
    );
  return Object.keys(limits).length === 0 ? undefined : limits;
}

function rateLimit({ rate, burst, seconds }: Given, name: string): RateLimit {
  if (rate === undefined) throw wrong(`'${name}-burst' is more than a limit; give ${name}= too`);
  if (burst === undefined) {
    if (seconds === undefined) return { perSecond: rate };
    throw wrong(`'${name}-burst-length' needs a rate; give ${name}-burst= too`);
  }
  if (burst < rate) throw wrong(`${name}-burst=${burst} is less than ${name}=${rate}; give more`);
  if ((seconds ?? 1) > LONGEST_BURST_SECONDS)
    throw wrong(
      `${name}-burst-length=${seconds} is too long; give at most ${LONGEST_BURST_SECONDS} seconds`,
    );
  return { perSecond: rate, burst: { perSecond: burst, seconds: seconds ?? 1 } };
}

function number(name: string, text: string): number {
  const value = /^[1-9]\d{0,14}$/.test(text) ? Number(text) : parseSize(text, 'M');
  if (value === undefined || value === 0)
    throw wrong(`${name}='${text}' is no rate; give a number a second, for example 500 or 10M`);
  return value;
}

function wrong(message: string): RequestError {
  return new RequestError(message, 'disk');
}
