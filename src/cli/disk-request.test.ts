import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RequestError } from '#base/errors.ts';
import { parseDisk } from './disk-request.ts';

const PLAIN = { bus: 'virtio', cache: 'writeback', readOnly: false, snapshot: false };

describe('--disk', () => {
  const right = [
    { text: 'a.img', expected: { ...PLAIN, path: 'a.img' } },
    { text: 'a,,b.img', expected: { ...PLAIN, path: 'a,b.img' } },
    { text: 'file=a.img', expected: { ...PLAIN, path: 'a.img' } },
    { text: 'a,format=raw', expected: { ...PLAIN, path: 'a', format: 'raw' } },
    { text: 'a,readonly', expected: { ...PLAIN, path: 'a', readOnly: true } },
    { text: 'a,readonly=off,snapshot=on', expected: { ...PLAIN, path: 'a', snapshot: true } },
    { text: 'a,serial=x=1', expected: { ...PLAIN, path: 'a', serial: 'x=1' } },
    { text: 'a,bus=virtio-mmio', expected: { ...PLAIN, path: 'a', bus: 'virtio-mmio' } },
    { text: 'a,bus=nvme', expected: { ...PLAIN, path: 'a', bus: 'nvme' } },
    {
      text: 'a,bus=nvme,controller=n0,nsid=2',
      expected: { ...PLAIN, path: 'a', bus: 'nvme', controller: 'n0', unit: 2 },
    },
    {
      text: 'a,bus=scsi,controller=s0',
      expected: { ...PLAIN, path: 'a', bus: 'scsi', controller: 's0' },
    },
    { text: 'a,bus=scsi,lun=7', expected: { ...PLAIN, path: 'a', bus: 'scsi', unit: 7 } },
    {
      text: 'a,full=report,iops=500,bps=10M',
      expected: {
        ...PLAIN,
        path: 'a',
        onFull: 'report',
        limits: {
          requests: { total: { perSecond: 500 } },
          bytes: { total: { perSecond: 10 << 20 } },
        },
      },
    },
    {
      text: 'a,id=root,throttling.iops-total=100,iops-total-max=1000,throttling.iops-total-max-length=60,iops-size=4K',
      expected: {
        ...PLAIN,
        path: 'a',
        id: 'root',
        limits: {
          requests: { total: { perSecond: 100, burst: { perSecond: 1000, seconds: 60 } } },
          bytesPerRequest: 4096,
        },
      },
    },
    {
      text: 'a,bps-read=1M,bps-write=1M,bps-write-burst=2M',
      expected: {
        ...PLAIN,
        path: 'a',
        limits: {
          bytes: {
            read: { perSecond: 1 << 20 },
            write: { perSecond: 1 << 20, burst: { perSecond: 2 << 20, seconds: 1 } },
          },
        },
      },
    },
    { text: 'a,cache=unsafe', expected: { ...PLAIN, path: 'a', cache: 'unsafe' } },
  ];
  for (const { text, expected } of right)
    it(text, () => assert.deepEqual(parseDisk(text), expected));

  const wrong = [
    { text: '', says: /names no file/ },
    { text: ',readonly', says: /names no file/ },
    { text: 'a,size=1', says: /'size' is no option; there are id, / },
    { text: 'a,bus=ide', says: /bus='ide' is not one of them; give / },
    { text: 'a,cache=', says: /cache='' is not one of them/ },
    { text: 'a,readonly=maybe', says: /give readonly, readonly=on or readonly=off/ },
    { text: 'a,serial=123456789012345678901', says: /1 to 20 ASCII/ },
    { text: 'a,iops=0', says: /iops='0' is no rate/ },
    { text: 'a,iops=5,throttling.iops-total=5', says: /given twice/ },
    { text: 'a,iops=5,iops=5', says: /'iops' is given twice/ },
    { text: 'a,iops-burst=5', says: /give iops= too/ },
    { text: 'a,bps-read=9M,bps-read-burst=8M', says: /is less than bps-read=/ },
    { text: 'a,bps=9M,bps-burst-length=2', says: /give bps-burst= too/ },
    { text: 'a,bps=1M,bps-burst=2M,bps-burst-length=3601', says: /at most 3600 seconds/ },
    { text: 'a,bps=9M,bps-read=1M', says: /reads and writes together/ },
    { text: 'a,iops-size=4K', says: /give iops= too/ },
    { text: 'a,id=', says: /'' is no id/ },
    { text: 'a,bus=scsi,nsid=1', says: /'nsid' goes with bus=nvme/ },
    { text: 'a,bus=nvme,nsid=1,lun=2', says: /'lun' goes with bus=scsi/ },
    { text: 'a,lun=1', says: /'lun' goes with bus=scsi/ },
    { text: 'a,bus=nvme,nsid=one', says: /nsid='one' is no number/ },
    { text: 'a,bus=nvme,controller=', says: /'' is no name of a controller/ },
    { text: 'a,full=panic', says: /full='panic' is not one of them; give wait, report/ },
    { text: 'a,format=', says: /'format' has no value/ },
    { text: 'a,bus=nvme,bus=nvme', says: /'bus' is given twice/ },
  ];
  for (const { text, says } of wrong)
    it(`refuses '${text}'`, () =>
      assert.throws(
        () => parseDisk(text),
        (error: unknown) =>
          error instanceof RequestError && error.field === 'disk' && says.test(error.message),
      ));
});
