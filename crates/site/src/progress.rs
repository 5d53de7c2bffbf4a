//! Telling a person how far a step is: a spinner on a terminal, plain lines otherwise, each with its duration.

use indicatif::{ProgressBar, ProgressStyle};
use std::{io::IsTerminal, sync::Mutex, time::Duration};

/// Hears about the steps of `up` and `down`.
pub trait Progress: Send + Sync {
    /// A step begins.
    fn start(&self, step: &str);
    /// A step is done; `detail` may be empty.
    fn finish(&self, step: &str, took: Duration, detail: &str);
    /// A step failed.
    fn fail(&self, step: &str, why: &str);
    /// Something worth a line of its own.
    fn note(&self, text: &str);
}

/// Writes to standard error: spinners when it is a terminal, one line per finished step when not.
pub struct Terminal {
    bars: Option<indicatif::MultiProgress>,
    running: Mutex<Vec<(String, ProgressBar)>>,
}

impl Default for Terminal {
    fn default() -> Self {
        let bars = std::io::stderr().is_terminal().then(indicatif::MultiProgress::new);
        Self { bars, running: Mutex::default() }
    }
}

impl Terminal {
    fn close(&self, step: &str, line: &str) {
        let bar = self.running.lock().ok().and_then(|mut running| {
            running.iter().position(|(name, _)| name == step).map(|at| running.remove(at).1)
        });
        match (&self.bars, bar) {
            (Some(bars), bar) => {
                if let Some(bar) = bar {
                    bar.finish_and_clear();
                }
                // A terminal that went away is no reason to stop.
                _ = bars.println(line);
            }
            (None, _) => eprintln!("{line}"),
        }
    }
}

impl Progress for Terminal {
    fn start(&self, step: &str) {
        let Some(bars) = &self.bars else { return };
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}");
        let bar = bars.add(ProgressBar::new_spinner());
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_message(step.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        if let Ok(mut running) = self.running.lock() {
            running.push((step.to_owned(), bar));
        }
    }

    fn finish(&self, step: &str, took: Duration, detail: &str) {
        let detail = if detail.is_empty() { String::new() } else { format!("  ({detail})") };
        self.close(step, &format!("ok {:>6.1}s  {step}{detail}", took.as_secs_f64()));
    }

    fn fail(&self, step: &str, why: &str) {
        self.close(step, &format!("failed   {step}: {why}"));
    }

    fn note(&self, text: &str) {
        self.close("", text);
    }
}

/// Runs a step and tells its progress.
pub async fn step<T, E: std::fmt::Display>(
    progress: &dyn Progress,
    name: &str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    progress.start(name);
    let began = std::time::Instant::now();
    let result = work.await;
    match &result {
        Ok(_) => progress.finish(name, began.elapsed(), ""),
        Err(e) => progress.fail(name, &e.to_string()),
    }
    result
}
