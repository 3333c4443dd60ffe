// Makes dist/ for the npm package: Node strips no types below node_modules, so it holds JavaScript and declarations, a file
// for a file. Run by npm pack and npm publish.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { ensureBuilt } from './build-engine.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SRC = join(ROOT, 'src');
const DIST = join(ROOT, 'dist');
/** What the package exports. */
const ENTRY = join(SRC, 'index.ts');
/** A module of ours: '#folder/file.ts', './file.ts', '../folder/file.ts'. */
const MODULE = /^(#|\.{1,2}\/).*\.ts$/;

/** Sources that run: not tests, not what only they import, not the core, which is built to WebAssembly. */
function isShipped(file: string): boolean {
  if (/(\.test|\.d|(^|\/)testing)\.ts$/.test(file)) return false;
  return file.endsWith('.ts') && !file.startsWith('core/');
}

/** How `from`, a file below src/, names the module `specifier` in the package. */
function moduleName(specifier: string, from: string): string {
  const plain = specifier.replace(/\.ts$/, '.js');
  if (!plain.startsWith('#')) return plain;
  const path = relative(dirname(from), plain.slice(1)).split(sep).join('/');
  return path.startsWith('.') ? path : `./${path}`;
}

/** Renames modules wherever a string names one: imports, and the files of workers. */
function renameModules(from: string): ts.TransformerFactory<ts.SourceFile> {
  return (context) => {
    const visit = (node: ts.Node): ts.Node => {
      if (ts.isStringLiteral(node) && MODULE.test(node.text))
        return context.factory.createStringLiteral(moduleName(node.text, from), true);
      return ts.visitEachChild(node, visit, context);
    };
    return (file) => ts.visitEachChild(file, visit, context);
  };
}

function toJavaScript(file: string): string {
  const { outputText } = ts.transpileModule(readFileSync(join(SRC, file), 'utf8'), {
    fileName: file,
    compilerOptions: {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
    },
    transformers: { before: [renameModules(file)] },
  });
  return outputText;
}

function put(file: string, text: string): void {
  const path = join(DIST, file);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

/** Declarations of the entry and of what they name, by their files below dist/. */
function declarations(): Map<string, string> {
  const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent({ ...config, include: [] }, ts.sys, ROOT);
  const program = ts.createProgram([ENTRY, join(SRC, 'base/webassembly.d.ts')], {
    ...options,
    ...{ noEmit: false, declaration: true, emitDeclarationOnly: true, outDir: DIST, rootDir: SRC },
  });
  const written = new Map<string, string>();
  program.emit(undefined, (path, text) => {
    written.set(relative(DIST, path).split(sep).join('/'), text);
  });
  const needed = new Map<string, string>();
  const add = (file: string): void => {
    if (needed.has(file)) return;
    const text = written.get(file);
    if (text === undefined) throw new Error(`${file}: no declarations were made`);
    const names: string[] = [];
    const renamed = text.replace(
      /(from |import\(|import )'([^']+\.ts)'/g,
      (_, before, specifier) => {
        const name = moduleName(specifier, file);
        names.push(join(dirname(file), name).split(sep).join('/'));
        return `${before}'${name}'`;
      },
    );
    needed.set(file, renamed);
    for (const name of names) add(name.replace(/\.js$/, '.d.ts'));
  };
  add('index.d.ts');
  return needed;
}

await ensureBuilt();
rmSync(DIST, { recursive: true, force: true });
for (const file of readdirSync(SRC, { recursive: true, encoding: 'utf8' })) {
  const name = file.split(sep).join('/');
  if (isShipped(name)) put(name.replace(/\.ts$/, '.js'), toJavaScript(name));
}
for (const [file, text] of declarations()) put(file, text);
