import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RequestError } from '#base/errors.ts';
import type { DiskBus, DiskConfig } from '#control/vm.ts';
import { byCard, unitOf } from './disk-cards.ts';

const disk = (bus: DiskBus, controller?: string, unit?: number): DiskConfig => ({
  path: '/disk',
  bus,
  cache: 'writeback',
  readOnly: false,
  snapshot: false,
  ...(controller !== undefined && { controller }),
  ...(unit !== undefined && { unit }),
});

function placed(configs: readonly DiskConfig[]) {
  const disks: { config: DiskConfig; unit: number }[] = [];
  for (const config of configs) disks.push({ config, unit: unitOf(config, disks) });
  return disks;
}

describe('disks of one controller', () => {
  it('have each a card, or one by the name of the controller, and the first free number there', () => {
    const disks = placed([
      disk('nvme', 'a'),
      disk('virtio'),
      disk('nvme', 'a', 3),
      disk('nvme'),
      disk('scsi', 'b'),
      disk('nvme', 'a'),
      disk('nvme', undefined, 9),
      disk('scsi', 'b'),
    ]);
    const cards = byCard(disks).map((card) =>
      card.map(({ config, unit }) => `${config.bus}-${unit}`).join(' '),
    );
    const expected = ['nvme-1 nvme-3 nvme-2', 'virtio-0', 'nvme-1', 'scsi-0 scsi-1', 'nvme-9'];
    assert.deepEqual(cards, expected);
  });

  const wrong = [
    {
      name: 'a number twice',
      configs: [disk('nvme', 'a', 2), disk('nvme', 'a', 2)],
      says: /taken/,
    },
    { name: 'two buses', configs: [disk('nvme', 'a'), disk('scsi', 'a')], says: /is of bus nvme/ },
    {
      name: 'one that has none',
      configs: [disk('virtio', 'a')],
      says: /give bus=nvme or bus=scsi/,
    },
    { name: 'namespace 0', configs: [disk('nvme', 'a', 0)], says: /nsid=0 is too/ },
    { name: 'namespace 257', configs: [disk('nvme', 'a', 257)], says: /nsid=257 is too/ },
    { name: 'LUN 256', configs: [disk('scsi', 'a', 256)], says: /lun=256 is too/ },
    {
      name: 'more disks than have room',
      configs: Array.from({ length: 257 }, () => disk('scsi', 'a')),
      says: /is full/,
    },
  ];
  for (const { name, configs, says } of wrong)
    it(`refuses ${name}`, () =>
      assert.throws(
        () => placed(configs),
        (error: unknown) => error instanceof RequestError && says.test(error.message),
      ));
});
