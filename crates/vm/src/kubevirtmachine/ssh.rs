//! Whether the guest has joined, read over SSH: the sentinel file that the bootstrap data leaves behind.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::ChannelMsg;
use russh::client::{self, Handle};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, decode_secret_key};

use super::userdata::USER;

/// How long one look may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read.
const LONGEST_ANSWER: usize = 64;
const COMMAND: &str = "cat /run/cluster-api/bootstrap-success.complete";

/// Why the guest could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// The private key in the Secret is none.
    #[error("the SSH key of the Cluster cannot be read")]
    Key,
    /// Nobody answered in time.
    #[error("the guest did not answer on port 22 within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// The connection failed.
    #[error("SSH to the guest")]
    Connection(#[from] russh::Error),
    /// The guest does not know the key.
    #[error("the guest refuses the SSH key of the Cluster")]
    Refused,
}

/// Takes any host key: the guest made its own a moment ago, and nothing secret is sent to it.
struct AnyHost;

impl client::Handler for AnyHost {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// Whether the sentinel file says that the guest has joined.
pub async fn has_joined(address: IpAddr, private_key: &str) -> Result<bool, SshError> {
    has_joined_at((address, 22), private_key).await
}

async fn has_joined_at(address: (IpAddr, u16), private_key: &str) -> Result<bool, SshError> {
    tokio::time::timeout(TIMEOUT, ask(address, private_key)).await.map_err(|_| SshError::Timeout)?
}

async fn ask(address: (IpAddr, u16), private_key: &str) -> Result<bool, SshError> {
    let key = decode_secret_key(private_key, None).map_err(|_| SshError::Key)?;
    let config = client::Config { inactivity_timeout: Some(TIMEOUT), ..client::Config::default() };
    let mut session: Handle<AnyHost> = client::connect(Arc::new(config), address, AnyHost).await?;
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    if !session.authenticate_publickey(USER, key).await?.success() {
        return Err(SshError::Refused);
    }
    let mut channel = session.channel_open_session().await?;
    channel.exec(true, COMMAND).await?;
    let mut answer = Vec::new();
    while let Some(message) = channel.wait().await {
        if let ChannelMsg::Data { data } = message {
            let room = LONGEST_ANSWER.saturating_sub(answer.len());
            answer.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    let answer: Cow<'_, str> = String::from_utf8_lossy(&answer);
    Ok(answer.trim() == "success")
}
