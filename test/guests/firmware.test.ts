import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { MIB } from '#base/units.ts';
import type { VmConfig } from '#control/vm.ts';
import { createVm } from '#index.ts';
import { assemble, cannotAssemble } from './assemble.ts';

// Debian's package seabios. It says what it does on port 0x402.
const FIRMWARE = ['bios.bin', 'bios-256k.bin'].map((name) => `/usr/share/seabios/${name}`);

const config: Omit<VmConfig, 'firmware'> = {
  memoryBytes: 64 * MIB,
  append: '',
  cpuModel: 'ring0-v2',
  accel: 'software',
  noReboot: true,
  stats: false,
};

/** Asks the BIOS for the A20 gate in all four ways, and looks where it leads. */
const BOOT_SECTOR = `
.code16
.globl _start
_start: xor %ax, %ax
  mov %ax, %ds
  mov %ax, %ss
  mov $0x7000, %sp
  mov $'>', %al
  call put
  mov $0x2403, %ax
  call ask
  mov $0x2402, %ax
  call ask
  mov $0x2400, %ax
  call ask
  call look
  mov $0x2402, %ax
  call ask
  mov $0x2401, %ax
  call ask
  call look
  mov $0x2402, %ax
  call ask
  mov $0, %al
  out %al, $0xf4
ask: push %ax
  int $0x15
  mov $'C', %dl
  jc 1f
  mov $'-', %dl
1: pop %cx
  cmp $2, %cl
  je 2f
  mov %bl, %al
  cmp $3, %cl
  je 2f
  mov $0, %al
2: add $'0', %al
  call put
  mov %ah, %al
  add $'0', %al
  call put
  mov %dl, %al
  jmp put
look: mov $0xffff, %ax
  mov %ax, %es
  movb $1, 0x500
  movb $2, %es:0x510
  mov 0x500, %al
  add $'a', %al
put: out %al, $0xe9
  ret
.org 510
.word 0xaa55
`;
/** Of each question a number, AH and whether CF was set; b where there are two places, c where they are one. */
const ANSWERS = '>30-10-00-c00-00-b10-';

const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-boot-sector-'));
after(() => rmSync(dir, { recursive: true }));

function bootDisk(): string {
  const flags = ['-m', 'elf_i386', '-Ttext=0x7c00', '--oformat', 'binary'];
  const file = path.join(dir, 'disk.img');
  const image = Buffer.alloc(MIB);
  image.set(assemble(BOOT_SECTOR, ['--32'], flags));
  writeFileSync(file, image);
  return file;
}

/** What firmware says until `wanted` is among it, or it ends. */
async function messages(
  file: string,
  wanted: string,
  options: Partial<VmConfig> = {},
): Promise<string> {
  const vm = await createVm({ ...config, ...options, firmware: readFileSync(file) });
  let text = '';
  vm.console.onOutput((bytes) => {
    text += Buffer.from(bytes).toString('latin1');
    if (text.includes(wanted)) void vm.stop();
  });
  await vm.run();
  await vm.stop();
  return text;
}

const TIERS = [
  { how: 'interpreted', options: { translate: false } },
  { how: 'in lockstep', options: { verify: true } },
] as const;

const skipOf = (file: string) =>
  existsSync(file) ? false : `no ${file}; install Debian's package seabios`;

describe('SeaBIOS', { timeout: 300_000 }, () => {
  for (const file of FIRMWARE) {
    it(`${file} finds the memory and no bootable device`, { skip: skipOf(file) }, async () => {
      const text = await messages(file, 'No bootable device');
      assert.match(text, /Press ESC for boot menu/);
      assert.match(text, /0000000000100000 - 0000000004000000 = 1 RAM/);
      assert.match(text, /No bootable device/);
    });
  }
  const file = FIRMWARE[1] ?? '';
  for (const { how, options } of TIERS)
    it(`moves the A20 gate when INT 15h asks, ${how}`, {
      skip: skipOf(file) || cannotAssemble,
    }, async () => {
      const disk = { id: 'a', path: bootDisk(), bus: 'virtio', cache: 'unsafe' } as const;
      const disks = [{ ...disk, format: 'raw', readOnly: true, snapshot: false }];
      const text = await messages(file, ANSWERS, { ...options, disks });
      assert.equal(text.slice(text.indexOf('>')), ANSWERS);
    });
});
