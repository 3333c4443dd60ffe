import * as r from './scsi-regs.ts';

// REPORT SUPPORTED OPERATION CODES (SPC-4, 6.35): what commands there are, and which of their bits are heeded.

/** A command: its bytes with ones where a bit counts; the first is the opcode. */
interface Row {
  /** The service action, of opcodes that have such: it stands in byte 1. */
  readonly action?: number;
  readonly usage: readonly number[];
}

const bytes = (count: number): number[] => Array.from({ length: count }, () => 0xff);
/** Flags, address, blocks and the last two bytes of commands of 10, 12 and 16. */
const ten = (opcode: number, flags: number): Row => ({
  usage: [opcode, flags, ...bytes(4), 0, 0xff, 0xff, 0],
});
const twelve = (opcode: number, flags: number): Row => ({
  usage: [opcode, flags, ...bytes(8), 0, 0],
});
const sixteen = (opcode: number, flags: number): Row => ({
  usage: [opcode, flags, ...bytes(12), 0, 0],
});
const six = (opcode: number, ...middle: readonly [number, number, number, number]): Row => ({
  usage: [opcode, ...middle, 0],
});

const FUA = 0x08;
const BYTE_CHECK = 0x06;
const UNMAP = 0x08;

const COMMANDS: readonly Row[] = [
  six(r.TEST_UNIT_READY, 0, 0, 0, 0),
  six(r.REQUEST_SENSE, 0, 0, 0, 0xff),
  six(r.READ_6, 0x1f, 0xff, 0xff, 0xff),
  six(r.WRITE_6, 0x1f, 0xff, 0xff, 0xff),
  six(r.INQUIRY, 1, 0xff, 0xff, 0xff),
  six(r.MODE_SENSE_6, 0, 0x3f, 0, 0xff),
  six(r.START_STOP, 0, 0, 0, 0),
  six(r.PREVENT_REMOVAL, 0, 0, 0, 0),
  { usage: [r.READ_CAPACITY_10, ...Array.from({ length: 9 }, () => 0)] },
  ten(r.READ_10, FUA),
  ten(r.WRITE_10, FUA),
  ten(r.VERIFY_10, BYTE_CHECK),
  { usage: [r.SYNCHRONIZE_CACHE_10, ...Array.from({ length: 9 }, () => 0)] },
  ten(r.WRITE_SAME_10, UNMAP),
  { usage: [r.UNMAP, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0] },
  { usage: [r.LOG_SENSE, 0, 0x3f, 0xff, 0, 0xff, 0xff, 0xff, 0xff, 0] },
  { usage: [r.MODE_SENSE_10, 0, 0x3f, 0, 0, 0, 0, 0xff, 0xff, 0] },
  sixteen(r.READ_16, FUA),
  sixteen(r.WRITE_16, FUA),
  sixteen(r.VERIFY_16, BYTE_CHECK),
  { usage: [r.SYNCHRONIZE_CACHE_16, ...Array.from({ length: 15 }, () => 0)] },
  sixteen(r.WRITE_SAME_16, UNMAP | 1),
  {
    action: r.READ_CAPACITY_16,
    usage: [r.SERVICE_ACTION_IN_16, 0x1f, ...Array.from({ length: 8 }, () => 0), ...bytes(4), 0, 0],
  },
  { usage: [r.REPORT_LUNS, 0, 0, 0, 0, 0, ...bytes(4), 0, 0] },
  {
    action: r.SUPPORTED_OPCODES,
    usage: [r.MAINTENANCE_IN, 0x1f, 0x87, ...bytes(7), 0, 0],
  },
  twelve(r.READ_12, FUA),
  twelve(r.WRITE_12, FUA),
  twelve(r.VERIFY_12, BYTE_CHECK),
];

/** What is asked: all commands, or one, by its opcode or with its service action too. */
export interface OpcodesQuestion {
  readonly about: 'all' | 'opcode' | 'action' | 'either';
  readonly opcode: number;
  readonly action: number;
  /** With how long commands take, which is not known. */
  readonly withTimes: boolean;
}

const TIMES_BYTES = 12;
const HAS_TIMES = 0x80;
const SUPPORTED = 3;
const NOT_SUPPORTED = 1;

/** The answer; undefined when an opcode is asked for in the way of the other kind. */
export function supportedOpcodes(question: OpcodesQuestion): Uint8Array | undefined {
  const { about, opcode, action, withTimes } = question;
  if (about === 'all') return allCommands(withTimes);
  const rows = COMMANDS.filter(({ usage }) => usage[0] === opcode);
  const hasActions = rows.some((row) => row.action !== undefined);
  if (rows.length > 0 && about !== 'either' && hasActions !== (about === 'action'))
    return undefined;
  const row = rows.find((one) => about === 'opcode' || (one.action ?? 0) === action);
  if (row === undefined) return Uint8Array.of(0, NOT_SUPPORTED, 0, 0);
  const usage = row.action === undefined ? row.usage : row.usage.with(1, row.action);
  const times = withTimes ? timesUnknown() : [];
  const support = SUPPORTED | (withTimes ? HAS_TIMES : 0);
  return Uint8Array.of(0, support, 0, usage.length, ...usage, ...times);
}

function allCommands(withTimes: boolean): Uint8Array {
  const list = COMMANDS.flatMap(({ action, usage }) => [
    ...[usage[0] ?? 0, 0, 0, action ?? 0, 0],
    ...[(withTimes ? 2 : 0) | (action === undefined ? 0 : 1), 0, usage.length],
    ...(withTimes ? timesUnknown() : []),
  ]);
  const answer = new Uint8Array(4 + list.length);
  new DataView(answer.buffer).setUint32(0, list.length);
  answer.set(list, 4);
  return answer;
}

function timesUnknown(): readonly number[] {
  return [0, TIMES_BYTES - 2, ...Array.from({ length: TIMES_BYTES - 2 }, () => 0)];
}
