export type { Vm, VmConfig, VmExit, VmStats } from '#control/vm.ts';
export { createVm } from '#vmm/vm.ts';
