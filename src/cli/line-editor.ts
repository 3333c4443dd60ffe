const BACKSPACE = [0x08, 0x7f];
const CTRL_C = 0x03;
const CTRL_U = 0x15;
const ESCAPE = 0x1b;
const MOST_CHARACTERS = 4096;

/** What a terminal in raw mode shows of what is typed, and the lines that come of it. */
export class LineEditor {
  #line = '';
  /** Within the sequence of an arrow or function key: ESC, `[` or `O`, then up to a letter or `~`. */
  #sequence: 'none' | 'begun' | 'long' = 'none';

  feed(typed: Uint8Array): { readonly echo: string; readonly lines: readonly string[] } {
    let echo = '';
    const lines: string[] = [];
    for (const key of typed) {
      if (this.#isOfSequence(key)) continue;
      if (key === 0x0d || key === 0x0a) {
        echo += '\r\n';
        lines.push(this.#line);
        this.#line = '';
      } else echo += this.#edit(key);
    }
    return { echo, lines };
  }

  #edit(key: number): string {
    const length = this.#line.length;
    if (BACKSPACE.includes(key)) {
      this.#line = this.#line.slice(0, -1);
      return length > 0 ? '\b \b' : '';
    }
    if (key === CTRL_U || key === CTRL_C) {
      this.#line = '';
      return '\b \b'.repeat(length);
    }
    if (key < 0x20 || key > 0x7e || length >= MOST_CHARACTERS) return '';
    const character = String.fromCharCode(key);
    this.#line += character;
    return character;
  }

  #isOfSequence(key: number): boolean {
    const was = this.#sequence;
    if (was === 'none') this.#sequence = key === ESCAPE ? 'begun' : 'none';
    else if (was === 'begun') this.#sequence = key === 0x5b || key === 0x4f ? 'long' : 'none';
    else if (key >= 0x40 && key <= 0x7e) this.#sequence = 'none';
    return was !== 'none' || key === ESCAPE;
  }

  /** What has been typed of the next line. */
  get pending(): string {
    return this.#line;
  }
}
