//! Steps for people: what is done, and how long it took. A spinner on a terminal, plain lines otherwise.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;

const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const FRAME: Duration = Duration::from_millis(100);

/// Runs one step. Its output belongs in a log, or between two lines of ours (`stream`).
pub fn step<T>(title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let spinner = Spinner::start(title);
    let started = Instant::now();
    let done = work();
    spinner.stop();
    finish(title, started.elapsed(), done.is_ok());
    done
}

/// Runs one step that prints by itself.
pub fn stream<T>(title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("{} {title}", paint("36", "==>"));
    let started = Instant::now();
    let done = work();
    finish(title, started.elapsed(), done.is_ok());
    done
}

/// Says that a step had nothing to do.
pub fn already(title: &str) {
    eprintln!("{} {title} {}", paint("32", " ok"), paint("2", "(nothing to do)"));
}

/// Says something in passing, also while a step runs.
pub fn note(text: &str) {
    let over = if std::io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
    eprintln!("{over}    {text}");
}

fn finish(title: &str, took: Duration, ok: bool) {
    let mark = if ok { paint("32", " ok") } else { paint("31", "FAIL") };
    eprintln!("{mark} {title} {}", paint("2", &format!("({})", duration(took))));
}

/// `0.4 s`, `12 s`, `3 min 20 s`.
pub fn duration(d: Duration) -> String {
    match d.as_secs() {
        0..10 => format!("{:.1} s", d.as_secs_f64()),
        10..60 => format!("{} s", d.as_secs()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

fn paint(code: &str, text: &str) -> String {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
}

/// A line that turns while a step runs; a plain line where nobody can see it turn.
struct Spinner(Option<(Sender<()>, JoinHandle<()>)>);

impl Spinner {
    fn start(title: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            eprintln!("==> {title}");
            return Spinner(None);
        }
        let (stop, stopped) = channel();
        let title = title.to_string();
        Spinner(Some((stop, std::thread::spawn(move || turn(&title, &stopped)))))
    }

    fn stop(self) {
        if let Some((stop, thread)) = self.0 {
            drop(stop);
            // A spinner that panicked is no reason to fail the step.
            let _ = thread.join();
        }
    }
}

fn turn(title: &str, stopped: &Receiver<()>) {
    let started = Instant::now();
    let mut err = std::io::stderr();
    for frame in FRAMES.iter().cycle() {
        let took = duration(started.elapsed());
        let _ = write!(err, "\r\x1b[2K\x1b[36m {frame} \x1b[0m {title} \x1b[2m{took}\x1b[0m");
        let _ = err.flush();
        if stopped.recv_timeout(FRAME) != Err(RecvTimeoutError::Timeout) {
            break;
        }
    }
    let _ = write!(err, "\r\x1b[2K");
}
