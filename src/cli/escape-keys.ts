export type EscapeAction = 'quit' | 'help' | 'monitor';

const CTRL_A = 0x01;

/** What to show for Ctrl-A H. */
export const ESCAPE_HELP = [
  'Ctrl-A X       end the guest and ring0',
  'Ctrl-A Ctrl-A  send Ctrl-A to the guest',
  'Ctrl-A C       to the monitor, and back to the guest',
  'Ctrl-A H       this help',
];

/** Takes the keys that are meant for ring0, not for the guest, out of what is typed. They are QEMU's. */
export class EscapeKeys {
  #afterEscape = false;

  /** What goes to the guest, and what ring0 shall do, in order. A sequence may be split between calls. */
  feed(typed: Uint8Array): readonly (Uint8Array | EscapeAction)[] {
    const parts: (Uint8Array | EscapeAction)[] = [];
    let forGuest: number[] = [];
    const endPart = (): void => {
      if (forGuest.length > 0) parts.push(Uint8Array.from(forGuest));
      forGuest = [];
    };
    for (const key of typed) {
      if (!this.#afterEscape) {
        if (key === CTRL_A) this.#afterEscape = true;
        else forGuest.push(key);
        continue;
      }
      this.#afterEscape = false;
      const action = actionOf(key);
      if (action !== undefined) {
        endPart();
        parts.push(action);
      } else if (key === CTRL_A || String.fromCharCode(key).toLowerCase() === 'a')
        forGuest.push(CTRL_A);
    }
    endPart();
    return parts;
  }
}

function actionOf(key: number): EscapeAction | undefined {
  switch (String.fromCharCode(key).toLowerCase()) {
    case 'x':
      return 'quit';
    case 'c':
      return 'monitor';
    case 'h':
    case '?':
      return 'help';
    default:
      return undefined;
  }
}
