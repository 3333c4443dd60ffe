import { RequestError } from '#base/errors.ts';
import type { ExplainRequest } from '#control/explain.ts';

/** The flags of `ring0 explain` as commander gives them. */
export interface ExplainFlags {
  readonly kernel?: string;
  readonly raw?: string;
  readonly code?: string;
  readonly base?: string;
  readonly mode?: string;
  readonly at?: string;
  readonly symbols?: string;
  readonly bytes?: string;
  readonly blocks?: string;
  readonly cpu: string;
  readonly json?: boolean;
}

/** The request, but for the files that are yet to be read. */
export interface ExplainPlan {
  readonly kernel?: string;
  readonly raw?: string;
  readonly symbols?: string;
  readonly code?: Uint8Array;
  readonly base: bigint;
  readonly request: Omit<ExplainRequest, 'kernel' | 'raw' | 'symbols'>;
}

const DEFAULT_BASE = 0x1000n;
const DEFAULT_BLOCKS = 8;
const MOST_BLOCKS = 200;
const MOST_BYTES = 65536;
const MODES = { 16: 16, 32: 32, 64: 64 } as const;

/** @throws {RequestError} whose field is the flag's name. */
export function parseExplainFlags(flags: ExplainFlags): ExplainPlan {
  const { kernel, raw, symbols, at } = flags;
  const code = flags.code === undefined ? undefined : parseHex(flags.code);
  const given = [kernel, raw, code].filter((source) => source !== undefined);
  if (given.length !== 1)
    throw new RequestError('give one of --kernel, --raw and --code: what to explain');
  const base = flags.base === undefined ? DEFAULT_BASE : parseAddress(flags.base, 'base');
  if (flags.base !== undefined && kernel !== undefined)
    throw new RequestError('a kernel says itself where it lies; give it with --raw', 'base');
  const mode = flags.mode === undefined ? undefined : parseMode(flags.mode);
  const mostBytes =
    flags.bytes === undefined ? undefined : parseCount(flags.bytes, 'bytes', MOST_BYTES);
  const mostBlocks =
    flags.blocks === undefined ? DEFAULT_BLOCKS : parseCount(flags.blocks, 'blocks', MOST_BLOCKS);
  return {
    ...(kernel !== undefined && { kernel }),
    ...(raw !== undefined && { raw }),
    ...(symbols !== undefined && { symbols }),
    ...(code !== undefined && { code }),
    base,
    request: {
      ...(mode !== undefined && { mode }),
      ...(at !== undefined && { at }),
      ...(mostBytes !== undefined && { mostBytes }),
      mostBlocks,
      cpuModel: flags.cpu,
    },
  };
}

function parseHex(text: string): Uint8Array {
  const digits = text.replaceAll(/0x|[\s,]/gi, '');
  if (!/^([0-9a-f]{2})+$/i.test(digits))
    throw new RequestError(`'${text}' is no code; give bytes such as '48 01 d8'`, 'code');
  if (digits.length / 2 > MOST_BYTES)
    throw new RequestError(`that is too long; give at most ${MOST_BYTES} bytes`, 'code');
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

function parseAddress(text: string, field: string): bigint {
  if (!/^(0x[0-9a-f]{1,16}|\d{1,19})$/i.test(text))
    throw new RequestError(`'${text}' is no address; give one such as 0x100000`, field);
  return BigInt(text);
}

function parseMode(text: string): 16 | 32 | 64 {
  const mode = MODES[text as unknown as keyof typeof MODES];
  if (mode === undefined) throw new RequestError(`'${text}' is no mode; give 16, 32 or 64`, 'mode');
  return mode;
}

function parseCount(text: string, field: string, most: number): number {
  const count = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : 0;
  if (count < 1 || count > most)
    throw new RequestError(`'${text}' will not do; give a number from 1 to ${most}`, field);
  return count;
}
