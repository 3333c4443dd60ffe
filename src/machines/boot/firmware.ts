import { BootError } from './boot-error.ts';
import type { Placement } from './plan-types.ts';

const PAGE = 4096;
const FOUR_GIB = 2 ** 32;
const ONE_MIB = 2 ** 20;
/** What a PC's chip set decodes below 4 GiB; the interrupt controllers lie lower. */
const MAX_BYTES = 16 * ONE_MIB;
/** As much of the end of the ROM is seen below 1 MiB too: 0xe0000 to 0xfffff. */
const LOW_BYTES = 128 * 1024;

export interface FirmwarePlan {
  /** Ends at 4 GiB, so that the reset vector 0xfffffff0 lies in it. */
  readonly rom: Placement;
  /** The copy that real mode reaches. */
  readonly low: Placement;
}

/** Where a ROM image lies. The processor starts in it as it comes out of reset. @throws {BootError} */
export function planFirmware(image: Uint8Array): FirmwarePlan {
  if (image.length === 0 || image.length % PAGE !== 0) {
    throw new BootError(
      'truncated',
      `the ROM image has ${image.length} bytes, not a multiple of 4096; it is cut off or no ROM image`,
    );
  }
  if (image.length > MAX_BYTES)
    throw new BootError('too-large', 'the ROM image is larger than 16 MiB; give a smaller one');
  const bytes = image.subarray(-LOW_BYTES);
  return {
    rom: { paddr: FOUR_GIB - image.length, bytes: image },
    low: { paddr: ONE_MIB - bytes.length, bytes },
  };
}
