// What travels between interrupt controllers. Source: Intel SDM vol. 3A, 11.6.1 (ICR), 11.11 (MSI); 82093AA, 3.2.4.

export const DELIVER_FIXED = 0;
export const DELIVER_LOWEST = 1;
export const DELIVER_SMI = 2;
export const DELIVER_NMI = 4;
export const DELIVER_INIT = 5;
export const DELIVER_STARTUP = 6;
export const DELIVER_EXTINT = 7;

/** Every local APIC, in both destination modes. */
export const DEST_ALL = 0xffff_ffff;

/** An interrupt on its way to local APICs. */
export interface ApicMessage {
  /** APIC ID or, with `isLogical`, a logical address; `DEST_ALL` for all. */
  readonly dest: number;
  readonly isLogical: boolean;
  readonly mode: number;
  readonly vector: number;
  readonly isLevel: boolean;
}

/** An 8-bit destination as I/O APICs, MSIs and xAPIC IPIs carry it: 0xff is everybody, in x2APIC mode too. */
export function dest8(dest: number): number {
  return dest === 0xff ? DEST_ALL : dest;
}

/** MSI address and data (SDM vol. 3A, 11.11.1 and 11.11.2), or undefined when the address is no interrupt message. */
export function parseMsi(address: number, data: number): ApicMessage | undefined {
  if ((address & 0xfff0_0000) >>> 0 !== 0xfee0_0000) return undefined;
  return {
    dest: dest8((address >>> 12) & 0xff),
    isLogical: (address & (1 << 2)) !== 0,
    mode: (data >> 8) & 7,
    vector: data & 0xff,
    isLevel: (data & (1 << 15)) !== 0,
  };
}
