//! Whole architectures, with real processes and real machines.
//!
//! Takes the built `scute` binary and a bundle, gives a site of its own to each test, driven as a person
//! drives it: by `scute` and `kubectl`. Everything goes with the test, also when it fails.

pub mod processes;
pub mod secrets;
mod site;
mod traces;

pub use site::{Artifacts, Kubectl, Site, artifacts};
pub use traces::Traces;

use std::time::Instant;

/// Runs one step of a story, and prints its name and how long it took.
///
/// # Panics
/// When the step fails: the test has failed.
pub fn step<T>(name: &str, run: impl FnOnce() -> anyhow::Result<T>) -> T {
    println!("  {name} ...");
    let start = Instant::now();
    match run() {
        Ok(value) => {
            println!("  {name}: {:.1} s", start.elapsed().as_secs_f64());
            value
        }
        Err(error) => panic!("{name}: after {:.1} s: {error:#}", start.elapsed().as_secs_f64()),
    }
}
