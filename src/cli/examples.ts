import type { Command } from 'commander';

/** Of the commands that belong to another one, by their names. */
const EXAMPLES: Readonly<Record<string, readonly string[]>> = {
  'guest fetch': ['ring0 guest fetch', 'ring0 guest fetch --json'],
  'guest list': ['ring0 guest list'],
  'guest path': ['ring0 guest path --json'],
  'guest build': [
    'ring0 guest build debian',
    'ring0 guest build debian -o server.qcow2 -s 8G --include openssh-server,nginx',
  ],
  'image info': ['ring0 image info disk.qcow2', 'ring0 image info --backing-chain --output json a'],
  'image map': ['ring0 image map --output json disk.qcow2'],
  'image check': ['ring0 image check disk.qcow2', 'ring0 image check -r all disk.qcow2'],
  'image compare': ['ring0 image compare -p disk.vmdk disk.qcow2'],
  'image measure': ['ring0 image measure -O qcow2 disk.raw', 'ring0 image measure --size 20G'],
  'image create': [
    'ring0 image create -f qcow2 disk.qcow2 20G',
    'ring0 image create -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2',
    'ring0 image create -f vmdk -o help',
  ],
  'image convert': [
    'ring0 image convert -p -O qcow2 disk.vmdk disk.qcow2',
    'ring0 image convert -c -O qcow2 -o compression_type=zstd disk.raw small.qcow2',
    'ring0 image convert -O raw https://example.com/disk.qcow2 disk.raw',
  ],
  'image dd': ['ring0 image dd -f qcow2 -O raw if=disk.qcow2 of=boot.bin bs=512 count=1'],
  'image resize': ['ring0 image resize disk.qcow2 +5G', 'ring0 image resize --shrink disk.raw 10G'],
  'image snapshot': [
    'ring0 image snapshot -c before disk.qcow2',
    'ring0 image snapshot -l disk.qcow2',
    'ring0 image snapshot -a before disk.qcow2',
  ],
  'image commit': ['ring0 image commit -p overlay.qcow2'],
  'image rebase': [
    'ring0 image rebase -b base.qcow2 -F qcow2 overlay.qcow2',
    "ring0 image rebase -b '' overlay.qcow2",
  ],
  'image bench': ['ring0 image bench -c 10000 -d 32 disk.qcow2'],
  'image amend': ['ring0 image amend -o compat=1.1 old.qcow2'],
  'image bitmap': ['ring0 image bitmap --add disk.qcow2 backup'],
  'appliance info': ['ring0 appliance info machine.ova'],
  'appliance import': ['ring0 appliance import machine.ova -o machine/ -p'],
  'appliance export': ['ring0 appliance export machine.ova disk.qcow2 --memory 2G --cpus 2'],
};

/** Gives each command below `group` its examples. */
export function addExamples(group: Command): void {
  for (const command of group.commands) {
    const lines = EXAMPLES[`${group.name()} ${command.name()}`];
    if (lines !== undefined)
      command.addHelpText('after', `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}`);
  }
}
