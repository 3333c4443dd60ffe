// Builds what the engine loads, when its sources have changed. --force: builds anyway.
import { ensureBuilt } from './build-engine.ts';

try {
  await ensureBuilt({ force: process.argv.includes('--force') });
} catch (error) {
  process.stderr.write(`build: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
