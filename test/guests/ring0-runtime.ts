/**
 * What the small guests of ring 0 stand on, in 32-bit assembly (GNU as): flat segments, an IDT whose handlers print
 * `vector:error` (for #PF also `:CR2`, for #DB `:DR6`) and go on where `try` said, and a page directory.
 */
export const RUNTIME = `
.macro try where
  movl $\\where, resume
  movl %esp, resume_esp
.endm
.macro print value
  pushl \\value
  call print_word
.endm
.macro done
  xor %al, %al
  out %al, $0xf4
  hlt
.endm
.set CODE, 0x08
.set DATA, 0x10
.set ABSENT, 0x18
.set SMALL, 0x20
.set USER_CODE, 0x2b
.set USER_DATA, 0x33
.set TASK, 0x38
.set DOWN, 0x40
_start: mov $stack, %esp
  lgdt gdtr
  ljmp $CODE, $1f
1: mov $DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov $task, %eax
  mov %ax, gdt+TASK+2
  shr $16, %eax
  mov %al, gdt+TASK+4
  mov %ah, gdt+TASK+7
  movl $stack-4096, task+4
  movl $DATA, task+8
  movw $104, task+102
  mov $TASK, %eax
  ltr %ax
  mov $idt, %edi
  mov $stubs, %esi
  mov $32, %ecx
2: mov %esi, %eax
  mov %ax, (%edi)
  movw $CODE, 2(%edi)
  movw $0x8e00, 4(%edi)
  shr $16, %eax
  mov %ax, 6(%edi)
  add $8, %edi
  add $16, %esi
  loop 2b
  orw $0x6000, idt+3*8+4
  lidt idtr
  call body
  done

handler: cld
  mov $DATA, %eax
  mov %eax, %ds
  pushl (%esp)
  call print_byte
  mov $':', %al
  out %al, $0xe9
  pushl 4(%esp)
  call print_half
  cmpl $14, (%esp)
  jne 1f
  mov %cr2, %eax
  jmp 2f
1: cmpl $1, (%esp)
  jne 3f
  mov %dr6, %eax
  and $0xe00f, %eax
  mov $0xffff0ff0, %edx
  mov %edx, %dr6
2: push %eax
  mov $':', %al
  out %al, $0xe9
  call print_word
  jmp 4f
3: mov $' ', %al
  out %al, $0xe9
4: mov $DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov resume_esp, %esp
  pushl $2
  popf
  jmp *resume

print_byte: mov $2, %ecx
  jmp print_digits
print_half: mov $4, %ecx
  jmp print_digits
print_word: mov $8, %ecx
  call 1f
  ret $4
1: mov 8(%esp), %edx
  call digits
  mov $' ', %al
  out %al, $0xe9
  ret
print_digits: mov 4(%esp), %edx
  call digits
  ret $4
digits: push %ecx
  shl $2, %ecx
  neg %ecx
  add $32, %ecx
  shl %cl, %edx
  pop %ecx
1: rol $4, %edx
  mov %edx, %eax
  and $15, %eax
  mov hex(%eax), %al
  out %al, $0xe9
  loop 1b
  ret

# Maps the first 4 MiB to themselves in pages of 4 KiB, user and writable, and turns paging on.
paging: mov $tables, %edi
  mov $7, %eax
  mov $1024, %ecx
1: mov %eax, (%edi)
  add $4, %edi
  add $0x1000, %eax
  loop 1b
  movl $tables+7, directory
  mov $directory, %eax
  mov %eax, %cr3
  mov %cr0, %eax
  or $0x80000000, %eax
  mov %eax, %cr0
  ret

.balign 16
stubs:
.set vector, 0
.rept 32
  .balign 16
  .if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17)
  .else
  pushl $0
  .endif
  pushl $vector
  jmp handler
  .set vector, vector + 1
.endr
.balign 16
.data
hex: .ascii "0123456789abcdef"
.balign 8
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00cf13000000ffff
  .quad 0x0040930000000fff, 0x00cffb000000ffff, 0x00cff3000000ffff, 0x0000890000000067
  .quad 0x0040970000000fff
gdtr: .word 9*8-1
  .long gdt
idtr: .word 32*8-1
  .long idt
.bss
.balign 4096
directory: .skip 4096
tables: .skip 4096
page: .skip 8192
idt: .skip 32*8
task: .skip 104
resume: .skip 4
resume_esp: .skip 4
.skip 8192
stack:
.skip 64
.text
`;
