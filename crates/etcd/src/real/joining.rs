//! What a member that starts asks of another one.

use std::time::Duration;

use etcd_client::Client;

use super::{connect, failed, says};
use crate::joining::Listed;
use crate::{Access, Error};

/// etcd itself waits seven seconds for a majority.
const TIMEOUT: Duration = Duration::from_secs(10);

async fn client(access: &Access, member: &str) -> Result<Client, Error> {
    connect(access, &[member.to_owned()], TIMEOUT).await
}

/// All members, as a majority knows them.
pub async fn list(access: &Access, through: &str) -> Result<Vec<Listed>, Error> {
    let list = client(access, through).await?.member_list().await.map_err(failed("listing etcd members"))?;
    let member = |member: &etcd_client::Member| Listed {
        id: member.id(),
        peer_urls: member.peer_urls().to_vec(),
        started: !member.client_urls().is_empty(),
    };
    Ok(list.members().iter().map(member).collect())
}

/// Takes a member out; one that is not there any more is no error.
pub async fn remove(access: &Access, through: &str, id: u64) -> Result<(), Error> {
    super::members::remove(client(access, through).await?, id).await
}

/// Takes a member in; one that is there already is no error.
pub async fn add(access: &Access, through: &str, peer_url: &str) -> Result<(), Error> {
    match client(access, through).await?.member_add([peer_url], None).await {
        Err(error) if says(&error, "Peer URLs already exists") => Ok(()),
        other => other.map(drop).map_err(failed("adding an etcd member")),
    }
}
