import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { RequestError } from '#base/errors.ts';
import type { DiskConfig, DiskStatus, IoLimits } from '#control/vm.ts';
import { type MonitoredVm, runMonitorLine } from './monitor.ts';

/** A machine that notes what is asked of it. */
class Machine implements MonitoredVm {
  readonly log: string[] = [];
  readonly warnings: string[] = [];
  disk: DiskStatus | undefined;

  disks(): readonly DiskStatus[] {
    return this.disk === undefined ? [] : [this.disk];
  }

  async addDisk(config: DiskConfig): Promise<string> {
    this.log.push(`add ${config.path} ${config.bus} ${config.format ?? '-'}`);
    if (config.format === undefined) this.warnings.push('no format');
    return config.id ?? 'disk0';
  }

  async removeDisk(id: string, options?: { force?: boolean }): Promise<void> {
    if (id === 'no') throw new RequestError("there is no disk 'no'");
    this.log.push(`remove ${id} ${options?.force}`);
  }

  async resizeDisk(id: string, sizeBytes: number): Promise<void> {
    this.log.push(`resize ${id} ${sizeBytes}`);
  }

  limitDisk(id: string, limits: IoLimits | undefined): void {
    this.log.push(`limit ${id} ${limits?.requests?.total?.perSecond}`);
  }
}

async function run(line: string, vm = new Machine()): Promise<{ said: string; log: string[] }> {
  const said: string[] = [];
  const quit = () => void vm.log.push('quit');
  await runMonitorLine(line, { vm, say: (lines) => void said.push(...lines), quit });
  await setImmediate();
  return { said: said.join('\n'), log: vm.log };
}

describe('the monitor', () => {
  const commands = [
    { line: '', said: '', log: [] },
    { line: 'info block', said: 'the machine has no disks', log: [] },
    {
      line: 'drive_add /a.img,format=raw,bus=nvme,id=x',
      said: 'x: plugged in',
      log: ['add /a.img nvme raw'],
    },
    {
      line: ' drive_add  /a.img ',
      said: 'no format\ndisk0: plugged in',
      log: ['add /a.img virtio -'],
    },
    {
      line: 'device_add nvme,file=/a,,b.img,format=qcow2',
      said: 'disk0: plugged in',
      log: ['add /a,b.img nvme qcow2'],
    },
    { line: 'device_del x', said: 'x: removed', log: ['remove x false'] },
    { line: 'device_del no', said: "error: there is no disk 'no'", log: [] },
    { line: 'eject -f x', said: 'x: removed', log: ['remove x true'] },
    { line: 'eject x', said: 'x: removed', log: ['remove x false'] },
    { line: 'block_resize x 1G', said: '', log: [`resize x ${2 ** 30}`] },
    { line: 'block_set_io_throttle x iops=5,bps=1M', said: '', log: ['limit x 5'] },
    { line: 'block_set_io_throttle x', said: '', log: ['limit x undefined'] },
    { line: 'quit', said: '', log: ['quit'] },
  ];
  for (const { line, said, log } of commands)
    it(`does '${line}'`, async () => assert.deepEqual(await run(line), { said, log }));

  const wrong = [
    { line: 'fly', says: /^error: there is no command 'fly'; 'help' lists them$/ },
    { line: 'info', says: /give 'info block'/ },
    { line: 'drive_add', says: /names no file/ },
    { line: 'drive_add a,bus=ide', says: /bus='ide' is not one of them/ },
    { line: 'device_add ide,file=a', says: /no driver 'ide'; give virtio-blk-pci, / },
    { line: 'device_add nvme,a', says: /give nvme,file=FILE/ },
    { line: 'device_del', says: /give the disk's id/ },
    { line: 'block_resize x large', says: /'large' is not a size/ },
    { line: 'block_set_io_throttle x speed=1', says: /'speed' is no limit/ },
  ];
  for (const { line, says } of wrong)
    it(`refuses '${line}'`, async () => {
      const { said, log } = await run(line);
      assert.match(said, says);
      assert.deepEqual(log, []);
    });

  it('lists its commands and the disks', async () => {
    const { said } = await run('help');
    for (const word of ['info block', 'drive_add FILE', 'device_del ID', 'eject [-f] ID', 'quit'])
      assert.ok(said.includes(word), word);
    const vm = new Machine();
    const state = { readOnly: true, snapshot: false, isLeaving: true };
    const disk = { id: 'x', path: '/a', format: 'raw', unit: 2, sizeBytes: 2 ** 30, ...state };
    vm.disk = { ...disk, bus: 'nvme' };
    assert.equal(
      (await run('info block', vm)).said,
      'x: /a (raw, nvme, 1 GiB, read-only, asked to leave)',
    );
    vm.disk = { ...disk, bus: 'nvme', controller: 'n0' };
    assert.match((await run('info block', vm)).said, /\(raw, nvme n0, nsid 2, 1 GiB/);
    vm.disk = { ...disk, bus: 'scsi', controller: 's0' };
    assert.match((await run('info block', vm)).said, /\(raw, scsi s0, lun 2, 1 GiB/);
  });
});
