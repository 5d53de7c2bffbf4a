//! A real member, through any way that leads to it.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    AlarmAction, AlarmType, Certificate, Channel, Client, ConnectOptions, Identity, TlsOptions,
};
use hyper_util::rt::TokioIo;
use tonic::transport::Endpoint;
use tower::service_fn;

use super::{alarm_name, failed, says};
use crate::members::{Credentials, Members, Peer, View, Way};
use crate::{Answer, Error};

/// Made through a tenant's API server and its kubelet, one after the other.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// etcd itself waits seven seconds for a majority before it says that there is none.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens a member. A connection is made on first use.
///
/// # Errors
/// When the certificates cannot be used at all.
pub async fn open(credentials: &Credentials, way: Way) -> Result<Arc<dyn Members>, Error> {
    let unusable = |error: &dyn std::error::Error| Error::Access(error.to_string());
    let tls = TlsOptions::new()
        .domain_name(&credentials.server_name)
        .ca_certificate(Certificate::from_pem(&credentials.ca_pem))
        .identity(Identity::from_pem(&credentials.certificate_pem, &credentials.key_pem));
    // The host is never looked up: where the connection leads is the way's to know.
    let endpoint = Endpoint::from_static("https://member:2379")
        .tls_config(tls)
        .map_err(|error| unusable(&error))?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT);
    let connector = service_fn(move |_| {
        let connecting = way();
        async move { connecting.await.map(TokioIo::new) }
    });
    let channel = endpoint.connect_with_connector_lazy(connector);
    let channel = Channel::Tonic(channel);
    let client = Client::from_channel(channel, Some(ConnectOptions::new())).await;
    let client = client.map_err(|error| unusable(&error))?;
    Ok(Arc::new(Member { client }))
}

struct Member {
    client: Client,
}

impl Members for Member {
    fn look(&self) -> Answer<'_, View> {
        Box::pin(look(self.client.clone()))
    }

    fn move_leader(&self, to: u64) -> Answer<'_, ()> {
        let mut client = self.client.clone();
        Box::pin(async move {
            client.move_leader(to).await.map(drop).map_err(failed("moving the leadership of etcd"))
        })
    }

    fn remove(&self, id: u64) -> Answer<'_, ()> {
        Box::pin(remove(self.client.clone(), id))
    }
}

/// Takes a member out; one that is not there any more is no error.
pub async fn remove(mut client: Client, id: u64) -> Result<(), Error> {
    match client.member_remove(id).await {
        Err(error) if says(&error, "member not found") => Ok(()),
        other => other.map(drop).map_err(failed("removing an etcd member")),
    }
}

async fn look(mut client: Client) -> Result<View, Error> {
    let status = client.status().await.map_err(failed("asking an etcd member for its status"))?;
    let list = client.member_list().await.map_err(failed("listing etcd members"))?;
    let mut members: Vec<_> = list
        .members()
        .iter()
        .map(|member| Peer {
            id: member.id(),
            name: member.name().to_owned(),
            learner: member.is_learner(),
            peer_urls: member.peer_urls().to_vec(),
        })
        .collect();
    members.sort_by_key(|member| member.id);
    let no_quorum = match client.get("scute.dev/quorum", None).await.map_err(failed("reading from etcd")) {
        Ok(_) => None,
        // A member without a vote does not answer reads of the others' consent, and says nothing about a majority by that.
        Err(_) if status.is_learner() => None,
        Err(error) => Some(error.to_string()),
    };
    // Alarms are kept in the store, and without a majority nobody has the newest.
    let alarms = match &no_quorum {
        Some(_) => Vec::new(),
        None if status.is_learner() => Vec::new(),
        None => {
            let alarms = client.alarm(AlarmAction::Get, AlarmType::None, None).await;
            let alarms = alarms.map_err(failed("asking for alarms"))?;
            alarms.alarms().iter().map(|alarm| (alarm.member_id(), alarm_name(alarm.alarm()))).collect()
        }
    };
    Ok(View {
        id: status.header().map(etcd_client::ResponseHeader::member_id).unwrap_or_default(),
        leader: status.leader(),
        members,
        alarms,
        no_quorum,
    })
}
