//! The site's commands alone, for trying them while other rooms are being built.

mod output;
#[path = "../../../../bin/scute/src/site.rs"]
mod site;

use clap::Parser;
use std::process::ExitCode;

#[derive(Parser)]
enum Command {
    Up(site::Up),
    Down(site::Down),
    Status(site::StatusArgs),
    SiteSupervisor(site::Site),
    SiteInit(site::Site),
}

fn main() -> ExitCode {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let run = |work: std::pin::Pin<Box<dyn Future<Output = anyhow::Result<ExitCode>>>>| {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
    };
    let done = match Command::parse() {
        Command::Up(c) => run(Box::pin(c.run())),
        Command::Down(c) => run(Box::pin(c.run())),
        Command::Status(c) => run(Box::pin(c.run())),
        Command::SiteSupervisor(site) => {
            log();
            site::supervise(&site)
        }
        Command::SiteInit(site) => {
            log();
            site::init(&site)
        }
    };
    done.unwrap_or_else(|e| {
        eprintln!("scute: {e:#}");
        ExitCode::FAILURE
    })
}

fn log() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
}
