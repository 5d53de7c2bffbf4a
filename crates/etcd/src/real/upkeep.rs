//! What keeps an etcd small: whether it forgets old revisions, and giving free pages back.

use std::time::Duration;

use etcd_client::{Client, GetOptions, ResponseHeader};

use super::{REQUEST_TIMEOUT, connect, failed, says};
use crate::{Access, Error, History, Member};

/// Some hundred megabytes a second on a slow disk, and nobody's database is larger than etcd's 8 GiB.
const DEFRAGMENT_TIMEOUT: Duration = Duration::from_secs(300);

/// A key that need not exist: what counts is whether the revision is refused.
const PROBE: &str = "scute.dev/history";

pub async fn history(client: &Client, revision: i64) -> Result<History, Error> {
    let mut client = client.clone();
    let doing = "reading an old revision";
    let now = client.get(PROBE, None).await.map_err(failed(doing))?;
    let now = now.header().map(ResponseHeader::revision).unwrap_or_default();
    let old = GetOptions::new().with_revision(revision).with_count_only();
    match client.get(PROBE, Some(old)).await {
        Ok(_) => Ok(History { revision: now, kept: true }),
        Err(error) if says(&error, "has been compacted") => Ok(History { revision: now, kept: false }),
        Err(error) => Err(failed(doing)(error)),
    }
}

pub async fn members(access: &Access) -> Result<Vec<Member>, Error> {
    let mut members = Vec::with_capacity(access.endpoints.len());
    for endpoint in &access.endpoints {
        let mut client = connect(access, std::slice::from_ref(endpoint), REQUEST_TIMEOUT).await?;
        let status = client.status().await.map_err(failed("asking a member for its size"))?;
        let bytes = |number: i64| u64::try_from(number).unwrap_or_default();
        members.push(Member {
            endpoint: endpoint.clone(),
            size: bytes(status.db_size()),
            in_use: bytes(status.raft_used_db_size()),
            leads: status.header().is_some_and(|header| header.member_id() == status.leader()),
        });
    }
    Ok(members)
}

pub async fn defragment(access: &Access, endpoint: &str) -> Result<(), Error> {
    let mut client = connect(access, &[endpoint.to_owned()], DEFRAGMENT_TIMEOUT).await?;
    client.defragment().await.map(|_| ()).map_err(failed("defragmenting a member"))
}
