//! Set-up, demo, test, crds, layers, bench.
fn main() {}
