// The two functions that every PC has: the host bridge and the ISA bridge. Sources: Intel 82441FX (order 290549) and
// 82371SB (order 290550) data sheets.
import type { PciDescription } from './pci-function.ts';

export const HOST_BRIDGE: PciDescription = {
  vendorId: 0x8086,
  deviceId: 0x1237,
  revision: 2,
  classCode: 0x06_00_00,
};

/** PIRQRC: bit 7 set means that the PCI interrupt is not routed to an ISA one. */
const PIRQ_ROUTES = [0x60, 0x61, 0x62, 0x63];

export const ISA_BRIDGE: PciDescription = {
  vendorId: 0x8086,
  deviceId: 0x7000,
  revision: 0,
  classCode: 0x06_01_00,
  registers: PIRQ_ROUTES.map((offset) => ({
    offset,
    value: 0x80,
    writable: 0x8f,
  })),
};
