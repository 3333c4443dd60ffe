// node v86-guest.ts libv86.mjs v86.wasm KERNEL MEMORY_MIB: runs a Multiboot kernel on v86, without firmware, its first
// serial port to standard output, until it has printed the line that begins with `end`.
import { readFile } from 'node:fs/promises';
import { pathToFileURL } from 'node:url';

interface Emulator {
  add_listener(event: 'serial0-output-byte', listener: (byte: number) => void): void;
}

type EmulatorClass = new (options: Readonly<Record<string, unknown>>) => Emulator;

const hasEmulator = (module: unknown): module is { readonly V86: EmulatorClass } =>
  typeof module === 'object' &&
  module !== null &&
  'V86' in module &&
  typeof module.V86 === 'function';

async function main(args: readonly string[]): Promise<void> {
  const [library = '', wasm = '', kernel = '', memoryMib = ''] = args;
  const module: unknown = await import(pathToFileURL(library).href);
  if (!hasEmulator(module)) throw new Error(`${library} does not export V86`);
  const image = await readFile(kernel);
  const emulator = new module.V86({
    wasm_path: wasm,
    memory_size: Number(memoryMib) * 2 ** 20,
    multiboot: { buffer: new Uint8Array(image).buffer },
    autostart: true,
  });
  let line = '';
  emulator.add_listener('serial0-output-byte', (byte) => {
    line += String.fromCharCode(byte);
    if (byte !== 10) return;
    process.stdout.write(line);
    if (line.startsWith('end ')) process.exit(0); // standard output to a pipe is synchronous on Linux
    line = '';
  });
}

await main(process.argv.slice(2));
