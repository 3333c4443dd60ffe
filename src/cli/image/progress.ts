import { nowMs } from '#base/node/now-ms.ts';
import type { CliHost } from '../host.ts';

/** How long work takes before it shows a bar. */
const DELAY_MS = 500;
const INTERVAL_MS = 100;
const BAR_CELLS = 30;

export interface Progress {
  /** Begins anew with this much to do. */
  start(totalBytes: number): void;
  add(bytes: number): void;
  /** Leaves the line clean for what is printed next. */
  end(): void;
}

type Streams = Pick<CliHost, 'stdout' | 'stderr' | 'mayBeTerminal'>;

/** `percent`: as qemu-img -p, for programs that read it; `bar`: once the work takes time, if standard error is a terminal. */
export function makeProgress(streams: Streams, style: 'none' | 'percent' | 'bar'): Progress {
  switch (style) {
    case 'percent':
      return new Meter(
        (done, total) => percentLine(streams, done, total),
        () => {
          streams.stdout.write('\n');
        },
      );
    case 'bar':
      return new Meter(barWriter(streams), () => {
        streams.stderr.write('\r\x1b[K');
      });
    default:
      return { start: () => {}, add: () => {}, end: () => {} };
  }
}

/** Counts, and draws as often as an eye needs it. */
class Meter implements Progress {
  readonly #draw: (done: number, total: number) => boolean;
  readonly #finish: () => void;
  #total = 0;
  #done = 0;
  #drawnMs = 0;
  #isDrawn = false;

  constructor(draw: (done: number, total: number) => boolean, finish: () => void) {
    this.#draw = draw;
    this.#finish = finish;
  }

  start(totalBytes: number): void {
    this.#total = totalBytes;
    this.#done = 0;
    this.#show();
  }

  add(bytes: number): void {
    this.#done += bytes;
    // Its end is shown once, by `end`.
    if (this.#done < this.#total && nowMs() - this.#drawnMs >= INTERVAL_MS) this.#show();
  }

  end(): void {
    if (this.#total > 0 && this.#done >= this.#total) this.#show();
    if (this.#isDrawn) this.#finish();
    this.#isDrawn = false;
    this.#total = 0;
  }

  #show(): void {
    this.#drawnMs = nowMs();
    if (this.#draw(this.#done, this.#total)) this.#isDrawn = true;
  }
}

function percentLine(streams: Streams, done: number, total: number): boolean {
  const percent = total === 0 ? 100 : Math.min(100, (done / total) * 100);
  streams.stdout.write(`    (${percent.toFixed(2)}/100%)\r`);
  return true;
}

function barWriter(streams: Streams): (done: number, total: number) => boolean {
  const startMs = nowMs();
  return (done, total) => {
    const elapsedMs = nowMs() - startMs;
    if (elapsedMs < DELAY_MS || total === 0 || streams.mayBeTerminal?.() === false) return false;
    if (streams.stderr.isTTY !== true) return false;
    const share = Math.min(1, done / total);
    const filled = Math.round(share * BAR_CELLS);
    const bar = `${'#'.repeat(filled)}${'.'.repeat(BAR_CELLS - filled)}`;
    const left = share === 0 ? '' : `, ${Math.ceil((elapsedMs * (1 / share - 1)) / 1000)} s left`;
    streams.stderr.write(`\r\x1b[K[${bar}] ${(share * 100).toFixed(1)} %${left}`);
    return true;
  };
}
