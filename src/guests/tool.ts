import { spawn } from 'node:child_process';

export interface ToolResult {
  /** -1 when the tool could not be started. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

interface ToolOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly cwd?: string | undefined;
  /** Ends the tool; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Runs a program of the host to its end, with no input, and collects what it prints. */
export async function runTool(
  tool: string,
  args: readonly string[],
  options: ToolOptions,
): Promise<ToolResult> {
  options.signal?.throwIfAborted();
  const result = await new Promise<ToolResult>((resolve) => {
    const child = spawn(tool, args, {
      env: options.env,
      cwd: options.cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true, // a process group of its own, so that its helpers end with it
    });
    const end = (): void => endGroup(child.pid);
    options.signal?.addEventListener('abort', end);
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const finish = (status: number, why = ''): void => {
      options.signal?.removeEventListener('abort', end);
      resolve({ status, stdout, stderr: `${stderr}${why}` });
    };
    child.on('error', (error) => finish(-1, error.message));
    child.on('close', (code, signal) =>
      finish(code ?? 1, signal === null ? '' : `ended by ${signal}`),
    );
  });
  options.signal?.throwIfAborted();
  return result;
}

function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGTERM');
  } catch {
    // it has just ended by itself
  }
}
