// node tools/node24.mjs [node arguments] script [arguments]: runs a script with a Node that is new enough.
import { complainAboutNode, findNode, runNode } from '../bin/node24.mjs';

const node = findNode();
process.exitCode =
  node === undefined ? complainAboutNode() : await runNode(node, process.argv.slice(2));
