//! The sandbox process: holds a Pod's namespaces, reaps orphans, ends when told to.
//!
//! No standard library: one page of code, a few kilobytes of memory per Pod. It never handles a
//! signal: it blocks the three it knows and takes them one by one, which also works as PID 1.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

const SIGINT: u64 = 2;
const SIGTERM: u64 = 15;
const SIGCHLD: u64 = 17;

const SYS_RT_SIGPROCMASK: u64 = 14;
const SYS_WAIT4: u64 = 61;
const SYS_RT_SIGTIMEDWAIT: u64 = 128;
const SYS_EXIT_GROUP: u64 = 231;

const SIG_BLOCK: u64 = 0;
const WNOHANG: u64 = 1;
const ANY_CHILD: u64 = -1_i64 as u64;
/// The kernel's signal set is 64 bits wide.
const SET_BYTES: u64 = 8;

// The kernel enters without a return address: align the stack, then call.
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call {main}", "ud2", main = sym main);

extern "C" fn main() -> ! {
    let set: u64 = [SIGINT, SIGTERM, SIGCHLD].iter().fold(0, |set, signal| set | 1 << (signal - 1));
    let set = &raw const set as u64;
    syscall(SYS_RT_SIGPROCMASK, [SIG_BLOCK, set, 0, SET_BYTES]);
    loop {
        match syscall(SYS_RT_SIGTIMEDWAIT, [set, 0, 0, SET_BYTES]) as u64 {
            SIGINT | SIGTERM => exit(0),
            SIGCHLD => while syscall(SYS_WAIT4, [ANY_CHILD, 0, WNOHANG, 0]) > 0 {},
            // Interrupted by a debugger or a stop: wait again.
            _ => {}
        }
    }
}

fn exit(code: u64) -> ! {
    loop {
        syscall(SYS_EXIT_GROUP, [code, 0, 0, 0]);
    }
}

fn syscall(number: u64, [a, b, c, d]: [u64; 4]) -> i64 {
    let result: i64;
    // SAFETY: the four calls above read at most the signal set, which outlives them, and write nothing.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    exit(1)
}
