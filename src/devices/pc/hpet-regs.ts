// High precision event timer. Source: Intel IA-PC HPET specification 1.0a, 2.3.
export const HPET_TIMERS = 3;
export const HPET_PERIOD_FS = 10_000_000;

export const CAPABILITIES = 0x000;
export const CAPABILITIES_HIGH = 0x004; // the period
export const CONFIGURATION = 0x010;
export const INTERRUPT_STATUS = 0x020;
export const COUNTER = 0x0f0;
export const COUNTER_HIGH = 0x0f4;
export const TIMERS = 0x100;
export const TIMER_STRIDE = 0x20;

// Within a timer's registers.
export const TIMER_CONFIGURATION = 0x00;
export const TIMER_ROUTES = 0x04;
export const TIMER_COMPARATOR = 0x08;
export const TIMER_COMPARATOR_HIGH = 0x0c;

const REVISION = 1;
const COUNTER_64 = 1 << 13;
const LEGACY_CAPABLE = 1 << 15;
const VENDOR_INTEL = 0x8086;
export const CAPABILITIES_VALUE =
  ((VENDOR_INTEL << 16) | LEGACY_CAPABLE | COUNTER_64 | ((HPET_TIMERS - 1) << 8) | REVISION) >>> 0;

export const CONF_ENABLE = 1 << 0;
export const CONF_LEGACY = 1 << 1;

export const T_LEVEL = 1 << 1;
export const T_ENABLE = 1 << 2;
export const T_PERIODIC = 1 << 3;
const T_PERIODIC_CAPABLE = 1 << 4;
const T_64_CAPABLE = 1 << 5;
export const T_SET_VALUE = 1 << 6;
export const T_32BIT = 1 << 8;
export const T_ROUTE_SHIFT = 9;
export const T_ROUTE = 0x1f << T_ROUTE_SHIFT;
export const T_WRITABLE = T_LEVEL | T_ENABLE | T_PERIODIC | T_SET_VALUE | T_32BIT | T_ROUTE;
export const T_READ_ONLY = T_PERIODIC_CAPABLE | T_64_CAPABLE;
/** I/O APIC inputs that a timer may be routed to: 20 to 23. */
export const T_ROUTES = 0x00f0_0000;
