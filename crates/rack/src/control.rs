//! The socket by which a rack is commanded: one request a connection, a line of JSON each way. After a console's answer the
//! connection is the serial port.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use scute_bmc::{Machine, NextBoot, Power, Reset};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;
use tokio::sync::broadcast::error::RecvError;

use crate::config::{Firmware, Nic};
use crate::fault::{self, Fault};
use crate::host::{Mounted, Serial};
use crate::rack::{Rack, RackError};

/// The longest line.
const LINE: u64 = 1 << 20;
/// How long a request may take. Ending or resetting QEMU has limits of its own below this.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a rack is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// Which hosts there are.
    List,
    /// Mount hosts that have come, take away those that are gone.
    Refresh,
    /// Power of a host.
    Power {
        /// Its name.
        host: String,
        /// What.
        reset: Reset,
    },
    /// What goes wrong from now on.
    Fault {
        /// Where.
        host: String,
        /// What.
        fault: Fault,
    },
    /// The serial port of a host.
    Console {
        /// Its name.
        host: String,
    },
}

/// What a rack answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// Done.
    Done,
    /// The hosts.
    Hosts(Vec<View>),
    /// Why not.
    Refused(String),
}

/// A host from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub power: Power,
    /// Where its BMC listens.
    pub bmc: SocketAddr,
    /// Path of the System.
    pub system: String,
    /// Its network cards.
    pub nics: Vec<Nic>,
    /// What boots it.
    pub firmware: Firmware,
    /// What its BMC imitates.
    pub profile: String,
    /// What is booted next.
    pub next_boot: Option<NextBoot>,
    /// What is in its CD drive.
    pub medium: Option<String>,
}

/// Why a rack did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The socket.
    #[error("{path} cannot be used")]
    Socket {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No answer, or none that is understood.
    #[error("the rack gives no answer")]
    NoAnswer,
    /// It refused.
    #[error("{0}")]
    Refused(String),
}

/// Serves a rack on a socket, which is made anew. Does not return but for errors.
///
/// # Errors
/// When the socket cannot be made or accepts nothing any more.
pub async fn serve(rack: Rack, path: &Path) -> Result<std::convert::Infallible, ControlError> {
    let failed = |source| ControlError::Socket { path: path.to_path_buf(), source };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let rack = Arc::new(Mutex::new(rack));
    loop {
        let (stream, _) = listener.accept().await.map_err(failed)?;
        tokio::spawn(converse(rack.clone(), stream));
    }
}

async fn converse(rack: Arc<Mutex<Rack>>, stream: UnixStream) {
    let mut stream = BufReader::new(stream);
    let Some(request) = line(&mut stream).await else { return };
    let (answer, serial) = match answer(&rack, request).await {
        Ok((answer, serial)) => (answer, serial),
        Err(why) => (Answer::Refused(why), None),
    };
    // Whoever asked may be gone.
    if put(stream.get_mut(), &answer).await.is_ok()
        && let Some(serial) = serial
    {
        console(serial, stream).await;
    }
}

async fn answer(rack: &Mutex<Rack>, request: Request) -> Result<(Answer, Option<Serial>), String> {
    let find = async |name: &str| {
        let rack = rack.lock().await;
        rack.host(name).map(Mounted::parts).ok_or_else(|| format!("there is no host {name} in the rack"))
    };
    match request {
        Request::List => Ok((Answer::Hosts(rack.lock().await.hosts().map(view).collect()), None)),
        Request::Refresh => {
            let told = |error: RackError| scute_processes::chain(&error);
            rack.lock().await.refresh().map_err(told).map(|()| (Answer::Done, None))
        }
        Request::Power { host, reset } => {
            let (host, _) = find(&host).await?;
            host.reset(reset).await.map_err(|error| error.0).map(|()| (Answer::Done, None))
        }
        Request::Fault { host, fault } => {
            let (host, service) = find(&host).await?;
            fault::inject(&host, &service, fault).await.map(|()| (Answer::Done, None))
        }
        Request::Console { host } => {
            let (host, _) = find(&host).await?;
            Ok((Answer::Done, Some(host.serial.clone())))
        }
    }
}

fn view((mounted, bmc): (&Mounted, SocketAddr)) -> View {
    let status = mounted.host.status().borrow().clone();
    View {
        name: mounted.host.config.name.clone(),
        power: status.power,
        bmc,
        system: format!("/redfish/v1/Systems/{}", mounted.system),
        nics: mounted.host.config.nics.clone(),
        firmware: mounted.host.config.firmware,
        profile: mounted.host.config.profile.clone(),
        next_boot: status.next_boot,
        medium: status.medium,
    }
}

/// Until either end has enough.
async fn console(serial: Serial, mut stream: BufReader<UnixStream>) {
    let mut seen = serial.watch();
    let mut chunk = [0; 1024];
    loop {
        tokio::select! {
            piece = seen.recv() => match piece {
                Ok(piece) => if stream.get_mut().write_all(&piece).await.is_err() { return },
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            typed = stream.read(&mut chunk) => match typed {
                Ok(read @ 1..) => serial.write(&chunk[..read]).await,
                _ => return,
            },
        }
    }
}

async fn line<T: for<'de> Deserialize<'de>>(stream: &mut BufReader<UnixStream>) -> Option<T> {
    let mut text = Vec::new();
    stream.take(LINE).read_until(b'\n', &mut text).await.ok()?;
    serde_json::from_slice(&text).ok()
}

async fn put(stream: &mut UnixStream, message: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(message)?;
    text.push(b'\n');
    stream.write_all(&text).await
}

/// Asks the rack behind a socket; gives its answer and what follows it.
///
/// # Errors
/// When there is no rack, no answer, or a refusal.
pub async fn ask(path: &Path, request: &Request) -> Result<(Answer, BufReader<UnixStream>), ControlError> {
    let failed = |source| ControlError::Socket { path: path.to_path_buf(), source };
    let asking = async {
        let mut stream = BufReader::new(UnixStream::connect(path).await.map_err(failed)?);
        put(stream.get_mut(), request).await.map_err(failed)?;
        match line(&mut stream).await.ok_or(ControlError::NoAnswer)? {
            Answer::Refused(why) => Err(ControlError::Refused(why)),
            answer => Ok((answer, stream)),
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.map_err(|_| ControlError::NoAnswer)?
}
