#!/usr/bin/env node
import { existsSync } from 'node:fs';
import * as nodeModule from 'node:module';
import { fileURLToPath } from 'node:url';
import { complainAboutNode, endWithLauncher, findNode, runNode } from './node24.mjs';

/** Flags of V8 that must stand before it starts; others can be set at run time. */
const V8_FLAGS = [];
/** A checkout has them and runs them as they are; the package has JavaScript instead (tools/package.ts). */
const SOURCES = new URL('../src/', import.meta.url);
const PACKAGED = new URL('../dist/', import.meta.url);

async function start(args) {
  const node = findNode();
  if (node === undefined) return complainAboutNode();
  if (node !== process.execPath || V8_FLAGS.some((flag) => !process.execArgv.includes(flag))) {
    return runNode(node, [...V8_FLAGS, fileURLToPath(import.meta.url), ...args], ['ipc']);
  }
  endWithLauncher();
  nodeModule.enableCompileCache();
  const hasSources = existsSync(SOURCES);
  findOwnModules(hasSources ? SOURCES.href : PACKAGED.href);
  try {
    const { main } = await import(hasSources ? '../src/cli/main.ts' : '../dist/cli/main.js');
    return await main(args);
  } catch (error) {
    if (error?.code !== 'ERR_MODULE_NOT_FOUND') throw error;
    process.stderr.write(`ring0: ${error.message.split('\n')[0]}; run 'npm ci' first\n`);
    return 1;
  }
}

/** An import of ours names its file: nothing is to be looked for, which takes Node a tenth of a millisecond each. */
function findOwnModules(root) {
  nodeModule.registerHooks({
    resolve(name, context, next) {
      const format = name.endsWith('.ts') ? 'module-typescript' : 'module';
      const isFile = format === 'module-typescript' || name.endsWith('.js');
      if (isFile && name.startsWith('#'))
        return { url: root + name.slice(1), format, shortCircuit: true };
      if (isFile && name.startsWith('.') && context.parentURL?.startsWith(root))
        return { url: new URL(name, context.parentURL).href, format, shortCircuit: true };
      return next(name, context);
    },
  });
}

process.exitCode = await start(process.argv.slice(2));
