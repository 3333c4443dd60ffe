import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InterpreterBuilder } from '../src/codegen/interpreter.ts';
import { planHandlers } from '../src/cpu/handlers.ts';
import { HELPERS } from '../src/translate/x86/helpers.ts';

/** Most pages of linear memory that a guest may have: all of memory32. */
const MAX_MEMORY_PAGES = 65536;
/** Functions of core/ that the interpreter itself calls, beside those that lifts name. */
const INTERNAL = {
  find_block: { params: [], result: 'i32' },
  block_hot: { params: ['i32'], result: 'void' },
  link_block: { params: ['i32', 'i32'], result: 'i32' },
  check_unit: { params: ['i32'], result: 'void' },
  ea_segmented: { params: ['i32'], result: 'void' },
  ...Object.fromEntries(
    (
      [
        ['8', 'i32'],
        ['16', 'i32'],
        ['32', 'i32'],
        ['64', 'i64'],
        ['128', 'v128'],
      ] as const
    ).flatMap(([width, type]) => [
      [`read${width}`, { params: ['i64'], result: type }],
      [`write${width}`, { params: ['i64', type], result: 'void' }],
      ...(width === '128' ? [] : [[`rmw${width}`, { params: ['i64'], result: type }] as const]),
    ]),
  ),
} as const;

/** Writes interpreter.wasm and handlers.json: the cold tier, made from the lifts. */
export function buildInterpreter(outDir: string): void {
  const { layout, map } = planHandlers();
  const wasm = new InterpreterBuilder(layout, { ...INTERNAL, ...HELPERS }).build(MAX_MEMORY_PAGES);
  for (const [name, data] of [
    ['interpreter.wasm', wasm],
    ['handlers.json', JSON.stringify(map)],
  ] as const) {
    const temporary = join(outDir, `${name}.${process.pid}`);
    writeFileSync(temporary, data);
    renameSync(temporary, join(outDir, name));
  }
}
