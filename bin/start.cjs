// What bin/ring0 gives to Node. CommonJS, for the loader of ES modules takes 12 ms: `image` does without.
'use strict';
const { isCurrent, openBundle, runBundle } = require('./bundle.cjs');

/** `main` and `processHost` of src/cli, in one script; undefined: it is not there, or of other sources than those that are. */
function bundle() {
  try {
    const { exports, sources } = runBundle(openBundle());
    return isCurrent(sources) ? exports : undefined;
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

const args = process.argv.slice(2);
const image = args[0] === 'image' ? bundle() : undefined;
if (image === undefined) void import('./ring0.mjs');
else {
  const host = image.processHost();
  image.main(args, host).then((status) => {
    process.exitCode = status;
    // What Node does at its end takes 3 ms. A stream tells of an error when this turn is over.
    setImmediate(() => {
      if (host.isWritten()) process.exit();
    });
  });
}
