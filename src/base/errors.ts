/**
 * The request was wrong: something the user gave, or something their system lacks. The message says what is wrong and
 * what to do instead, in one line; `field` names the setting at fault where there is one, as the
 * flag of `ring0 run` that sets it: `kernel`, `initrd`, `append`, `memory`, `cpu`, `disk`, `module`, …
 */
export class RequestError extends Error {
  override readonly name = 'RequestError';
  readonly field: string | undefined;

  constructor(message: string, field?: string, options?: ErrorOptions) {
    super(message, options);
    this.field = field;
  }
}

/** Ends each switch over a union: the compiler rejects the call while a case is missing. */
export function unreachable(value: never): never {
  throw new Error(`unhandled case: ${JSON.stringify(value)}`);
}
