//! The whole initial ramdisk of a Node: loads what a virtual disk needs, mounts the root, steps aside.
//!
//! A general initramfs runs udev and shell scripts for seconds on an emulated CPU. This one knows its
//! machine: modules in the order of `/modules/order` (a blank line ends the set that is always loaded;
//! the rest is for disks on other buses), a root given as a device, `LABEL=` or `UUID=`.
use std::ffi::{CString, c_char, c_int, c_long, c_ulong, c_void};
use std::fs::{self, File};
use std::io::{Error, Read, Result, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const SYS_FINIT_MODULE: c_long = 313;
const MS_RDONLY: c_ulong = 1;
const MS_MOVE: c_ulong = 8192;
const AF_NETLINK: c_int = 16;
const SOCK_RAW: c_int = 3;
const SOCK_CLOEXEC: c_int = 0o2000000;
const NETLINK_KOBJECT_UEVENT: c_int = 15;
const SOL_SOCKET: c_int = 1;
const SO_RCVTIMEO: c_int = 20;

unsafe extern "C" {
    fn mount(source: *const c_char, target: *const c_char, kind: *const c_char, flags: c_ulong, data: *const c_void) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn chroot(path: *const c_char) -> c_int;
    fn execv(path: *const c_char, argv: *const *const c_char) -> c_int;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn bind(socket: c_int, address: *const c_void, length: u32) -> c_int;
    fn setsockopt(socket: c_int, level: c_int, name: c_int, value: *const c_void, length: u32) -> c_int;
    fn recv(socket: c_int, buffer: *mut c_void, length: usize, flags: c_int) -> isize;
}

fn main() {
    // PID 1 must not return: the kernel would panic without saying why.
    let error = boot().expect_err("a booted init does not come back");
    eprintln!("initrd: {error}");
    std::process::exit(1);
}

fn boot() -> Result<std::convert::Infallible> {
    attach("proc", "/proc", "proc", 0)?;
    attach("sysfs", "/sys", "sysfs", 0)?;
    attach("devtmpfs", "/dev", "devtmpfs", 0)?;
    let command_line = fs::read_to_string("/proc/cmdline")?;
    let option = |name: &str| command_line.split_whitespace().filter_map(|word| word.strip_prefix(name)).last();
    let wanted = option("root=").unwrap_or("LABEL=scute-node");
    let read_only = !command_line.split_whitespace().any(|word| word == "rw");

    let events = Events::listen()?;
    let order = fs::read_to_string("/modules/order")?;
    let (always, others) = order.split_once("\n\n").unwrap_or((&order, ""));
    load(always)?;
    let root = match find(wanted) {
        Some(root) => root,
        None => {
            load(others)?;
            events.wait_for(|| find(wanted)).ok_or_else(|| Error::other(format!("no disk is {wanted}")))?
        }
    };
    let flags = if read_only { MS_RDONLY } else { 0 };
    attach(&root.to_string_lossy(), "/root", "ext4", flags)?;
    step_aside(option("init=").unwrap_or("/sbin/init"))
}

/// Loads modules by name. One that the kernel has, or that finds no device, is no failure.
fn load(names: &str) -> Result<()> {
    for name in names.lines().filter(|name| !name.is_empty()) {
        let file = File::open(format!("/modules/{name}"))?;
        // SAFETY: an open file, an empty C string and no flags, as finit_module(2) wants them.
        if unsafe { syscall(SYS_FINIT_MODULE, file.as_raw_fd(), c"".as_ptr(), 0) } != 0 {
            eprintln!("initrd: {name}: {}", Error::last_os_error());
        }
    }
    Ok(())
}

/// The device of the root file system, once it is there.
fn find(wanted: &str) -> Option<PathBuf> {
    let (what, value) = match wanted.split_once('=') {
        None => return Path::new(wanted).exists().then(|| wanted.into()),
        Some(pair) => pair,
    };
    let devices = fs::read_dir("/sys/class/block").ok()?;
    devices.flatten().map(|device| Path::new("/dev").join(device.file_name())).find(|device| {
        superblock(device).is_ok_and(|block| match what {
            "LABEL" => label(&block) == value.as_bytes(),
            "UUID" => uuid(&block) == value,
            _ => false,
        })
    })
}

/// The ext4 superblock: 1024 bytes from the start, with its magic number at 56.
fn superblock(device: &Path) -> Result<[u8; 1024]> {
    let mut block = [0; 1024];
    let mut file = File::open(device)?;
    file.seek(SeekFrom::Start(1024))?;
    file.read_exact(&mut block)?;
    if block[56..58] != [0x53, 0xef] {
        return Err(Error::other("not ext4"));
    }
    Ok(block)
}

fn label(block: &[u8; 1024]) -> &[u8] {
    let name = &block[120..136];
    &name[..name.iter().position(|byte| *byte == 0).unwrap_or(name.len())]
}

fn uuid(block: &[u8; 1024]) -> String {
    let hex: Vec<_> = block[104..120].iter().map(|byte| format!("{byte:02x}")).collect();
    [0..4, 4..6, 6..8, 8..10, 10..16].map(|range| hex[range].concat()).join("-")
}

/// The kernel's announcements of new devices.
struct Events(c_int);

impl Events {
    fn listen() -> Result<Self> {
        // struct sockaddr_nl: family, padding, port (the kernel chooses), groups (1: the kernel's own).
        let address: [u32; 3] = [AF_NETLINK as u32, 0, 1];
        let second: [c_long; 2] = [1, 0];
        // SAFETY: plain socket calls with pointers to locals of the given lengths.
        unsafe {
            // Closed on exec: systemd would take an inherited one for udev's, which then hears nothing.
            let events = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
            if events < 0 || bind(events, address.as_ptr().cast(), 12) != 0 {
                return Err(Error::last_os_error());
            }
            // So that patience can run out when nothing is announced any more.
            setsockopt(events, SOL_SOCKET, SO_RCVTIMEO, second.as_ptr().cast(), 16);
            Ok(Events(events))
        }
    }

    fn wait_for<T>(&self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let started = Instant::now();
        let mut message = [0_u8; 8192];
        loop {
            if let found @ Some(_) = look() {
                return found;
            }
            if started.elapsed() > PATIENCE {
                return None;
            }
            // SAFETY: the buffer is as long as said. What the message says does not matter.
            unsafe { recv(self.0, message.as_mut_ptr().cast(), message.len(), 0) };
        }
    }
}

fn step_aside(init: &str) -> Result<std::convert::Infallible> {
    // Frees the memory; the running program keeps its own pages.
    for path in ["/modules", "/init"] {
        let _ = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
    }
    for name in ["/dev", "/proc", "/sys"] {
        attach(name, &format!("/root{name}"), "", MS_MOVE)?;
    }
    std::env::set_current_dir("/root")?;
    attach(".", "/", "", MS_MOVE)?;
    let init = CString::new(init)?;
    let argv = [init.as_ptr(), std::ptr::null()];
    // SAFETY: C strings that live until the process is replaced.
    unsafe {
        if chroot(c".".as_ptr()) == 0 {
            let _ = std::env::set_current_dir("/");
            execv(init.as_ptr(), argv.as_ptr());
        }
    }
    Err(Error::last_os_error())
}

fn attach(source: &str, target: &str, kind: &str, flags: c_ulong) -> Result<()> {
    let (from, to, of) = (CString::new(source)?, CString::new(target)?, CString::new(kind)?);
    // SAFETY: C strings that outlive the call; no file system here takes data.
    match unsafe { mount(from.as_ptr(), to.as_ptr(), of.as_ptr(), flags, std::ptr::null()) } {
        0 => Ok(()),
        _ => Err(Error::other(format!("mount {source} on {target}: {}", Error::last_os_error()))),
    }
}
