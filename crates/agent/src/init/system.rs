//! What a kernel leaves to init.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{mkdir, sync};
use rustix::mount::{MountFlags, mount};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::system::RebootCommand;

const MOUNTS: [(&str, &str); 4] =
    [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp")];
const EFI_VARIABLES: &str = "/sys/firmware/efi/efivars";

/// File systems, and the console as standard streams.
pub fn set_up() -> io::Result<()> {
    for (kind, place) in MOUNTS {
        attach(kind, place)?;
    }
    let console = File::options().read(true).write(true).open("/dev/console")?;
    dup2_stdin(&console)?;
    dup2_stdout(&console)?;
    dup2_stderr(&console)?;
    Ok(())
}

/// The firmware's variables, whose file system is a module. A firmware without them still boots a disk by the default path.
pub fn attach_efi_variables() {
    if Path::new(EFI_VARIABLES).exists()
        && let Err(error) = attach("efivarfs", EFI_VARIABLES)
    {
        tracing::warn!(%error, "no boot entry can be made");
    }
}

fn attach(kind: &str, place: &str) -> io::Result<()> {
    match mkdir(place, 0o755.into()) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    match mount(kind, place, kind, MountFlags::empty(), None) {
        // The kernel may have put devices in place already.
        Ok(()) | Err(rustix::io::Errno::BUSY) => Ok(()),
        Err(error) => Err(io::Error::other(format!("mount {kind} on {place}: {error}"))),
    }
}

/// Ends the machine.
pub fn end(how: RebootCommand) -> ! {
    sync();
    let error = rustix::system::reboot(how);
    eprintln!("scute agent: the kernel does not {how:?}: {error:?}");
    loop {
        std::thread::park();
    }
}
