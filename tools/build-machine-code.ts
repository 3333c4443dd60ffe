import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { optimisedCodeOf, setEngineFlags } from '../src/vmm/optimised-code.ts';

// node build-machine-code.ts FOLDER: machine code of the engine's modules, so that no run begins with baseline code.
// It serves the Node that made it, on processors like this one; a run elsewhere compiles the modules as ever.

const [folder = '.'] = process.argv.slice(2);
setEngineFlags();
for (const name of ['core', 'interpreter']) {
  const code = optimisedCodeOf(readFileSync(join(folder, `${name}.wasm`)));
  writeFileSync(join(folder, `${name}.code`), code ?? new Uint8Array(0));
}
