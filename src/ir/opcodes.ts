/**
 * The IR: straight-line blocks of values, each of one WebAssembly type, ended by one terminator. What pure ops mean is
 * what the WebAssembly instruction of the same row means; the rest is said in the row.
 */
export type ValueType = 'i32' | 'i64' | 'f32' | 'f64' | 'v128';
export type ResultType = ValueType | 'void';

export interface Opcode {
  readonly name: string;
  readonly result: ResultType;
  readonly args: readonly ValueType[];
  /** WebAssembly opcode; with the SIMD prefix where above 0xfd00, the miscellaneous one where above 0xfc00. */
  readonly wasm?: number | undefined;
  /** Changes guest state, so it is never dropped or moved over another effect. */
  readonly effect?: boolean | undefined;
  /** Reads guest state, so it is not moved over an effect. */
  readonly reads?: boolean | undefined;
  readonly mayFault?: boolean | undefined;
  readonly terminator?: boolean | undefined;
  /** What kind of op it is, by name: those with a WebAssembly opcode are `pure`. */
  readonly family: OpFamily;
  /** `imm` is the number of a lane. */
  readonly takesLane: boolean;
  /** Of get, set, load and store: bits, or `v`. */
  readonly width: string;
}

export type OpFamily =
  | 'pure'
  | 'const'
  | 'select'
  | 'get'
  | 'set'
  | 'load'
  | 'loadw'
  | 'store'
  | 'call'
  | 'other';

function familyOf(name: string, wasm: number | undefined): OpFamily {
  if (wasm !== undefined) return 'pure';
  if (name.endsWith('.const')) return 'const';
  if (name.endsWith('.select')) return 'select';
  if (name.startsWith('call.')) return 'call';
  const [, family] = /^(get|set|load|loadw|store)(\d+|v)$/.exec(name) ?? [];
  return family === undefined ? 'other' : (family as OpFamily);
}

const table = new Map<string, Opcode>();

function row(
  name: string,
  result: ResultType,
  args: readonly ValueType[],
  more: Partial<Opcode> = {},
) {
  const family = familyOf(name, more.wasm);
  const width = /(\d+|v)$/.exec(name)?.[1] ?? '';
  const takesLane = /_lane(_[su])?$/.test(name);
  // All have the same properties, so that reading one is the same machine code for each.
  const { wasm, effect, reads, mayFault, terminator } = more;
  const flags = { wasm, effect, reads, mayFault, terminator };
  table.set(name, { name, result, args, family, width, takesLane, ...flags });
}

/** Rows of pure ops: `names` in the order of consecutive WebAssembly opcodes from `first`; '-' leaves one out. */
function run(first: number, names: string, result: ValueType, args: readonly ValueType[]): void {
  names.split(' ').forEach((name, i) => {
    if (name !== '-') row(name, result, args, { wasm: first + i });
  });
}

const I2: ValueType[] = ['i32', 'i32'];
const L2: ValueType[] = ['i64', 'i64'];
const S2: ValueType[] = ['f32', 'f32'];
const D2: ValueType[] = ['f64', 'f64'];
const V2: ValueType[] = ['v128', 'v128'];

// Numeric instructions. Source: WebAssembly core specification 3.0, 5.4.8.
run(0x45, 'i32.eqz', 'i32', ['i32']);
run(
  0x46,
  'i32.eq i32.ne i32.lt_s i32.lt_u i32.gt_s i32.gt_u i32.le_s i32.le_u i32.ge_s i32.ge_u',
  'i32',
  I2,
);
run(0x50, 'i64.eqz', 'i32', ['i64']);
run(
  0x51,
  'i64.eq i64.ne i64.lt_s i64.lt_u i64.gt_s i64.gt_u i64.le_s i64.le_u i64.ge_s i64.ge_u',
  'i32',
  L2,
);
run(0x5b, 'f32.eq f32.ne f32.lt f32.gt f32.le f32.ge', 'i32', S2);
run(0x61, 'f64.eq f64.ne f64.lt f64.gt f64.le f64.ge', 'i32', D2);
run(0x67, 'i32.clz i32.ctz i32.popcnt', 'i32', ['i32']);
run(0x6a, 'i32.add i32.sub i32.mul', 'i32', I2);
run(0x71, 'i32.and i32.or i32.xor i32.shl i32.shr_s i32.shr_u i32.rotl i32.rotr', 'i32', I2);
run(0x79, 'i64.clz i64.ctz i64.popcnt', 'i64', ['i64']);
run(0x7c, 'i64.add i64.sub i64.mul', 'i64', L2);
run(0x83, 'i64.and i64.or i64.xor i64.shl i64.shr_s i64.shr_u i64.rotl i64.rotr', 'i64', L2);
run(0x8b, 'f32.abs f32.neg f32.ceil f32.floor f32.trunc f32.nearest f32.sqrt', 'f32', ['f32']);
run(0x92, 'f32.add f32.sub f32.mul f32.div f32.min f32.max f32.copysign', 'f32', S2);
run(0x99, 'f64.abs f64.neg f64.ceil f64.floor f64.trunc f64.nearest f64.sqrt', 'f64', ['f64']);
run(0xa0, 'f64.add f64.sub f64.mul f64.div f64.min f64.max f64.copysign', 'f64', D2);
run(0xa7, 'i32.wrap_i64', 'i32', ['i64']);
run(0xac, 'i64.extend_i32_s i64.extend_i32_u', 'i64', ['i32']);
run(0xb2, 'f32.convert_i32_s', 'f32', ['i32']);
run(0xb4, 'f32.convert_i64_s', 'f32', ['i64']);
run(0xb6, 'f32.demote_f64', 'f32', ['f64']);
run(0xb7, 'f64.convert_i32_s', 'f64', ['i32']);
run(0xb9, 'f64.convert_i64_s', 'f64', ['i64']);
run(0xbb, 'f64.promote_f32', 'f64', ['f32']);
run(0xbc, 'i32.reinterpret_f32', 'i32', ['f32']);
run(0xbd, 'i64.reinterpret_f64', 'i64', ['f64']);
run(0xbe, 'f32.reinterpret_i32', 'f32', ['i32']);
run(0xbf, 'f64.reinterpret_i64', 'f64', ['i64']);
run(0xc0, 'i32.extend8_s i32.extend16_s', 'i32', ['i32']);
run(0xc2, 'i64.extend8_s i64.extend16_s i64.extend32_s', 'i64', ['i64']);
run(0xfc00, 'i32.trunc_sat_f32_s', 'i32', ['f32']);
run(0xfc02, 'i32.trunc_sat_f64_s', 'i32', ['f64']);
run(0xfc04, 'i64.trunc_sat_f32_s', 'i64', ['f32']);
run(0xfc06, 'i64.trunc_sat_f64_s', 'i64', ['f64']);

// Vector instructions. Source: WebAssembly core specification 3.0, 5.4.9. Lane ops take the lane as `imm`.
run(0xfd0e, 'i8x16.swizzle', 'v128', V2);
run(0xfd0f, 'i8x16.splat i16x8.splat i32x4.splat', 'v128', ['i32']);
run(0xfd12, 'i64x2.splat', 'v128', ['i64']);
run(0xfd13, 'f32x4.splat', 'v128', ['f32']);
run(0xfd14, 'f64x2.splat', 'v128', ['f64']);
const cmp = (shape: string) =>
  'eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u'
    .split(' ')
    .map((c) => `${shape}.${c}`)
    .join(' ');
run(0xfd23, cmp('i8x16'), 'v128', V2);
run(0xfd2d, cmp('i16x8'), 'v128', V2);
run(0xfd37, cmp('i32x4'), 'v128', V2);
run(0xfd41, 'f32x4.eq f32x4.ne f32x4.lt f32x4.gt f32x4.le f32x4.ge', 'v128', V2);
run(0xfd47, 'f64x2.eq f64x2.ne f64x2.lt f64x2.gt f64x2.le f64x2.ge', 'v128', V2);
run(0xfd4d, 'v128.not', 'v128', ['v128']);
run(0xfd4e, 'v128.and v128.andnot v128.or v128.xor', 'v128', V2);
run(0xfd52, 'v128.bitselect', 'v128', ['v128', 'v128', 'v128']);
run(0xfd53, 'v128.any_true', 'i32', ['v128']);
run(0xfd5e, 'f32x4.demote_f64x2_zero f64x2.promote_low_f32x4', 'v128', ['v128']);
run(0xfd60, 'i8x16.abs i8x16.neg', 'v128', ['v128']);
run(0xfd63, 'i8x16.all_true i8x16.bitmask', 'i32', ['v128']);
run(0xfd65, 'i8x16.narrow_i16x8_s i8x16.narrow_i16x8_u', 'v128', V2);
const shifts = (shape: string) => ['shl', 'shr_s', 'shr_u'].map((s) => `${shape}.${s}`).join(' ');
run(0xfd6b, shifts('i8x16'), 'v128', ['v128', 'i32']);
run(
  0xfd6e,
  'i8x16.add i8x16.add_sat_s i8x16.add_sat_u i8x16.sub i8x16.sub_sat_s i8x16.sub_sat_u',
  'v128',
  V2,
);
run(0xfd76, 'i8x16.min_s i8x16.min_u i8x16.max_s i8x16.max_u', 'v128', V2);
run(0xfd7b, 'i8x16.avgr_u', 'v128', V2);
run(0xfd7c, 'i16x8.extadd_pairwise_i8x16_s i16x8.extadd_pairwise_i8x16_u', 'v128', ['v128']);
run(0xfd7e, 'i32x4.extadd_pairwise_i16x8_s i32x4.extadd_pairwise_i16x8_u', 'v128', ['v128']);
run(0xfd80, 'i16x8.abs i16x8.neg', 'v128', ['v128']);
run(0xfd82, 'i16x8.q15mulr_sat_s', 'v128', V2);
run(0xfd83, 'i16x8.all_true i16x8.bitmask', 'i32', ['v128']);
run(0xfd85, 'i16x8.narrow_i32x4_s i16x8.narrow_i32x4_u', 'v128', V2);
const extend = (to: string, from: string) =>
  ['low', 'high'].flatMap((h) => [`${to}.extend_${h}_${from}_s`]).join(' ') +
  ' ' +
  ['low', 'high'].map((h) => `${to}.extend_${h}_${from}_u`).join(' ');
run(0xfd87, extend('i16x8', 'i8x16'), 'v128', ['v128']);
run(0xfd8b, shifts('i16x8'), 'v128', ['v128', 'i32']);
run(
  0xfd8e,
  'i16x8.add i16x8.add_sat_s i16x8.add_sat_u i16x8.sub i16x8.sub_sat_s i16x8.sub_sat_u',
  'v128',
  V2,
);
run(0xfd95, 'i16x8.mul i16x8.min_s i16x8.min_u i16x8.max_s i16x8.max_u', 'v128', V2);
run(
  0xfd9b,
  'i16x8.avgr_u i16x8.extmul_low_i8x16_s i16x8.extmul_high_i8x16_s i16x8.extmul_low_i8x16_u i16x8.extmul_high_i8x16_u',
  'v128',
  V2,
);
run(0xfda0, 'i32x4.abs i32x4.neg', 'v128', ['v128']);
run(0xfda3, 'i32x4.all_true i32x4.bitmask', 'i32', ['v128']);
run(0xfda7, extend('i32x4', 'i16x8'), 'v128', ['v128']);
run(0xfdab, shifts('i32x4'), 'v128', ['v128', 'i32']);
run(0xfdae, 'i32x4.add', 'v128', V2);
run(0xfdb1, 'i32x4.sub', 'v128', V2);
run(
  0xfdb5,
  'i32x4.mul i32x4.min_s i32x4.min_u i32x4.max_s i32x4.max_u i32x4.dot_i16x8_s',
  'v128',
  V2,
);
run(
  0xfdbc,
  'i32x4.extmul_low_i16x8_s i32x4.extmul_high_i16x8_s i32x4.extmul_low_i16x8_u i32x4.extmul_high_i16x8_u',
  'v128',
  V2,
);
run(0xfdc0, 'i64x2.abs i64x2.neg', 'v128', ['v128']);
run(0xfdc3, 'i64x2.all_true i64x2.bitmask', 'i32', ['v128']);
run(0xfdc7, extend('i64x2', 'i32x4'), 'v128', ['v128']);
run(0xfdcb, shifts('i64x2'), 'v128', ['v128', 'i32']);
run(0xfdce, 'i64x2.add', 'v128', V2);
run(0xfdd1, 'i64x2.sub', 'v128', V2);
run(
  0xfdd5,
  'i64x2.mul i64x2.eq i64x2.ne i64x2.lt_s i64x2.gt_s i64x2.le_s i64x2.ge_s i64x2.extmul_low_i32x4_s i64x2.extmul_high_i32x4_s i64x2.extmul_low_i32x4_u i64x2.extmul_high_i32x4_u',
  'v128',
  V2,
);
run(0xfde0, 'f32x4.abs f32x4.neg', 'v128', ['v128']);
run(0xfde3, 'f32x4.sqrt', 'v128', ['v128']);
run(
  0xfde4,
  'f32x4.add f32x4.sub f32x4.mul f32x4.div f32x4.min f32x4.max f32x4.pmin f32x4.pmax',
  'v128',
  V2,
);
run(0xfdec, 'f64x2.abs f64x2.neg', 'v128', ['v128']);
run(0xfdef, 'f64x2.sqrt', 'v128', ['v128']);
run(
  0xfdf0,
  'f64x2.add f64x2.sub f64x2.mul f64x2.div f64x2.min f64x2.max f64x2.pmin f64x2.pmax',
  'v128',
  V2,
);
run(0xfdf8, 'i32x4.trunc_sat_f32x4_s', 'v128', ['v128']);
run(0xfdfa, 'f32x4.convert_i32x4_s', 'v128', ['v128']);
run(0xfdfc, 'i32x4.trunc_sat_f64x2_s_zero', 'v128', ['v128']);
run(0xfdfe, 'f64x2.convert_low_i32x4_s', 'v128', ['v128']);
run(0xfd15, 'i8x16.extract_lane_s i8x16.extract_lane_u', 'i32', ['v128']);
run(0xfd17, 'i8x16.replace_lane', 'v128', ['v128', 'i32']);
run(0xfd18, 'i16x8.extract_lane_s i16x8.extract_lane_u', 'i32', ['v128']);
run(0xfd1a, 'i16x8.replace_lane', 'v128', ['v128', 'i32']);
run(0xfd1b, 'i32x4.extract_lane', 'i32', ['v128']);
run(0xfd1c, 'i32x4.replace_lane', 'v128', ['v128', 'i32']);
run(0xfd1d, 'i64x2.extract_lane', 'i64', ['v128']);
run(0xfd1e, 'i64x2.replace_lane', 'v128', ['v128', 'i64']);
run(0xfd1f, 'f32x4.extract_lane', 'f32', ['v128']);
run(0xfd20, 'f32x4.replace_lane', 'v128', ['v128', 'f32']);
run(0xfd21, 'f64x2.extract_lane', 'f64', ['v128']);
run(0xfd22, 'f64x2.replace_lane', 'v128', ['v128', 'f64']);
/** `bytes`: sixteen lane numbers, 0-15 of the first argument, 16-31 of the second. */
row('i8x16.shuffle', 'v128', V2, { wasm: 0xfd0d });

// Constants: `imm` number, bigint, or `bytes` for v128.
for (const type of ['i32', 'i64', 'f32', 'f64', 'v128'] as const) row(`${type}.const`, type, []);
/** `select c a b`: a when c is not 0. The row of each type has the type in its name. */
for (const type of ['i32', 'i64', 'f32', 'f64', 'v128'] as const) {
  row(`${type}.select`, type, ['i32', type, type]);
}

// Fields of the running record (cold tier only): `imm` is the byte offset in the record.
row('rec.i32', 'i32', []);
row('rec.i64', 'i64', []);
row('rec.u8', 'i32', []);
row('rec.u16', 'i32', []);
/** Address of the record itself. */
row('rec.self', 'i32', []);
/** RIP of the next instruction, and of this one. */
row('next_rip', 'i64', []);
row('this_rip', 'i64', []);

// An immediate that guests change while they run (hot tier only), zero-extended: `imm` is its linear-memory address.
row('fresh8', 'i32', [], { reads: true });
row('fresh16', 'i32', [], { reads: true });
row('fresh32', 'i32', [], { reads: true });
row('fresh64', 'i64', [], { reads: true });

// Registers: `slot` says which. 8- and 16-bit values are zero-extended; set_reg writes just its bytes.
row('get8', 'i32', [], { reads: true });
row('get16', 'i32', [], { reads: true });
row('get32', 'i32', [], { reads: true });
row('get64', 'i64', [], { reads: true });
row('getv', 'v128', [], { reads: true });
row('set8', 'void', ['i32'], { effect: true });
row('set16', 'void', ['i32'], { effect: true });
row('set32', 'void', ['i32'], { effect: true });
row('set64', 'void', ['i64'], { effect: true });
row('setv', 'void', ['v128'], { effect: true });

// Guest memory by linear address. Wider values than the access are zero-extended.
row('load8', 'i32', ['i64'], { effect: true, mayFault: true });
row('load16', 'i32', ['i64'], { effect: true, mayFault: true });
row('load32', 'i32', ['i64'], { effect: true, mayFault: true });
row('load64', 'i64', ['i64'], { effect: true, mayFault: true });
row('loadv', 'v128', ['i64'], { effect: true, mayFault: true });
row('store8', 'void', ['i64', 'i32'], { effect: true, mayFault: true });
row('store16', 'void', ['i64', 'i32'], { effect: true, mayFault: true });
row('store32', 'void', ['i64', 'i32'], { effect: true, mayFault: true });
row('store64', 'void', ['i64', 'i64'], { effect: true, mayFault: true });
row('storev', 'void', ['i64', 'v128'], { effect: true, mayFault: true });
// A load whose fault is a write's fault, before a store to the same address: read-modify-write.
row('loadw8', 'i32', ['i64'], { effect: true, mayFault: true });
row('loadw16', 'i32', ['i64'], { effect: true, mayFault: true });
row('loadw32', 'i32', ['i64'], { effect: true, mayFault: true });
row('loadw64', 'i64', ['i64'], { effect: true, mayFault: true });

// Flags. `kind`: add adc sub sbb logic inc dec neg; `size` in bytes. Arguments a, b, result (logic: result thrice).
row('flags32', 'void', ['i32', 'i32', 'i32'], { effect: true });
row('flags64', 'void', ['i64', 'i64', 'i64'], { effect: true });
row('get_flags_res', 'i64', [], { reads: true });
row('get_flags_aux', 'i64', [], { reads: true });
row('set_flags_raw', 'void', ['i64', 'i64'], { effect: true });
/** 1 when condition `cc` (0-15, as in Jcc) holds. */
row('cond', 'i32', [], { reads: true });

// Helpers of core/: `helper` names one of ir/helpers.ts; the first argument `cpu` is implied.
for (const type of ['void', 'i32', 'i64', 'f32', 'f64', 'v128'] as const) {
  row(`call.${type}`, type, [], { effect: true, mayFault: true });
}
/** Raises exception `imm` when the argument is not 0. */
row('raise_if', 'void', ['i32'], { effect: true, mayFault: true });
/** #GP(0) unless a near branch of `size` bytes may go to the RIP: canonical when 8, else within the limit of CS. */
row('check_goto', 'void', ['i64'], { effect: true, mayFault: true });
/** As `check_goto`, for the direct target of the record when the argument is not 0. */
row('check_jump', 'void', ['i32'], { effect: true, mayFault: true });

// Terminators.
/** Control passes to the next instruction, through the dispatcher: something translated code depends on changed. */
row('end_next', 'void', [], { effect: true, terminator: true });
/** A helper has written RIP. */
row('end_dispatch', 'void', [], { effect: true, terminator: true });
/** To a RIP. */
row('goto', 'void', ['i64'], { effect: true, terminator: true });
/** To the direct target of the record. */
row('jump', 'void', [], { effect: true, terminator: true });
/** To the direct target of the record when not 0, else to the next instruction. */
row('branch', 'void', ['i32'], { effect: true, terminator: true });

/** @throws {Error} when there is no such row: a fault in the caller. */
export function opcode(name: string): Opcode {
  const found = table.get(name);
  if (found === undefined) throw new Error(`ir: no opcode ${name}`);
  return found;
}

/** The name of the pure op that is this WebAssembly instruction, coded as `Opcode.wasm` is. */
export function wasmName(code: number): string | undefined {
  return WASM_NAMES.get(code);
}

const WASM_NAMES = new Map(
  [...table.values()].flatMap(({ name, wasm }) => (wasm === undefined ? [] : [[wasm, name]])),
);
