export type { ExplainRequest, Explanation } from '#control/explain.ts';
export type { Vm, VmConfig, VmExit, VmStats } from '#control/vm.ts';
export { explain } from '#vmm/explain.ts';
export { createVm } from '#vmm/vm.ts';
