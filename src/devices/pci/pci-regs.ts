// PCI configuration space. Source: PCI Local Bus Specification 3.0, 6.1 and 6.2.
export const VENDOR_ID = 0x00;
export const DEVICE_ID = 0x02;
export const COMMAND = 0x04;
export const STATUS = 0x06;
export const REVISION = 0x08;
export const CLASS = 0x09; // three bytes, programming interface first
export const CACHE_LINE = 0x0c;
export const LATENCY = 0x0d;
export const HEADER_TYPE = 0x0e;
export const BARS = 0x10;
export const SUBSYSTEM_VENDOR_ID = 0x2c;
export const SUBSYSTEM_ID = 0x2e;
export const CAPABILITIES = 0x34;
export const INTERRUPT_LINE = 0x3c;
export const INTERRUPT_PIN = 0x3d;
export const FIRST_CAPABILITY = 0x40;
export const CONFIG_BYTES = 256;

export const COMMAND_IO = 1 << 0;
export const COMMAND_MEMORY = 1 << 1;
export const COMMAND_BUS_MASTER = 1 << 2;
export const COMMAND_INTX_DISABLE = 1 << 10;
/** And parity response, SERR#. */
export const COMMAND_WRITABLE =
  COMMAND_IO | COMMAND_MEMORY | COMMAND_BUS_MASTER | (1 << 6) | (1 << 8) | COMMAND_INTX_DISABLE;
export const STATUS_INTERRUPT = 1 << 3;
export const STATUS_CAPABILITIES = 1 << 4;
export const HEADER_MULTIFUNCTION = 1 << 7;

export const BAR_IO = 1 << 0;
export const BAR_64 = 1 << 2;
export const BAR_PREFETCHABLE = 1 << 3;
export const BAR_IO_ADDRESS = 0xffff_fffc;
export const BAR_MEMORY_ADDRESS = 0xffff_fff0;
