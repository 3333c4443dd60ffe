// Who may import what: the table of docs/ARCHITECTURE.md, section "Import rules".

/** Folder → folders it may import besides itself and base/. `types:` means types only. */
const MAY = {
  base: [],
  isa: [],
  ir: [],
  accel: [],
  hw: [],
  control: [],
  translate: ['isa', 'ir'],
  codegen: ['ir'],
  core: ['ir/(state|state-system|numbers)', 'isa'],
  cpu: ['accel', 'isa', 'ir', 'translate', 'codegen', 'hw'],
  devices: ['hw'],
  machines: ['hw', 'accel', 'devices', 'types:control'],
  vmm: ['machines', 'devices', 'cpu', 'accel', 'hw', 'control', 'ir'],
  guests: [],
  cli: ['index', 'guests', 'control'],
};
const TEST = '\\.test\\.ts$|/testing\\.ts$';
const EDGE = '^src/(vmm|cli|guests|manager|kvm|web|api)/|/node/';

const folders = Object.entries(MAY).map(([folder, allowed]) => {
  const plain = allowed.filter((a) => !a.startsWith('types:'));
  const reachable = [folder, 'base', ...plain].map((a) => `^src/${a}[/.]`);
  const types = allowed.filter((a) => a.startsWith('types:')).map((a) => `^src/${a.slice(6)}/`);
  return {
    name: `imports-of-${folder}`,
    severity: 'error',
    from: { path: `^src/${folder}/`, pathNot: TEST },
    to: { path: '^src/', pathNot: [...reachable, ...types] },
  };
});

export default {
  forbidden: [
    ...folders,
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'machines-take-only-types-of-control',
      severity: 'error',
      from: { path: '^src/machines/', pathNot: TEST },
      to: { path: '^src/control/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'host-apis-at-the-edge',
      severity: 'error',
      from: { path: '^src/', pathNot: [EDGE, TEST] },
      to: { dependencyTypes: ['core'] },
    },
    { name: 'resolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^src/core/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node'] },
  },
};
