import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { it } from 'node:test';
import { loadEngine } from './engine.ts';
import { setEngineFlags } from './optimised-code.ts';

it('this Node takes the machine code that the build has left', () => {
  setEngineFlags();
  const folder = mkdtempSync(path.join(tmpdir(), 'ring0-engine-'));
  try {
    const { engineCache } = loadEngine({ translationCache: folder, cpuModel: 'max' });
    assert.equal(engineCache?.ahead, true);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
