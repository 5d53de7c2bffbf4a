//! One work of the metal room, from its beginning to what is said of its end.

use std::error::Error;
use std::fs;
use std::io;
use std::sync::Arc;

use scute_image::gpt::EfiPartition;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::disk::{self, Block};
use crate::inventory::Machine;
use crate::protocol::{Cleaning, Said, Work, Write};
use crate::write::{self, Device, Progress, boot};

type Failed = Box<dyn Error + Send + Sync>;

/// Does it. After `stop` it ends as soon as the disk is left alone.
pub async fn perform(
    machine: &Machine,
    work: Work,
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> Said {
    let machine = machine.clone();
    let done = match work {
        Work::Inspect { .. } => {
            blocking(move || Ok(Said::Inspected { inventory: Box::new(machine.inventory()) })).await
        }
        Work::Clean { how: Cleaning::Metadata, .. } => {
            let stop = stop.clone();
            blocking(move || clean(&machine, &stop)).await
        }
        Work::Write { write, .. } => put(&machine, &write, progress, stop).await,
        Work::Wait | Work::Reboot | Work::PowerOff => Err("this is no work".into()),
    };
    done.unwrap_or_else(|error| Said::Failed { why: error.to_string() })
}

/// A panic is an error of one work, and told like any other.
async fn blocking<T: Send + 'static>(
    task: impl FnOnce() -> Result<T, Failed> + Send + 'static,
) -> Result<T, Failed> {
    spawn_blocking(task).await.map_err(|error| format!("the agent broke down: {error}"))?
}

fn clean(machine: &Machine, stop: &CancellationToken) -> Result<Said, Failed> {
    let mut wiped = Vec::new();
    for disk in machine.disks() {
        if stop.is_cancelled() {
            return Err("cleaning is not wanted any more".into());
        }
        let done = disk::clean(&machine.device(&disk), &disk.name);
        wiped.push(done.map_err(|error| format!("{} cannot be cleaned: {error}", disk.name))?);
    }
    Ok(Said::Cleaned { wiped })
}

async fn put(
    machine: &Machine,
    wanted: &Write,
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> Result<Said, Failed> {
    let disk = disk::choose(&machine.disks(), &wanted.root)?.clone();
    let failed = |error: io::Error| format!("{}: {error}", disk.name);
    let block = Block::open(&machine.device(&disk)).map_err(failed)?;
    let (size, device) = (block.size, Arc::new(block.file.try_clone().map_err(failed)?));
    let told = |error: write::WriteError| format!("{} (disk {})", explain(wanted, &error), disk.name);
    let finished = write::write(wanted, device.clone(), size, progress, stop).await.map_err(told)?;
    if let (true, machine) = (machine.uefi(), machine.clone()) {
        blocking(move || {
            enter(&machine, &block, finished.efi).inspect_err(|_| {
                if let Err(error) = write::retract(&*device as &dyn Device, size) {
                    tracing::error!(%error, "the disk may boot an image that this host cannot use");
                }
            })
        })
        .await?;
    }
    Ok(Said::Written { disk: disk.name })
}

/// The words that people look for, and the image that they know by its URL.
fn explain(wanted: &Write, error: &write::WriteError) -> String {
    let url = write::shown(&wanted.url);
    let checksum = wanted.checksum.as_ref().map(|checksum| checksum.value.as_str()).unwrap_or_default();
    format!("Image provisioning failed (url: {url}, checksum: {checksum}): {error}")
}

/// Tells the firmware where the boot loader is.
fn enter(machine: &Machine, block: &Block, partition: Option<EfiPartition>) -> Result<(), Failed> {
    let partition = partition.ok_or(boot::BootError::NoPartition)?;
    block.read_partitions_again()?;
    let found = block.partitions().into_iter().find(|(_, start, _)| *start == partition.start * 512);
    let (device, ..) = found.ok_or("the kernel does not see the EFI system partition of the image")?;
    let loader = boot::loader_on(&device)?;
    let variables = machine.efi_variables();
    if fs::read_dir(&variables).is_ok_and(|mut entries| entries.next().is_some()) {
        boot::enter(&variables, &partition, &loader)?;
        tracing::info!(loader, "the firmware has an entry");
    } else {
        tracing::warn!("the firmware's variables are not there: it has to find the boot loader itself");
    }
    Ok(())
}
