import type { VmConfig, VmExit } from '#control/vm.ts';
import { writeDump } from './crash-dump.ts';
import { type Crash, crashReport } from './crash-report.ts';
import { guestSymbols, symbolFiles } from './guest-symbols.ts';

/** The end of a guest whose two tiers did not agree: what differs, then the state as the interpreter left it. */
export function differenceExit(
  message: string,
  end: Omit<Crash, 'symbols'>,
  config: VmConfig,
): VmExit {
  return { type: 'difference', report: `${message}\n${crashReport(withSymbols(end, config))}` };
}

function withSymbols(end: Omit<Crash, 'symbols'>, config: VmConfig): Crash {
  const ram = new Uint8Array(end.memory.buffer, end.layout.ram, config.memoryBytes);
  return { ...end, symbols: guestSymbols(symbolFiles(config), ram) };
}

/** The end of a guest that has crashed: its report, and the dump that the configuration asks for. */
export function crashExit(reason: string, end: Omit<Crash, 'symbols'>, config: VmConfig): VmExit {
  const crash = withSymbols(end, config);
  const report = crashReport(crash);
  if (config.dump === undefined) return { type: 'crash', reason, report };
  const dump = writeDump(crash, config.memoryBytes, config.dump, new Date());
  return 'file' in dump
    ? { type: 'crash', reason, report, dumpFile: dump.file }
    : { type: 'crash', reason, report, dumpFailed: dump.failed };
}
