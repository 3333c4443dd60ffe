const KIB = 1024;
const MIB = 1024 * KIB;
const BASE_KIB = 640;
const WORD_MAX = 0xffff;

/**
 * Where firmware finds how much memory there is, as pairs of index and byte. Base and extended memory in KiB: IBM PC AT
 * Technical Reference (1984), "Real-Time Clock/CMOS RAM"; memory beyond 16 MiB in units of 64 KiB: as Bochs and QEMU have
 * it, which SeaBIOS reads.
 */
export function cmosMemory(memoryBytes: number): readonly (readonly [number, number])[] {
  const extended = Math.min(Math.max(0, memoryBytes - MIB) / KIB, WORD_MAX);
  const beyond = Math.min(Math.max(0, memoryBytes - 16 * MIB) / (64 * KIB), WORD_MAX);
  return [
    ...word(0x15, BASE_KIB),
    ...word(0x17, extended),
    ...word(0x30, extended),
    ...word(0x34, beyond),
  ];
}

function word(index: number, value: number): (readonly [number, number])[] {
  return [
    [index, value & 0xff],
    [index + 1, (value >>> 8) & 0xff],
  ];
}
