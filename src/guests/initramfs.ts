import { type CpioEntry, writeCpio } from './cpio.ts';

/**
 * Process 1. busybox's poweroff, halt and reboot signal process 1 and leave the deed to it, and a shell acts on signals
 * only between commands or in `wait`: so it waits, and the session is a daemon's. A plain `&` would not do, because all
 * that such a job starts ignores Ctrl-C.
 */
const INIT = `#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM="\${TERM:-linux}"
/bin/busybox mount -t proc -o nosuid,nodev,noexec proc /proc
/bin/busybox mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s
mkdir -p /dev/pts
mount -t devpts -o gid=5,mode=620 devpts /dev/pts
hostname ring0
ip link set lo up
uevent /etc/plugged &
mmio=$(echo /sys/bus/acpi/devices/LNRO0005:*)
if [ -e "\${mmio%% *}" ] || grep -qs 0x1af4 /sys/bus/pci/devices/*/vendor; then /etc/load virtio; fi
if [ -e "\${mmio%% *}" ]; then /etc/load mmio; fi
if grep -qs 0x0008 /sys/bus/virtio/devices/*/device; then /etc/load scsi; fi

trap 'poweroff -f' USR2
trap 'reboot -f' TERM
trap 'halt -f' USR1
start-stop-daemon -S -b -x /etc/session
while :; do
  sleep 86400 &
  wait $!
done
`;

/** Loads the drivers of a group, those that are not there yet. */
const LOAD = `#!/bin/sh
for module in $(cat /lib/modules/$1); do insmod /lib/modules/$module 2>/dev/null; done
`;

/** Told of each device that comes and goes: a disk that is plugged in may be the first that needs its drivers. */
const PLUGGED = `#!/bin/sh
case $ACTION-$MODALIAS in
  add-pci:v00001AF4*) exec /etc/load virtio ;;
  add-virtio:d00000008*) exec /etc/load scsi ;;
esac
`;

/** A shell that owns the console (setsid, cttyhack), so that it has job control. Its end is the guest's. */
const SESSION = `#!/bin/sh
cd /
exec </dev/console >/dev/console 2>&1
echo
echo "Linux $(uname -r) on ring0. 'poweroff' or 'exit' ends the guest."
setsid cttyhack sh
exec poweroff -f
`;

/** In the order in which they are loaded, when there are such devices. */
export const MODULE_GROUPS = ['virtio', 'mmio', 'scsi'] as const;

/** A kernel module: its file's name and content, and for which devices it is loaded. */
export interface GuestModule {
  readonly group: (typeof MODULE_GROUPS)[number];
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** A root file system of busybox and the drivers of virtio devices, in the order in which they are to be loaded, that starts a shell on the console and powers off when it ends. */
export function buildInitramfs(busybox: Uint8Array, modules: readonly GuestModule[]): Uint8Array {
  const directories = [
    'bin',
    'dev',
    'etc',
    'lib',
    'lib/modules',
    'proc',
    'root',
    'run',
    'sbin',
    'sys',
    'tmp',
    'usr',
    'usr/bin',
    'usr/sbin',
    'var',
  ];
  const entries: CpioEntry[] = [
    ...directories.map(
      (path): CpioEntry => ({ type: 'directory', path, mode: path === 'tmp' ? 0o1777 : 0o755 }),
    ),
    // The kernel opens it for init before anything could be mounted on /dev. Number: Documentation/admin-guide/devices.txt.
    { type: 'char-device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    { type: 'file', path: 'bin/busybox', mode: 0o755, bytes: busybox },
    {
      type: 'file',
      path: 'etc/passwd',
      mode: 0o644,
      bytes: text('root:x:0:0:root:/root:/bin/sh\n'),
    },
    { type: 'file', path: 'etc/group', mode: 0o644, bytes: text('root:x:0:\ntty:x:5:\n') },
    { type: 'file', path: 'etc/load', mode: 0o755, bytes: text(LOAD) },
    { type: 'file', path: 'etc/plugged', mode: 0o755, bytes: text(PLUGGED) },
    { type: 'file', path: 'etc/session', mode: 0o755, bytes: text(SESSION) },
    ...MODULE_GROUPS.map((group): CpioEntry => {
      const names = modules.filter((module) => module.group === group).map(({ name }) => name);
      const bytes = text(names.map((name) => `${name}\n`).join(''));
      return { type: 'file', path: `lib/modules/${group}`, mode: 0o644, bytes };
    }),
    ...modules.map(
      ({ name, bytes }): CpioEntry => ({
        type: 'file',
        path: `lib/modules/${name}`,
        mode: 0o644,
        bytes,
      }),
    ),
    { type: 'file', path: 'init', mode: 0o755, bytes: text(INIT) },
  ];
  return writeCpio(entries);
}

function text(content: string): Uint8Array {
  return new TextEncoder().encode(content);
}
