//! The task beside a QEMU: it carries questions to it and answers back, tells its events, and takes its end. It never
//! waits for one thing alone, so that a QEMU that does not answer can still be listened to, and killed.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Weak;

use serde_json::Value;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};

use crate::argv;
use crate::events;
use crate::handle::Teller;
use crate::process::Process;
use crate::qmp::{self, Lines, Message};
use crate::vmm::{ControlError, Event, Exit, ExitCause};

/// How much of QEMU's standard error is kept: its last words.
const STDERR_KEPT: usize = 2048;

/// One question to QEMU.
#[derive(Debug)]
pub struct Question {
    pub command: &'static str,
    pub arguments: Value,
    pub answer: oneshot::Sender<Result<Value, ControlError>>,
}

/// QEMU's ends of the wires.
#[derive(Debug)]
pub struct Wires {
    pub qmp: UnixStream,
    /// Readable once the child is dead. Reaping by SIGCHLD is left to whoever is PID 1.
    pub pidfd: AsyncFd<OwnedFd>,
    pub stderr: Option<pipe::Receiver>,
}

#[derive(Debug)]
pub struct Actor {
    wires: Wires,
    /// QMP may be hung up while the process is still there.
    open: bool,
    inbox: Lines,
    outbox: Vec<u8>,
    questions: mpsc::UnboundedReceiver<Question>,
    asked: HashMap<u64, Question>,
    next_id: u64,
    teller: Teller,
    process: Weak<Process>,
    /// Names of the drives, in order.
    drives: Vec<String>,
    /// The first RESUME is the answer to our own `cont`, and no news.
    resumed: bool,
    last_words: Vec<u8>,
}

impl Actor {
    pub fn new(
        wires: Wires,
        questions: mpsc::UnboundedReceiver<Question>,
        teller: Teller,
        process: Weak<Process>,
        drives: Vec<String>,
    ) -> Actor {
        Actor {
            wires,
            open: true,
            inbox: Lines::default(),
            outbox: Vec::new(),
            questions,
            asked: HashMap::new(),
            next_id: 0,
            teller,
            process,
            drives,
            resumed: false,
            last_words: Vec::new(),
        }
    }

    /// Until QEMU's end.
    pub async fn run(mut self) {
        let mut listening = true;
        loop {
            let Actor { wires, open, outbox, questions, .. } = &mut self;
            let mut chunk = [0; 4096];
            tokio::select! {
                question = questions.recv(), if listening => match question {
                    Some(question) => self.ask(question),
                    None => listening = false,
                },
                ready = wires.qmp.readable(), if *open => match ready {
                    Ok(()) => self.hear(&mut chunk),
                    Err(_) => self.hang_up(),
                },
                ready = wires.qmp.writable(), if *open && !outbox.is_empty() => match ready {
                    Ok(()) => self.speak(),
                    Err(_) => self.hang_up(),
                },
                read = read(&wires.stderr, &mut chunk), if wires.stderr.is_some() => match read {
                    Ok(n @ 1..) => keep_last(&mut self.last_words, &chunk[..n]),
                    _ => wires.stderr = None,
                },
                _ = wires.pidfd.readable() => return self.end(),
            }
        }
    }

    fn ask(&mut self, question: Question) {
        if !self.open {
            // Whoever asked may have given up.
            let _ = question.answer.send(Err(ControlError::Gone));
            return;
        }
        // Those who gave up on an answer need none.
        self.asked.retain(|_, asked| !asked.answer.is_closed());
        self.next_id += 1;
        self.outbox.extend(qmp::request(self.next_id, question.command, &question.arguments));
        self.asked.insert(self.next_id, question);
        self.speak();
    }

    fn speak(&mut self) {
        match self.wires.qmp.try_write(&self.outbox) {
            Ok(written) => drop(self.outbox.drain(..written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.hang_up(),
        }
    }

    /// Takes what has come in, all of it.
    fn hear(&mut self, chunk: &mut [u8]) {
        loop {
            match self.wires.qmp.try_read(chunk) {
                Ok(n @ 1..) => self.inbox.push(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(_) | Err(_) => {
                    self.take();
                    return self.hang_up();
                }
            }
        }
        self.take();
    }

    fn take(&mut self) {
        loop {
            match self.inbox.next() {
                Ok(Some(message)) => self.message(message),
                Ok(None) => return,
                Err(qmp::Noise) => return self.hang_up(),
            }
        }
    }

    fn message(&mut self, message: Message) {
        let (id, answer) = match message {
            Message::Event { event, data } => {
                let event = events::translate(&event, &data);
                return event.into_iter().for_each(|event| self.tell(event));
            }
            Message::Greeting { .. } => return,
            Message::Return { value, id } => (id, Ok(value)),
            Message::Error { error, id } => (id, Err(error.desc)),
        };
        let Some(question) = id.as_u64().and_then(|id| self.asked.remove(&id)) else { return };
        let command = question.command;
        let answer = answer.map_err(|reason| ControlError::Refused { command, reason });
        let _ = question.answer.send(answer);
    }

    /// Tells an event in the words of the machine's configuration.
    fn tell(&mut self, event: Event) {
        match event {
            Event::Resumed if !self.resumed => self.resumed = true,
            Event::DriveFailed { drive, reason, full, paused } => {
                let name = argv::drive_of(&drive).and_then(|index| self.drives.get(index)).cloned();
                self.teller.tell(Event::DriveFailed { drive: name.unwrap_or(drive), reason, full, paused });
            }
            other => self.teller.tell(other),
        }
    }

    fn hang_up(&mut self) {
        self.open = false;
        self.outbox.clear();
        for (_, question) in self.asked.drain() {
            let _ = question.answer.send(Err(ControlError::Gone));
        }
    }

    /// Takes QEMU's last words and its exit status.
    fn end(mut self) {
        let mut chunk = [0; STDERR_KEPT];
        if self.open {
            self.hear(&mut chunk);
        }
        self.hang_up();
        while let Some(Ok(n @ 1..)) = self.wires.stderr.as_ref().map(|stderr| stderr.try_read(&mut chunk)) {
            keep_last(&mut self.last_words, &chunk[..n]);
        }
        // Where nobody has the machine any more, it has been reaped, and nobody listens.
        let cause = self.process.upgrade().map_or(ExitCause::Code(-1), |process| process.reap());
        self.teller.end(Exit { cause, stderr: String::from_utf8_lossy(&self.last_words).into_owned() });
    }
}

async fn read(stderr: &Option<pipe::Receiver>, chunk: &mut [u8]) -> io::Result<usize> {
    let Some(stderr) = stderr else { return Ok(0) };
    loop {
        stderr.readable().await?;
        match stderr.try_read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}

fn keep_last(kept: &mut Vec<u8>, more: &[u8]) {
    kept.extend_from_slice(more);
    let surplus = kept.len().saturating_sub(STDERR_KEPT);
    kept.drain(..surplus);
}
