//! The agent alone, for a ramdisk that is quick to build while it is worked on.

use std::process::ExitCode;

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    scute_agent::main()
}
