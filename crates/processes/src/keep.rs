//! Processes that are kept alive. In: how to start them. Out: their state, and a log file for each.

use crate::{
    logs::{self, Log},
    reaper::{Reaper, Started},
};
use serde::{Deserialize, Serialize};
use std::{
    convert::Infallible,
    io,
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::time::{Duration, Instant, sleep};

/// First and longest pause before a process that died is started again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// A process that lived this long starts with the first pause again.
const SETTLED: Duration = Duration::from_secs(30);

/// What is known of one kept process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessState {
    /// Its name.
    pub name: String,
    /// Its process id as its parent sees it, in the process namespace that both live in, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// How it ended last, or why it could not be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<String>,
}

/// A process to keep alive.
pub struct Keep {
    /// Its name.
    pub name: &'static str,
    /// Its executable.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, besides the path.
    pub env: Vec<(String, String)>,
    /// Its log file.
    pub log: PathBuf,
}

/// The states of all kept processes.
#[derive(Clone, Default)]
pub struct Table(Arc<Mutex<Vec<ProcessState>>>);

impl Table {
    /// A copy of all states.
    pub fn all(&self) -> Vec<ProcessState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut ProcessState)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = all.iter().position(|p| p.name == name).unwrap_or_else(|| {
            all.push(ProcessState { name: name.to_owned(), ..ProcessState::default() });
            all.len() - 1
        });
        change(&mut all[at]);
    }
}

/// Starts the process, and again whenever it ends or cannot be started. Does not return.
pub async fn keep(what: Keep, reaper: Arc<Reaper>, table: Table) -> Infallible {
    let log = Log::new(&what.log);
    let mut pause = BACKOFF.0;
    loop {
        let began = Instant::now();
        let end = match start(&what, &reaper, &log) {
            Ok(started) => {
                table.change(what.name, |p| p.pid = Some(started.pid));
                tracing::info!(process = what.name, pid = started.pid, "started");
                started.wait().await.to_string()
            }
            Err(e) => format!("could not be started: {e}"),
        };
        tracing::warn!(process = what.name, end, "ended");
        table.change(what.name, |p| {
            p.pid = None;
            p.restarts += 1;
            p.last_exit = Some(end);
        });
        pause = if began.elapsed() > SETTLED { BACKOFF.0 } else { (pause * 2).min(BACKOFF.1) };
        sleep(pause).await;
    }
}

/// What may fail without a process comes before it: one that runs is always waited for.
fn start(what: &Keep, reaper: &Reaper, log: &Log) -> io::Result<Started> {
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(&what.program);
    command.args(&what.args).envs(what.env.iter().cloned());
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    logs::pump(what.name, reader, log.clone())?;
    reaper.spawn(&mut command)
}

/// Runs a command to its end and gives what it wrote, on both outputs.
pub async fn once(reaper: &Reaper, command: &mut Command) -> Result<String, OnceError> {
    let name = format!("{}", command.get_program().display());
    let begin = |source| OnceError::Start { name: name.clone(), source };
    let (mut reader, writer) = io::pipe().map_err(begin)?;
    command.stdin(Stdio::null()).stdout(writer.try_clone().map_err(begin)?).stderr(writer);
    let started = reaper.spawn(command).map_err(begin)?;
    // The command holds the writing end as long as it lives; ours has to go for the pipe to end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let output = tokio::task::spawn_blocking(move || {
        let mut said = Vec::new();
        io::Read::read_to_end(&mut reader, &mut said).map(|_| said)
    });
    let status = started.wait().await;
    let said = output.await.ok().and_then(Result::ok).unwrap_or_default();
    finish(name, status, &said)
}

fn finish(name: String, status: ExitStatus, said: &[u8]) -> Result<String, OnceError> {
    let said = String::from_utf8_lossy(said);
    if status.success() {
        return Ok(said.into_owned());
    }
    let last: Vec<_> = said.lines().rev().take(3).collect();
    let said = last.into_iter().rev().collect::<Vec<_>>().join(" / ");
    Err(OnceError::Failed { name, status, said })
}

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum OnceError {
    /// It could not be started.
    #[error("{name} could not be started")]
    Start {
        /// The program.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It failed.
    #[error("{name} failed ({status}): {said}")]
    Failed {
        /// The program.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Its last lines.
        said: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_started_now_is_tried_again_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        let what = Keep {
            name: "late",
            program: program.clone(),
            args: vec!["30".to_owned()],
            env: Vec::new(),
            log: dir.path().join("late.log"),
        };
        let table = Table::default();
        let state = || table.all().pop().unwrap_or_default();
        let kept = tokio::spawn(keep(what, Reaper::begin().unwrap(), table.clone()));
        while state().restarts == 0 {
            tokio::task::yield_now().await;
        }
        let told = state();
        assert_eq!(told.pid, None);
        assert!(told.last_exit.is_some_and(|why| why.contains("could not be started")));
        std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
        let pid = loop {
            match state().pid {
                Some(pid) => break pid,
                None => sleep(Duration::from_millis(20)).await,
            }
        };
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        kept.abort();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}
