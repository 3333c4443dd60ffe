// node tools/node24.mjs [node arguments] script [arguments]: runs a script with a Node that is new enough.
import { findNode, NO_NODE, runNode } from '../bin/node24.mjs';

const node = findNode();
if (node === undefined) {
  process.stderr.write(NO_NODE);
  process.exitCode = 1;
} else {
  process.exitCode = await runNode(node, process.argv.slice(2));
}
