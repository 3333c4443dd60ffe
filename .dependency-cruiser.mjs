// The import rules of src/ (docs/ARCHITECTURE.md). Tests and tools may import anything.

/**
 * What a folder of src/ may import besides itself and base/: `values` anything, `types` by `import type` only.
 * A name without a slash is a folder; with one, a pattern for paths below src/.
 */
const ALLOWED = {
  base: {},
  isa: {},
  ir: {},
  accel: {},
  hw: {},
  storage: {},
  network: {},
  display: {},
  control: {},
  symbols: {},
  'api/contract': {},
  translate: { values: ['isa', 'ir'] },
  codegen: { values: ['ir'] },
  // AssemblyScript compiles what it imports: files of constants only.
  core: { values: ['ir/(state[a-z-]*|numbers)\\.ts$', 'isa/'] },
  cpu: { values: ['accel', 'isa', 'ir', 'translate', 'codegen', 'hw'] },
  kvm: { values: ['accel', 'isa'] },
  devices: { values: ['hw'], types: ['storage', 'network', 'display'] },
  machines: {
    values: ['hw', 'accel', 'devices'],
    types: ['control', 'storage', 'network', 'display'],
  },
  vmm: {
    values: [
      ...['machines', 'devices', 'cpu', 'kvm', 'accel', 'hw', 'ir', 'translate', 'symbols'],
      ...['storage', 'network', 'display', 'control'],
    ],
  },
  manager: { values: ['control', 'storage', 'network'] },
  'api/rest': { values: ['api/contract', 'manager'] },
  'api/ec2': { values: ['api/contract', 'manager'] },
  guests: { values: ['storage'] },
  // `ring0 image` works on files in the user's hands, with no daemon between.
  cli: { values: ['api/contract', 'guests', 'control', 'storage', 'index\\.ts$'] },
  web: { values: ['api/contract'] },
  'index.ts': { values: ['vmm', 'control', 'guests'] },
};

/** Where Node's own modules may be used; everything else also runs in a browser tab. */
const EDGE = '^src/(kvm|vmm|manager|api/(rest|ec2)|guests|cli|web)/|/node/';

/** Tests and what only they import. */
const TEST = '(\\.test|/testing)\\.ts$';

function path(name) {
  const isFolder = /^[a-z0-9]+(\/[a-z0-9]+)?$/.test(name);
  return `^src/${name}${isFolder ? '/' : ''}`;
}

function folderRules([folder, { values = [], types = [] }]) {
  const from = { path: path(folder), pathNot: TEST };
  const own = [path(folder), '^src/base/'];
  const rule = { severity: 'error', from };
  return [
    {
      ...rule,
      name: `${folder}-imports`,
      comment: `src/${folder} may not import this folder: see ALLOWED in .dependency-cruiser.mjs`,
      to: { path: '^src/', pathNot: [...own, ...[...values, ...types].map(path)] },
    },
    ...(types.length === 0
      ? []
      : [
          {
            ...rule,
            name: `${folder}-types-only`,
            comment: `src/${folder} may import types from there, and nothing else`,
            to: { path: types.map(path), dependencyTypesNot: ['type-only'] },
          },
        ]),
  ];
}

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    ...Object.entries(ALLOWED).flatMap(folderRules),
    {
      name: 'unknown-folder',
      comment: 'a new folder of src/ needs its row in ALLOWED in .dependency-cruiser.mjs',
      severity: 'error',
      from: { path: '^src/', pathNot: [TEST, ...Object.keys(ALLOWED).map(path)] },
      to: {},
    },
    {
      name: 'sibling-devices',
      comment: 'a device is built of its own files and of what the bus gives all its devices',
      severity: 'error',
      from: { path: '^src/devices/((?:pc|pci|virtio)/[a-z0-9]+|[a-z0-9]+)', pathNot: TEST },
      to: {
        path: '^src/devices/',
        pathNot: [
          '^src/devices/$1[-./]',
          '^src/devices/pci/',
          '^src/devices/virtio/(queue\\.ts$|transport/)',
        ],
      },
    },
    {
      name: 'host-only-at-the-edge',
      comment: 'node:* is for the folders in EDGE in .dependency-cruiser.mjs',
      severity: 'error',
      from: { path: '^src/', pathNot: [TEST, EDGE] },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'borders-are-crossed-with-#',
      comment: "across folders: '#hw/device.ts'",
      severity: 'error',
      from: { path: '^src/([^/]+)/', pathNot: [TEST, '^src/core/'] },
      to: {
        path: '^src/',
        pathNot: '^src/$1/',
        dependencyTypesNot: ['aliased-subpath-import'],
      },
    },
    {
      name: 'within-a-folder-relative',
      comment: "within a folder: './device.ts'",
      severity: 'error',
      from: { path: '^src/([^/]+)/', pathNot: TEST },
      to: { path: '^src/$1/', dependencyTypes: ['aliased-subpath-import'] },
    },
    {
      name: 'product-imports-no-tests-or-tools',
      severity: 'error',
      from: { path: '^(src|bin)/', pathNot: TEST },
      to: { path: ['^(test|tools|bench|fuzz)/', TEST] },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'resolvable',
      comment: 'no such file, or a package that package.json does not list',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'runtime-packages',
      comment: 'what the product imports stands in dependencies',
      severity: 'error',
      from: { path: '^(src|bin)/', pathNot: TEST },
      to: { dependencyTypes: ['npm-dev', 'npm-optional', 'npm-no-pkg', 'npm-unknown'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^build/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['node', 'import', 'default'],
      extensions: ['.ts', '.mjs', '.js', '.json'],
    },
  },
};
