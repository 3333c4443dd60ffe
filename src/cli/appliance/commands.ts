import type { Command } from 'commander';
import type { ImageContext } from '../image/context.ts';
import type { ExportFlags, ImportFlags } from './appliance.ts';

const HELP = `
Examples:
  ring0 appliance info machine.ova
  ring0 appliance import machine.ova -o machine/
  ring0 appliance export machine.ova disk.qcow2 --memory 2G --cpus 2`;

type Start = (
  flags: { readonly progress?: boolean },
  run: (context: ImageContext) => Promise<number>,
) => Promise<void>;

/** Adds the commands of `ring0 appliance`, which `start` runs. */
export function defineAppliance(appliance: Command, start: Start): void {
  appliance.helpCommand(false).addHelpText('after', HELP);
  appliance
    .command('info <file>')
    .description('what is in an .ovf or .ova, and whether it is as it was made')
    .action((file: string) =>
      start({}, async (context) => (await import('./appliance.ts')).applianceInfo(file, context)),
    );
  appliance
    .command('import <file>')
    .description('copy the disks of a package, when its manifest fits')
    .option('-o, --output <folder>', 'where to', '.')
    .option('-O, --target-format <name>', 'format of the copies', 'qcow2')
    .option('-p, --progress', 'show progress in percent on standard output')
    .action((file: string, flags: ImportFlags) =>
      start(flags, async (context) =>
        (await import('./appliance.ts')).applianceImport(file, flags, context),
      ),
    );
  appliance
    .command('export <file> <disk...>')
    .description('make an .ova of disks')
    .option('-n, --name <name>', 'of the machine (default: that of the file)')
    .option('-f, --format <name>', 'format of the disks; probed when it is not named')
    .option('-m, --memory <size>', 'memory', '1G')
    .option('-c, --cpus <count>', 'processors', '1')
    .action((file: string, disks: string[], flags: ExportFlags) =>
      start({}, async (context) =>
        (await import('./appliance.ts')).applianceExport(file, disks, flags, context),
      ),
    );
}
