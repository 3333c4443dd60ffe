import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { optimisedCodeOf, seal, setEngineFlags } from '../src/vmm/optimised-code.ts';

// node build-machine-code.ts FOLDER: machine code of the engine's modules, so that no run begins with baseline code.
// It serves the Node that made it, on processors like this one; a run elsewhere compiles the modules as ever.

const [folder = '.'] = process.argv.slice(2);
setEngineFlags();
for (const name of ['core', 'interpreter', 'lz4']) {
  const wasm = readFileSync(join(folder, `${name}.wasm`));
  const code = optimisedCodeOf(wasm) ?? new Uint8Array(0);
  writeFileSync(join(folder, `${name}.code`), seal(code, wasm));
}
