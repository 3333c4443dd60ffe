import { parentPort, receiveMessageOnPort } from 'node:worker_threads';
import { findModel } from '#cpu/cpuid.ts';
import type { TranslatedBatch } from '#cpu/hot-tier.ts';
import { MOST_REGIONS, translate } from '#cpu/immediate-translator.ts';
import { RegionCompiler } from '#cpu/region-compiler.ts';
import { S_BATCHES } from '#ir/state.ts';
import { type CachedBatch, readCache } from './translation-cache.ts';
import type { TranslationRequest, TranslatorStart } from './worker-protocol.ts';

// The thread that translates for a vCPU: requests come through a port, compiled modules go back.

function serve({ memory, cpu, cpuModel, port, translationCache }: TranslatorStart): void {
  const compiler = new RegionCompiler(memory, cpu, findModel(cpuModel).features, true);
  const words = new Int32Array(memory.buffer);
  const send = (batch: TranslatedBatch | CachedBatch): void => {
    port.postMessage(batch);
    Atomics.add(words, (cpu + S_BATCHES) >> 2, 1);
  };
  if (translationCache !== undefined) for (const batch of readCache(translationCache)) send(batch);
  const work = (first: TranslationRequest): void => {
    const batch = [first];
    while (batch.length < MOST_REGIONS) {
      const next = receiveMessageOnPort(port) as { message: TranslationRequest } | undefined;
      if (next === undefined) break;
      batch.push(next.message);
    }
    const epochs = new Set(batch.map((r) => r.epoch));
    for (const epoch of epochs) {
      const requests = batch.filter((r) => r.epoch === epoch).map((r) => r.request);
      send(translate(compiler, requests, epoch));
    }
  };
  port.on('message', work);
}

parentPort?.once('message', serve);
