import * as aml from './aml.ts';

// Cards that come and go. Registers: devices/pc/pci-hotplug.ts. Source: ACPI specification 6.5, 6.3.3 (_EJ0), 5.6.6 (values of
// Notify), 6.1.10 (_SUN), 5.6.4.1 (_Exx).

const PORT = 0xae00;
const PORTS = 12;
const FIRST_SLOT = 2;
const PCI_SLOTS = 32;
const BUS_CHECK = 0;
const DEVICE_CHECK = 1;
const EJECT_REQUEST = 3;

const slots = Array.from({ length: PCI_SLOTS - FIRST_SLOT }, (_, i) => FIRST_SLOT + i);
const deviceOf = (slot: number): string => `S${slot.toString(16).toUpperCase().padStart(2, '0')}`;

/** In the scope of the PCI root: a device for each slot, and the method that tells their drivers. */
export function hotplugSlots(): aml.Aml {
  return [
    aml.portRegion('HPRG', PORT, PORTS),
    aml.wordFields('HPRG', 'HPUP', 'HPDN', 'HPEJ'),
    ...slots.map(slotDevice),
    aml.method('HPNT', [
      ...tell('HPUP', DEVICE_CHECK),
      ...aml.when(
        aml.and(aml.LOCAL_0, aml.integer(1)),
        aml.notify(aml.path('\\_SB.PCI0'), aml.integer(BUS_CHECK)),
      ),
      ...tell('HPDN', EJECT_REQUEST),
    ]),
  ].flat();
}

function slotDevice(slot: number): aml.Aml {
  return aml.device(
    deviceOf(slot),
    aml.name('_ADR', aml.integer(slot * 0x1_0000)),
    aml.name('_SUN', aml.integer(slot)),
    aml.method('_EJ0', aml.store(aml.integer(2 ** slot), aml.path('HPEJ')), 1),
  );
}

/** Takes the bits of a register, clears them there, and notifies the devices. */
function tell(register: string, value: number): aml.Aml {
  return [
    aml.store(aml.path(register), aml.LOCAL_0),
    aml.store(aml.LOCAL_0, aml.path(register)),
    ...slots.map((slot) =>
      aml.when(
        aml.and(aml.LOCAL_0, aml.integer(2 ** slot)),
        aml.notify(aml.path(deviceOf(slot)), aml.integer(value)),
      ),
    ),
  ].flat();
}

/** The scope of general-purpose events: number 1 is edge-triggered, cleared before its method runs. */
export function hotplugEvent(): aml.Aml {
  return aml.scope('\\_GPE', aml.method('_E01', aml.path('\\_SB.PCI0.HPNT')));
}
