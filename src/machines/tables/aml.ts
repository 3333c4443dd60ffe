// A builder for the little of AML that describes a board. Source: ACPI specification 6.5, 20.2 (encoding), 6.4 (resources).

/** Encoded terms, objects and resources are bytes. */
export type Aml = readonly number[];

const u16 = (value: number): Aml => [value & 0xff, (value >>> 8) & 0xff];
const u32 = (value: number): Aml => [...u16(value), ...u16(value >>> 16)];

/** 20.2.4: the length counts its own bytes; the lead byte holds 6 bits alone, else 4 and how many bytes follow. */
function withLength(body: Aml): Aml {
  if (body.length + 1 < 0x40) return [body.length + 1, ...body];
  const more = body.length + 2 < 2 ** 12 ? 1 : body.length + 3 < 2 ** 20 ? 2 : 3;
  const length = body.length + 1 + more;
  const lead = (more << 6) | (length & 0xf);
  return [lead, ...u32(length >>> 4).slice(0, more), ...body];
}

/** 20.2.2: up to three names of up to four characters, with dots between them; `\` before them starts at the root. */
export function path(name: string): Aml {
  const root = name.startsWith('\\');
  const segments = (root ? name.slice(1) : name).split('.').map((part) => part.padEnd(4, '_'));
  const prefix = { 1: [], 2: [0x2e], 3: [0x2f, 3] }[segments.length] ?? [];
  return [...(root ? ascii('\\') : []), ...prefix, ...ascii(segments.join(''))];
}

function ascii(text: string): Aml {
  return [...new TextEncoder().encode(text)];
}

/** 32 bits, unsigned. */
export function integer(value: number): Aml {
  if (value === 0 || value === 1) return [value];
  if (value < 2 ** 8) return [0x0a, value];
  if (value < 2 ** 16) return [0x0b, ...u16(value)];
  return [0x0c, ...u32(value)];
}

export function name(of: string, value: Aml): Aml {
  return [0x08, ...path(of), ...value];
}

export function scope(of: string, ...terms: readonly Aml[]): Aml {
  return [0x10, ...withLength([...path(of), ...terms.flat()])];
}

export function device(of: string, ...terms: readonly Aml[]): Aml {
  return [0x5b, 0x82, ...withLength([...path(of), ...terms.flat()])];
}

export function string(text: string): Aml {
  return [0x0d, ...ascii(text), 0];
}

/** At most 255 elements. */
export function list(...elements: readonly Aml[]): Aml {
  return [0x12, ...withLength([elements.length, ...elements.flat()])];
}

/** Three letters and four hexadecimal digits, packed as 6.1.5 tells. */
export function eisaId(id: string): Aml {
  const [a = 0, b = 0, c = 0] = [...id.slice(0, 3)].map((letter) => letter.charCodeAt(0) - 0x40);
  const product = Number.parseInt(id.slice(3), 16);
  const packed = [(a << 2) | (b >> 3), ((b & 7) << 5) | c, product >> 8, product & 0xff];
  return [0x0c, ...packed];
}

// ---- registers and methods

/** A region of I/O ports. */
export function portRegion(of: string, port: number, count: number): Aml {
  const SYSTEM_IO = 1;
  return [0x5b, 0x80, ...path(of), SYSTEM_IO, ...integer(port), ...integer(count)];
}

/** Words of 32 bits, one behind the other from the region's beginning; each name has four characters. */
export function wordFields(region: string, ...names: readonly string[]): Aml {
  const DWORD_ACCESS = 3;
  const WRITE_AS_ZEROS = 2 << 5;
  const fields = names.flatMap((field) => [...path(field), 32]);
  return [0x5b, 0x81, ...withLength([...path(region), DWORD_ACCESS | WRITE_AS_ZEROS, ...fields])];
}

/** A method with that many arguments. */
export function method(of: string, body: Aml, argumentCount = 0): Aml {
  return [0x14, ...withLength([...path(of), argumentCount, ...body])];
}

export const LOCAL_0: Aml = [0x60];

export function store(value: Aml, to: Aml): Aml {
  return [0x70, ...value, ...to];
}

export function and(a: Aml, b: Aml): Aml {
  const NO_TARGET = 0;
  return [0x7b, ...a, ...b, NO_TARGET];
}

export function when(condition: Aml, body: Aml): Aml {
  return [0xa0, ...withLength([...condition, ...body])];
}

export function notify(object: Aml, value: Aml): Aml {
  return [0x86, ...object, ...value];
}

// ---- resources

/** What _CRS gives: a buffer of descriptors and the end tag, whose checksum of 0 says that there is none. */
export function resources(...descriptors: readonly Aml[]): Aml {
  const bytes = [...descriptors.flat(), 0x79, 0];
  return [0x11, ...withLength([...integer(bytes.length), ...bytes])];
}

/** 6.4.2.5: fixed ports, all 16 address lines decoded. */
export function ports(base: number, count: number): Aml {
  return [0x47, 1, ...u16(base), ...u16(base), 1, count];
}

/** 6.4.3.4: memory of 32 bits' addresses, for this device alone. */
export function memory(base: number, lengthBytes: number): Aml {
  return [0x86, ...u16(9), MEMORY_WRITABLE, ...u32(base), ...u32(lengthBytes)];
}

/** 6.4.3.6: an interrupt by its GSI: level-triggered, high, shared. */
export function gsi(number: number): Aml {
  const CONSUMER = 1;
  const SHARED = 1 << 3;
  return [0x89, ...u16(6), CONSUMER | SHARED, 1, ...u32(number)];
}

/** 6.4.2.1: an ISA interrupt: edge-triggered, high. */
export function irq(number: number): Aml {
  return [0x22, ...u16(1 << number)];
}

const WINDOW = 0x0c; // both ends fixed; positive decoding by a producer
const MEMORY_WRITABLE = 1;
const IO_ENTIRE_RANGE = 3;

/** 6.4.3.5.3, of bus numbers. */
export function busWindow(first: number, last: number): Aml {
  return wordWindow(2, 0, first, last);
}

/** 6.4.3.5.3, of I/O ports. */
export function portWindow(first: number, last: number): Aml {
  return wordWindow(1, IO_ENTIRE_RANGE, first, last);
}

function wordWindow(type: number, specific: number, first: number, last: number): Aml {
  const fields = [0, first, last, 0, last - first + 1].flatMap(u16);
  return [0x88, ...u16(3 + fields.length), type, WINDOW, specific, ...fields];
}

/** 6.4.3.5.2, of memory below 4 GiB. */
export function memoryWindow(first: number, last: number): Aml {
  const fields = [0, first, last, 0, last - first + 1].flatMap(u32);
  return [0x87, ...u16(3 + fields.length), 0, WINDOW, MEMORY_WRITABLE, ...fields];
}
