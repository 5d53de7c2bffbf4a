//! Drivers: for every device that the kernel finds, the modules that its alias names, as udev would load them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink, recv, socket_with};

/// Loaded without a device that asks for them: disks on a bus, their file systems.
const ALWAYS: [&str; 6] = ["sd_mod", "sr_mod", "nls_cp437", "nls_ascii", "vfat", "efivarfs"];
/// Devices appear behind devices; after this long without a new one all are there.
const QUIET: Duration = Duration::from_millis(300);
/// A controller that finds devices for ever is not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Loads the drivers of all devices, and of those that these bring.
pub fn load_all() -> io::Result<()> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut modules = Modules::read(&Path::new("/lib/modules").join(release))?;
    // Opened first: what appears from now on is heard.
    let events = Events::listen()?;
    for name in ALWAYS {
        modules.load(name);
    }
    let started = Instant::now();
    loop {
        for alias in aliases(Path::new("/sys/devices")) {
            modules.load_for(&alias);
        }
        if started.elapsed() > PATIENCE || !events.within(QUIET)? {
            tracing::info!(modules = modules.loaded.len(), "drivers are loaded");
            return Ok(());
        }
    }
}

/// The aliases of all devices below a folder of sysfs.
fn aliases(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if entry.file_name() == "modalias"
                && let Ok(alias) = fs::read_to_string(entry.path())
            {
                found.insert(alias.trim().to_owned());
            }
        }
    }
    found
}

/// What there is to load.
struct Modules {
    folder: PathBuf,
    /// Pattern and name, as `modules.alias` has them.
    aliases: Vec<(String, String)>,
    /// Name to its file and the files that it needs, farthest last.
    files: BTreeMap<String, Vec<PathBuf>>,
    loaded: BTreeSet<PathBuf>,
    known: BTreeSet<String>,
}

impl Modules {
    fn read(folder: &Path) -> io::Result<Self> {
        let text = |name: &str| fs::read_to_string(folder.join(name));
        Ok(Modules {
            folder: folder.to_path_buf(),
            aliases: parse_aliases(&text("modules.alias")?),
            files: parse_dependencies(&text("modules.dep")?),
            loaded: BTreeSet::new(),
            known: BTreeSet::new(),
        })
    }

    fn load_for(&mut self, alias: &str) {
        if !self.known.insert(alias.to_owned()) {
            return;
        }
        let named = |(pattern, name): &(String, String)| matches(pattern, alias).then(|| name.clone());
        let names: Vec<String> = self.aliases.iter().filter_map(named).collect();
        for name in names {
            self.load(&name);
        }
    }

    /// A driver that does not load is told; the others may be enough.
    fn load(&mut self, name: &str) {
        let files = self.files.get(name).cloned().unwrap_or_default();
        for file in files.iter().rev() {
            if self.loaded.insert(file.clone())
                && let Err(error) = insert(&self.folder.join(file))
            {
                tracing::warn!(module = %file.display(), %error, "a driver is not loaded");
            }
        }
    }
}

fn insert(path: &Path) -> io::Result<()> {
    match rustix::system::finit_module(&File::open(path)?, c"", 0) {
        // There already, or for other hardware.
        Ok(()) | Err(rustix::io::Errno::EXIST | rustix::io::Errno::NODEV) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Lines of `alias PATTERN NAME`.
fn parse_aliases(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let (pattern, name) = line.strip_prefix("alias ")?.rsplit_once(' ')?;
        Some((pattern.to_owned(), name.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// Lines of `FILE: NEED...`, the nearest need first.
fn parse_dependencies(text: &str) -> BTreeMap<String, Vec<PathBuf>> {
    let line = |line: &str| {
        let (file, needs) = line.split_once(':')?;
        let name = Path::new(file).file_name()?.to_str()?.split('.').next()?.replace('-', "_");
        Some((name, std::iter::once(file).chain(needs.split_whitespace()).map(PathBuf::from).collect()))
    };
    text.lines().filter_map(line).collect()
}

/// Shell patterns as aliases have them: `*`, `?`, and sets of characters in brackets.
fn matches(pattern: &str, text: &str) -> bool {
    glob(pattern.as_bytes(), text.as_bytes())
}

fn glob(mut pattern: &[u8], mut text: &[u8]) -> bool {
    // Where to go on when the characters after the last star do not fit.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, text) {
            ([b'*', rest @ ..], _) => {
                star = Some((rest, text));
                pattern = rest;
                continue;
            }
            ([], []) => return true,
            (_, [first, rest_of_text @ ..]) => {
                if let Some(rest) = one(pattern, *first) {
                    (pattern, text) = (rest, rest_of_text);
                    continue;
                }
            }
            _ => {}
        }
        match star {
            Some((rest, [_, shorter @ ..])) => {
                star = Some((rest, shorter));
                (pattern, text) = (rest, shorter);
            }
            _ => return false,
        }
    }
}

/// The rest of the pattern when its first element is this character.
fn one(pattern: &[u8], character: u8) -> Option<&[u8]> {
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|byte| *byte == b']')?;
            let (mut set, rest) = (&rest[..end], &rest[end + 1..]);
            loop {
                match set {
                    [low, b'-', high, ..] if (*low..=*high).contains(&character) => return Some(rest),
                    [_, b'-', _, others @ ..] => set = others,
                    [only, ..] if *only == character => return Some(rest),
                    [_, others @ ..] => set = others,
                    [] => return None,
                }
            }
        }
        [first, rest @ ..] => (*first == character).then_some(rest),
        [] => None,
    }
}

/// The kernel's announcements of new devices.
struct Events(std::os::fd::OwnedFd);

impl Events {
    fn listen() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = Some(netlink::KOBJECT_UEVENT);
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        // Group 1 is the kernel's own.
        bind(&socket, &netlink::SocketAddrNetlink::new(0, 1))?;
        Ok(Events(socket))
    }

    /// Whether something was announced within this time; takes all that is there.
    fn within(&self, time: Duration) -> io::Result<bool> {
        let limit = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
        let heard = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&limit))? > 0;
        let mut scratch = [0; 8192];
        loop {
            match recv(&self.0, &mut scratch[..], RecvFlags::TRUNC) {
                Ok(_) | Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(heard),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_match_as_the_shell_does() {
        for (pattern, alias, fits) in [
            (
                "pci:v00008086d00001533sv*sd*bc*sc*i*",
                "pci:v00008086d00001533sv00001849sd00001533bc02sc00i00",
                true,
            ),
            (
                "pci:v00008086d00001533sv*sd*bc*sc*i*",
                "pci:v00008086d00001539sv00001849sd00001533bc02sc00i00",
                false,
            ),
            ("pci:v*d*sv*sd*bc01sc08i02*", "pci:v0000144Dd0000A808sv0000144Dsd0000A801bc01sc08i02", true),
            ("virtio:d00000002v*", "virtio:d00000002v00001AF4", true),
            ("usb:v*p*d*dc*dsc*dp*ic08isc0[0-6]ip50in*", "usb:v1234p1d1dc0dsc0dp0ic08isc06ip50in00", true),
            ("usb:v*p*d*dc*dsc*dp*ic08isc0[0-6]ip50in*", "usb:v1234p1d1dc0dsc0dp0ic08isc07ip50in00", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("a*b*c", "axxbxxbxc", true),
            ("a[", "ab", false),
        ] {
            assert_eq!(matches(pattern, alias), fits, "{pattern} {alias}");
        }
    }

    #[test]
    fn needs_come_with_their_module() {
        let files = parse_dependencies("kernel/virtio-blk.ko: kernel/virtio.ko kernel/ring.ko\n");
        assert_eq!(files["virtio_blk"].len(), 3);
        let aliases = parse_aliases("# comment\nalias virtio:d00000002v* virtio_blk\n");
        assert_eq!(aliases, [("virtio:d00000002v*".to_owned(), "virtio_blk".to_owned())]);
    }
}
