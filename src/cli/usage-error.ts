import type { CommanderError } from 'commander';
import { RequestError } from '#base/errors.ts';

/** Commander's complaint about the command line, in our words: what is wrong with which word, and what to do. */
export function usageError(error: CommanderError): RequestError {
  const text = error.message.replace(/^error: /, '');
  const quoted = /'([^']*)'/.exec(text)?.[1] ?? '';
  const flag = quoted.split(/[ ,|]+/).find((word) => word.startsWith('--')) ?? quoted;
  switch (error.code) {
    case 'commander.unknownOption':
      if (quoted === '--object')
        return new RequestError('images are not encrypted here, so they need no secret', 'object');
      return new RequestError(`unknown flag '${quoted}'; ${hint(text)}`);
    case 'commander.unknownCommand':
      return new RequestError(`unknown command '${quoted}'; ${hint(text)}`);
    case 'commander.optionMissingArgument':
      return new RequestError(`a value is missing; ${hint(text)}`, flag.replace(/^--/, ''));
    case 'commander.excessArguments':
      return new RequestError('too many words; quote values that contain spaces, or see --help');
    default:
      return new RequestError(`${text.replaceAll(/\s+/g, ' ')}; see --help`);
  }
}

function hint(text: string): string {
  const similar = /\(Did you mean (?:one of )?(.+?)\?\)/.exec(text)?.[1];
  return similar === undefined ? 'see --help' : `did you mean ${similar}?`;
}
