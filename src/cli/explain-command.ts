import type { ExplainRequest } from '#control/explain.ts';
import { formatExplanation } from './explain-report.ts';
import { type ExplainFlags, parseExplainFlags } from './explain-request.ts';
import { type CliHost, print } from './host.ts';
import { readInput } from './run-files.ts';

/** Of output that goes to no terminal. */
const DEFAULT_COLUMNS = 100;

/** `ring0 explain`: resolves with the exit status. */
export async function explainCommand(flags: ExplainFlags, host: CliHost): Promise<number> {
  const plan = parseExplainFlags(flags);
  const bytes = plan.raw === undefined ? plan.code : await readInput(plan.raw, 'raw');
  const request: ExplainRequest = {
    ...plan.request,
    ...(plan.kernel !== undefined && { kernel: await readInput(plan.kernel, 'kernel') }),
    ...(bytes !== undefined && { raw: { bytes, base: plan.base } }),
    ...(plan.symbols !== undefined && { symbols: await readInput(plan.symbols, 'symbols') }),
  };
  const explanation = await host.explain(request);
  const text =
    flags.json === true
      ? `${JSON.stringify(explanation)}\n`
      : formatExplanation(explanation, host.stdout.columns ?? columnsOf(host.env));
  print(host, text);
  return 0;
}

/** A pager's terminal, where the shell tells. */
function columnsOf(env: NodeJS.ProcessEnv): number {
  const columns = Number(env['COLUMNS']);
  return Number.isInteger(columns) && columns > 0 ? columns : DEFAULT_COLUMNS;
}
