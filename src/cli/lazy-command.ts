import type { Command } from 'commander';

/** Adds a command, `words` are its name and operands, with `define` for its flags and for commands of its own. */
export type AddCommand = (
  parent: Command,
  words: string,
  about: string,
  define: (command: Command) => void,
) => void;

/** Defines those commands that a command line names: to make the flags of all takes longer than many a command does. */
export function definingNamed(argv: readonly string[]): AddCommand {
  return (parent, words, about, define) => {
    const command = parent.command(words).description(about);
    if (argv.includes(command.name())) define(command);
  };
}
