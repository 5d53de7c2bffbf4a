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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey};
    use russh::{Channel, ChannelId};
    use tokio::net::TcpListener;

    use super::*;
    use crate::kubevirtcluster::ssh_keys::SshKeyPair;

    /// A guest's sshd: knows one user and one key, and runs one command.
    #[derive(Clone)]
    struct Guest {
        authorized: String,
        sentinel: &'static [u8],
    }

    impl server::Handler for Guest {
        type Error = russh::Error;

        async fn auth_publickey(
            &mut self,
            user: &str,
            key: VerifiedPublicKey<'_>,
        ) -> Result<Auth, russh::Error> {
            let known = key.public_key.to_openssh().is_ok_and(|key| key == self.authorized);
            Ok(if user == "capk" && known { Auth::Accept } else { Auth::reject() })
        }

        async fn channel_open_session(
            &mut self,
            _: Channel<Msg>,
            reply: ChannelOpenHandle,
            _: &mut Session,
        ) -> Result<(), russh::Error> {
            reply.accept().await;
            Ok(())
        }

        async fn exec_request(
            &mut self,
            id: ChannelId,
            command: &[u8],
            session: &mut Session,
        ) -> Result<(), russh::Error> {
            assert_eq!(command, COMMAND.as_bytes());
            session.channel_success(id)?;
            session.data(id, self.sentinel.to_vec())?;
            session.exit_status_request(id, u32::from(self.sentinel.is_empty()))?;
            session.eof(id)?;
            session.close(id)
        }
    }

    /// Starts a guest that lets the owner of this key in.
    async fn guest(authorized: &str, sentinel: &'static [u8]) -> (IpAddr, u16) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let host = SshKeyPair::generate().unwrap();
        let config = Arc::new(server::Config {
            keys: vec![decode_secret_key(&host.private, None).unwrap()],
            auth_rejection_time: Duration::ZERO,
            ..server::Config::default()
        });
        let guest = Guest { authorized: authorized.trim().to_owned(), sentinel };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let session = server::run_stream(config.clone(), stream, guest.clone()).await;
                tokio::spawn(async move { drop(session.map(|session| tokio::spawn(session))) });
            }
        });
        (address.ip(), address.port())
    }

    #[tokio::test]
    async fn the_sentinel_decides() {
        let keys = SshKeyPair::generate().unwrap();
        let joined = guest(&keys.public, b"success\n").await;
        assert!(has_joined_at(joined, &keys.private).await.unwrap());
        let young = guest(&keys.public, b"").await;
        assert!(!has_joined_at(young, &keys.private).await.unwrap());
        let chatty = guest(&keys.public, &[b'x'; 4096]).await;
        assert!(!has_joined_at(chatty, &keys.private).await.unwrap());
    }

    #[tokio::test]
    async fn a_stranger_is_refused_and_a_closed_port_is_told() {
        let (keys, other) = (SshKeyPair::generate().unwrap(), SshKeyPair::generate().unwrap());
        let guest = guest(&keys.public, b"success\n").await;
        assert!(matches!(has_joined_at(guest, &other.private).await, Err(SshError::Refused)));
        assert!(matches!(has_joined_at(guest, "no key").await, Err(SshError::Key)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let closed = listener.local_addr().unwrap();
        drop(listener);
        let refused = has_joined_at((closed.ip(), closed.port()), &keys.private).await;
        assert!(matches!(refused, Err(SshError::Connection(_))), "{refused:?}");
    }
}
