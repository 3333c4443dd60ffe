import { type MmioPlace, mmioPlace } from '#machines/mmio-cards.ts';
import { FIRST_CARD_SLOT } from '#machines/pc.ts';
import { byCard, type PlacedDisk } from './disk-cards.ts';

/** Where a machine that begins with these disks has those that no PCI driver finds: vmm/device-host.ts numbers them so. */
export function diskPlaces(disks: readonly PlacedDisk[]): MmioPlace[] {
  return byCard(disks).flatMap(([first], index) =>
    first?.config.bus === 'virtio-mmio' || first?.config.bus === 'virtio-mmio-legacy'
      ? [mmioPlace(FIRST_CARD_SLOT + index)]
      : [],
  );
}
