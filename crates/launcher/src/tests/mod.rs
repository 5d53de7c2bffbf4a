//! The launcher as processes: in a network namespace like a Pod's, with real QEMU and guests of one sector.

mod filter;
mod network;
mod pod;
mod run;
mod tenants;

/// The launcher itself, when a test starts this program again as `scute launcher`: see [`pod::Pod::launcher`].
#[test]
#[ignore = "helper process"]
fn launcher_process() {
    let Some(args) = std::env::var_os(pod::ARGS) else { return };
    let args = args.into_string().unwrap();
    let code = super::main(args.split('\u{1f}').map(Into::into));
    // `ExitCode` does not say what it is.
    let failed = code != std::process::ExitCode::SUCCESS;
    std::process::exit(failed.into());
}
