import type { DiskConfig } from '#control/vm.ts';
import { type MmioPlace, mmioPlace } from '#machines/mmio-cards.ts';
import { FIRST_CARD_SLOT } from '#machines/pc.ts';

/** Where a machine that begins with these disks has those that no PCI driver finds: vmm/device-host.ts numbers them so. */
export function diskPlaces(disks: readonly { readonly config: DiskConfig }[]): MmioPlace[] {
  return disks.flatMap(({ config: { bus } }, index) =>
    bus === 'virtio-mmio' || bus === 'virtio-mmio-legacy'
      ? [mmioPlace(FIRST_CARD_SLOT + index)]
      : [],
  );
}
