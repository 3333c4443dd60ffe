// MC146818 real-time clock. Source: Motorola MC146818A data sheet (1984), figures 9 to 13.
export const SECONDS = 0;
export const SECONDS_ALARM = 1;
export const MINUTES = 2;
export const MINUTES_ALARM = 3;
export const HOURS = 4;
export const HOURS_ALARM = 5;
export const WEEKDAY = 6; // 1 is Sunday
export const DAY = 7;
export const MONTH = 8;
export const YEAR = 9;
export const REG_A = 10;
export const REG_B = 11;
export const REG_C = 12;
export const REG_D = 13;
/** Not in the chip: where PC firmware keeps the century, and where the FADT says it is. */
export const CENTURY = 0x32;
export const CMOS_BYTES = 128;

export const A_UPDATING = 1 << 7;
export const A_DIVIDER = 0x70;
export const A_DIVIDER_RUN = 0x20; // for the 32,768 Hz crystal
export const A_RATE = 0x0f;

export const B_SET = 1 << 7;
export const B_PERIODIC = 1 << 6;
export const B_ALARM = 1 << 5;
export const B_UPDATE = 1 << 4;
export const B_BINARY = 1 << 2;
export const B_24H = 1 << 1;

/** C's flags stand at the places of B's enables. */
export const C_IRQ = 1 << 7;
export const C_FLAGS = B_PERIODIC | B_ALARM | B_UPDATE;

export const D_VALID = 1 << 7;

export const HOUR_PM = 1 << 7;
/** An alarm byte with both top bits set matches everything. */
export const ALARM_ANY = 0xc0;

export const CRYSTAL_HZ = 32_768;
/** UIP is high from 244 µs before an update to its end 1,984 µs after it began (table 6). */
export const UPDATE_NS = 244_000 + 1_984_000;
