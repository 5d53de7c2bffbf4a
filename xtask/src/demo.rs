//! stub
/// Stub.
#[derive(clap::Args)]
pub struct Args {}
/// Stub.
pub fn run(_: &Args) -> anyhow::Result<()> {
    Ok(())
}
