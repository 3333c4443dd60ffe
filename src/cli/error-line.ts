import type { RequestError } from '#base/errors.ts';

/** What a user is told of a mistake. */
export function errorLine({ field, message }: Pick<RequestError, 'field' | 'message'>): string {
  const flag = field === undefined ? '' : `--${field}: `;
  return `ring0: ${flag}${oneLine(message)}\n`;
}

/** Names may have characters that are no text: a terminal would obey them. */
export function oneLine(message: string): string {
  return message.replace(
    /\p{Cc}/gu,
    (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
