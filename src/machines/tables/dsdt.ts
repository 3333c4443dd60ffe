import type { MmioPlace } from '../mmio-cards.ts';
import { AcpiTable } from './acpi-table.ts';
import * as aml from './aml.ts';
import { hotplugEvent, hotplugSlots } from './hotplug.ts';

// What cannot be probed: the PCI root, the ISA devices, and how to power off. Addresses are those of machines/pc.ts.

const SOFT_OFF_TYPE = 5;
const PCI_SLOTS = 32;
const PCI_PINS = 4;
const PCI_FIRST_GSI = 16;
const PCI_WINDOW = { first: 0xe000_0000, last: 0xfebf_ffff };
const VIDEO_WINDOW = { first: 0xa_0000, last: 0xb_ffff };
const PCI_CONFIG_PORT = 0xcf8;
const VIRTIO_BYTES = 0x200;

/** With virtio devices at these places. */
export function dsdt(virtio: readonly MmioPlace[] = []): Uint8Array {
  const soft = aml.integer(SOFT_OFF_TYPE);
  const none = aml.integer(0);
  const terms = [
    aml.scope('\\_SB', pciRoot(), ...virtio.map(virtioDevice)),
    aml.name('\\_S5', aml.list(soft, soft, none, none)),
    hotplugEvent(),
  ];
  return new AcpiTable('DSDT', 2).u8(...terms.flat()).done();
}

/** The identifier is the one that Linux's driver knows (drivers/virtio/virtio_mmio.c). */
function virtioDevice({ paddr, gsi }: MmioPlace, index: number): aml.Aml {
  return aml.device(
    `V${index.toString(16).toUpperCase().padStart(2, '0')}`,
    aml.name('_HID', aml.string('LNRO0005')),
    aml.name('_UID', aml.integer(index)),
    aml.name('_CRS', aml.resources(aml.memory(paddr, VIRTIO_BYTES), aml.gsi(gsi))),
  );
}

function pciRoot(): aml.Aml {
  return aml.device(
    'PCI0',
    aml.name('_HID', aml.eisaId('PNP0A03')),
    aml.name('_UID', aml.integer(0)),
    aml.name('_BBN', aml.integer(0)),
    aml.name(
      '_CRS',
      aml.resources(
        aml.busWindow(0, 255),
        aml.ports(PCI_CONFIG_PORT, 8),
        aml.portWindow(0, PCI_CONFIG_PORT - 1),
        aml.portWindow(PCI_CONFIG_PORT + 8, 0xffff),
        aml.memoryWindow(VIDEO_WINDOW.first, VIDEO_WINDOW.last),
        aml.memoryWindow(PCI_WINDOW.first, PCI_WINDOW.last),
      ),
    ),
    aml.name('_PRT', interruptRouting()),
    isaBridge(),
    hotplugSlots(),
  );
}

/** 6.2.13: of each slot and pin the GSI it is wired to. */
function interruptRouting(): aml.Aml {
  const ANY_FUNCTION = 0xffff;
  const routes: aml.Aml[] = [];
  for (let slot = 1; slot < PCI_SLOTS; slot++) {
    for (let pin = 0; pin < PCI_PINS; pin++) {
      const gsi = PCI_FIRST_GSI + ((slot + pin) % PCI_PINS);
      const address = slot * 0x1_0000 + ANY_FUNCTION;
      routes.push(aml.list(...[address, pin, 0, gsi].map(aml.integer)));
    }
  }
  return aml.list(...routes);
}

function isaBridge(): aml.Aml {
  const com = (number: number, base: number, irq: number) =>
    aml.device(
      `COM${number}`,
      aml.name('_HID', aml.eisaId('PNP0501')),
      aml.name('_UID', aml.integer(number)),
      aml.name('_CRS', aml.resources(aml.ports(base, 8), aml.irq(irq))),
    );
  const rtc = aml.device(
    'RTC',
    aml.name('_HID', aml.eisaId('PNP0B00')),
    aml.name('_CRS', aml.resources(aml.ports(0x70, 2), aml.irq(8))),
  );
  const slot1 = aml.name('_ADR', aml.integer(0x1_0000));
  return aml.device('ISA', slot1, com(1, 0x3f8, 4), com(2, 0x2f8, 3), rtc);
}
