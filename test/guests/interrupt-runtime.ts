/**
 * What guests for interrupt controllers and timers stand on, beside RUNTIME: handlers for all vectors from 0x20, chips
 * brought to a known state before each section, and words for what the tests do. A handler prints `iVV` and ends the
 * interrupt as `hook` has it; with `quiet` set it only counts in `counts`. Time is that of the TSC, a nanosecond a tick.
 */
export const INTERRUPT_RUNTIME = `
# The guest is what stands at body, once.
_start: xor %ebx, %ebx
  mov $1, %ecx
  jmp begin
bodies: .long body
.set PIC1, 0x20
.set PIC2, 0xa0
.set COM1, 0x3f8
.set COM2, 0x2f8
.set LAPIC, 0xfee00000
.set IOAPIC, 0xfec00000
.set HPET, 0xfed00000
.macro outb port value
  movw $\\port, %dx
  movb $\\value, %al
  out %al, %dx
.endm
.macro inb port
  movw $\\port, %dx
  in %dx, %al
.endm
# Prints AL, AX or EAX.
.macro show8
  movzbl %al, %eax
  push %eax
  call print_byte
  call space
.endm
.macro show16
  movzwl %ax, %eax
  push %eax
  call print_half
  call space
.endm
.macro show
  push %eax
  call print_word
.endm
.macro tell character
  mov $\\character, %al
  out %al, $0xe9
  call space
.endm
# Prints how often the vector has come since the section began.
.macro count vector
  mov counts+4*\\vector, %eax
  show8
.endm
# Lets through what waits.
.macro allow
  sti
  nop
  nop
  cli
.endm
.macro apic register value
  movl $\\value, LAPIC+\\register
.endm
# The low half of the entry of an I/O APIC pin; the destination is APIC 0.
.macro entry pin value
  movl $0x10+2*\\pin, IOAPIC
  movl $\\value, IOAPIC+0x10
.endm
.macro show_entry pin
  movl $0x10+2*\\pin, IOAPIC
  mov IOAPIC+0x10, %eax
  show
.endm
.macro wrmsr_at msr low
  mov $\\msr, %ecx
  mov $\\low, %eax
  xor %edx, %edx
  wrmsr
.endm
.macro ns time
  mov $\\time, %ebx
  call spin
.endm
# Begins a measurement; \`took\` prints Y when at least the given ns are over since, and N when it was too early.
.macro begin
  rdtsc
  mov %eax, began
.endm
.macro took least
  mov $\\least, %ebx
  call print_took
.endm
# Waits in HLT until the vector has come so often.
.macro await vector times
await\\@: cmpl $\\times, counts+4*\\vector
  jae awaited\\@
  sti
  hlt
  cli
  jmp await\\@
awaited\\@:
.endm
# The line of a serial port: up when its transmitter's interrupt is enabled.
.macro raise port
  outb \\port+1 2
.endm
.macro lower port
  outb \\port+1 0
.endm

space: push %eax
  mov $' ', %al
  out %al, $0xe9
  pop %eax
  ret
# Busy for EBX ns.
spin: push %eax
  push %edx
  push %esi
  rdtsc
  mov %eax, %esi
1: rdtsc
  sub %esi, %eax
  cmp %ebx, %eax
  jb 1b
  pop %esi
  pop %edx
  pop %eax
  ret
print_took: rdtsc
  sub began, %eax
  cmp %ebx, %eax
  mov $'Y', %al
  jae 1f
  mov $'N', %al
1: out %al, $0xe9
  jmp space

# Gives the interrupt table its upper part. In front of all sections.
interrupts: mov $idt, %esi
  mov $full_idt, %edi
  mov $32*8/4, %ecx
  rep movsl
  mov $irq_stubs, %esi
  mov $256-32, %ecx
  call gates
  lidt full_idtr
  mov $full_idt+2*8, %edi
  mov $nmi_stub, %esi
  mov $1, %ecx
gates: mov %esi, %eax
  mov %ax, (%edi)
  movw $CODE, 2(%edi)
  movw $0x8e00, 4(%edi)
  shr $16, %eax
  mov %ax, 6(%edi)
  add $8, %edi
  add $16, %esi
  loop gates
  ret

irq_handler: cld
  pusha
  mov 32(%esp), %ebx
  incl counts(,%ebx,4)
  cmpb $0, quiet
  jne 1f
  mov $'i', %al
  out %al, $0xe9
  push %ebx
  call print_byte
  call space
1: call *hook
  popa
  add $4, %esp
  iret

no_eoi: ret
lapic_eoi: movl $0, LAPIC+0xb0
  ret
pic_eoi: mov $0x20, %al
  cmp $0x28, %bl
  jb 1f
  out %al, $PIC2
1: out %al, $PIC1
  ret
com1_lower: lower COM1
  movl $0, LAPIC+0xb0
  ret

# Before each section: nothing pending, nothing in service, all masked, PIC at 0x20 and 0x28, local APIC on.
fresh: cli
  lower COM1
  lower COM2
  outb COM1+4 8
  outb COM2+4 8
1: inb 0x64
  test $1, %al
  jz 1f
  inb 0x60
  jmp 1b
1: outb 0x70 0x0b
  outb 0x71 0x02
  outb 0x70 0x0c
  inb 0x71
  movl $0, HPET+0x10
  movl $0, HPET+0x100
  movl $0, HPET+0x120
  movl $7, HPET+0x20
  outb 0x43 0x30
  outb 0x4d0 0
  outb 0x4d1 0
  outb PIC1 0x11
  outb PIC1+1 0x20
  outb PIC1+1 4
  outb PIC1+1 1
  outb PIC2 0x11
  outb PIC2+1 0x28
  outb PIC2+1 2
  outb PIC2+1 1
  outb PIC1+1 0xff
  outb PIC2+1 0xff
  mov $0x10, %ecx
1: mov %ecx, IOAPIC
  movl $0x10000, IOAPIC+0x10
  inc %ecx
  mov %ecx, IOAPIC
  movl $0, IOAPIC+0x10
  inc %ecx
  cmp $0x40, %ecx
  jb 1b
  apic 0x80 0
  apic 0xd0 0x01000000
  apic 0xe0 0xffffffff
  apic 0xf0 0x1ff
  apic 0x320 0x10000
  apic 0x350 0x700
  apic 0x360 0x400
  apic 0x370 0x10000
  apic 0x380 0
  movb $1, quiet
  movl $lapic_eoi, hook
  mov $32, %ecx
1: apic 0xb0 0
  allow
  loop 1b
  apic 0x280 0
  mov $counts, %edi
  xor %eax, %eax
  mov $256, %ecx
  rep stosl
  movb $0, quiet
  ret

.balign 16
irq_stubs:
.set vector, 32
.rept 256-32
  .balign 16
  pushl $vector
  jmp irq_handler
  .set vector, vector + 1
.endr
.balign 16
nmi_stub: pushl $2
  jmp irq_handler
.data
full_idtr: .word 256*8-1
  .long full_idt
.bss
.balign 8
full_idt: .skip 256*8
counts: .skip 256*4
hook: .skip 4
began: .skip 4
quiet: .skip 4
.text
`;
