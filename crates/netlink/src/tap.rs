//! Taps: making a persistent one, and attaching to its queues.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::ioctl::{self, Setter, opcode};

const IFF_TAP: u16 = 0x0002;
const IFF_MULTI_QUEUE: u16 = 0x0100;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;

const TUNSETIFF: ioctl::Opcode = opcode::write::<i32>(b'T', 202);
const TUNSETPERSIST: ioctl::Opcode = opcode::write::<i32>(b'T', 203);
const TUNSETOWNER: ioctl::Opcode = opcode::write::<i32>(b'T', 204);

/// Longest name of an interface, without the terminating zero.
const NAME_MAX: usize = 15;

/// `struct ifreq` as the tun driver reads it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME_MAX + 1],
    flags: u16,
    rest: [u8; 22],
}

/// Makes the tap `name`, or takes over the one that exists, in this thread's network namespace: persistent, and open to
/// `owner` without privileges. Needs CAP_NET_ADMIN. A tap with several queues takes only users that ask for several.
pub fn create(tun: &Path, name: &str, owner: u32, multi_queue: bool) -> io::Result<()> {
    let file = attach(tun, name, multi_queue)?;
    set(&file, TUNSETOWNER, owner as usize)?;
    set(&file, TUNSETPERSIST, 1)
}

/// Attaches to `queues` queues of the tap `name`; the descriptors carry virtio-net headers.
pub fn open(tun: &Path, name: &str, queues: u32) -> io::Result<Vec<OwnedFd>> {
    (0..queues).map(|_| attach(tun, name, queues > 1).map(OwnedFd::from)).collect()
}

fn attach(tun: &Path, name: &str, multi_queue: bool) -> io::Result<File> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an interface's name has 1 to 15 bytes"));
    }
    let file = OpenOptions::new().read(true).write(true).open(tun)?;
    rustix::io::ioctl_fionbio(&file, true)?;
    let queues = if multi_queue { IFF_MULTI_QUEUE } else { 0 };
    let flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | queues;
    let mut request = InterfaceRequest { name: [0; NAME_MAX + 1], flags, rest: [0; 22] };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF reads one `struct ifreq` (40 bytes), which `InterfaceRequest` has the size and layout of.
    unsafe { ioctl::ioctl(file.as_fd(), Setter::<TUNSETIFF, InterfaceRequest>::new(request))? };
    Ok(file)
}

/// An ioctl of the tun driver whose argument is the number itself.
fn set(file: &File, code: ioctl::Opcode, value: usize) -> io::Result<()> {
    struct Number(ioctl::Opcode, usize);
    // SAFETY: both callers' codes take an integer in place of the pointer and write nothing back.
    unsafe impl ioctl::Ioctl for Number {
        type Output = ();
        const IS_MUTATING: bool = false;
        fn opcode(&self) -> ioctl::Opcode {
            self.0
        }
        fn as_ptr(&mut self) -> *mut std::ffi::c_void {
            self.1 as *mut std::ffi::c_void
        }
        unsafe fn output_from_ptr(_: ioctl::IoctlOutput, _: *mut std::ffi::c_void) -> rustix::io::Result<()> {
            Ok(())
        }
    }
    // SAFETY: see the implementation above.
    unsafe { ioctl::ioctl(file.as_fd(), Number(code, value))? };
    Ok(())
}
