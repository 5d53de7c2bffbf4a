//! A network namespace of the test's own, gone when it is dropped.
#![allow(dead_code, reason = "each test binary uses its part")]

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{fs::File, os::fd::AsFd, process::Command};

/// A named network namespace.
pub struct Namespace(String);

impl Namespace {
    /// Makes one. Needs root and iproute2, and says so.
    pub fn new(name: &str) -> Self {
        let name = format!("podnet-{}-{name}", std::process::id());
        ip(&format!("netns add {name}"));
        let namespace = Self(name);
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `ip ARGUMENTS` inside.
    pub fn ip(&self, arguments: &str) -> String {
        ip(&format!("-n {} {arguments}", self.0))
    }

    /// Runs `nft ARGUMENTS` inside.
    pub fn nft(&self, arguments: &str) -> String {
        ip(&format!("netns exec {} nft {arguments}", self.0))
    }

    /// The forwarding entries of an interface, as iproute2 shows them.
    pub fn fdb(&self, link: &str) -> String {
        output("bridge", &format!("-n {} fdb show dev {link}", self.0))
    }

    /// Calls `work` on a thread that is inside. Sockets that it opens stay there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let link = File::open(format!("/run/netns/{}", self.0)).expect("the namespace exists");
                move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network)).expect("setns");
                work()
            });
            inside.join().expect("the work inside ends well")
        })
    }

    /// Name, for `ip link set … netns NAME`.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

fn ip(arguments: &str) -> String {
    output("ip", arguments)
}

fn output(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).output().expect("iproute2 is installed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {error} (these tests need root)");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
