import type { ResultType, ValueType } from './opcodes.ts';

/** A function of core/ that translated code may call; its first parameter, the CPU, is implied. */
export interface Helper {
  readonly params: readonly ValueType[];
  readonly result: ResultType;
}

/**
 * Reads `name(param param) result` a line. The name is the export of core/ (snake case there as here); types are short:
 * i = i32, l = i64, f = f32, d = f64, v = v128, and no result is written `-`.
 */
export function parseHelpers(text: string): Record<string, Helper> {
  const types: Record<string, ValueType> = { i: 'i32', l: 'i64', f: 'f32', d: 'f64', v: 'v128' };
  const list: Record<string, Helper> = {};
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    const [, name, params, result] = /^\s*(\w+)\(([ilfdv]*)\)\s*([ilfdv-])\s*$/.exec(line) ?? [];
    if (name === undefined || params === undefined || result === undefined)
      throw new Error(`helpers: ${line}`);
    list[name] = {
      params: [...params].map((p) => types[p] ?? 'i32'),
      result: result === '-' ? 'void' : (types[result] ?? 'i32'),
    };
  }
  return list;
}
