// First: the others use what older versions of Node do not have.
import '#vmm/node-version.ts';
import type { ExplainRequest, Explanation } from '#control/explain.ts';

export { RequestError } from '#base/errors.ts';
export type { ExplainRequest, Explanation } from '#control/explain.ts';
export type { Vm, VmConfig, VmExit, VmStats } from '#control/vm.ts';
export { createVm } from '#vmm/vm.ts';

/** How guest code is translated. Loads the translator, which a virtual machine has on a thread of its own. */
export async function explain(request: ExplainRequest): Promise<Explanation> {
  return (await import('#vmm/explain.ts')).explain(request);
}
