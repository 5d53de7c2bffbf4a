//! The real store: etcd over gRPC with client certificates.

pub mod joining;
pub mod members;
mod tenants;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    AlarmAction, AlarmType, Certificate, Client, ConnectOptions, Identity, ResponseHeader, TlsOptions,
    UserAddOptions,
};

use crate::{
    Access, Answer, Claim, Connect, Error, Foreign, Health, History, Member, ROOT, Store, Tenant, Traces,
};

/// Opens real etcds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Etcd;

/// A member that does not accept a connection for this long is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Removing the keys of a large tenant is the slowest request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

impl Connect for Etcd {
    fn open(&self, access: &Access) -> Answer<'_, Arc<dyn Store>> {
        let access = access.clone();
        Box::pin(async move {
            let client = connect(&access, &access.endpoints, REQUEST_TIMEOUT).await?;
            Ok(Arc::new(Cluster { client, access }) as Arc<dyn Store>)
        })
    }
}

async fn connect(access: &Access, endpoints: &[String], timeout: Duration) -> Result<Client, Error> {
    let tls = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(&access.ca_pem))
        .identity(Identity::from_pem(&access.certificate_pem, &access.key_pem));
    let options = ConnectOptions::new()
        .with_tls(tls)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout(timeout)
        .with_keep_alive_while_idle(false);
    let endpoints: Vec<_> = endpoints.iter().map(|member| format!("https://{member}")).collect();
    Client::connect(endpoints, Some(options)).await.map_err(|error| Error::Access(error.to_string()))
}

/// All members behind one client.
struct Cluster {
    client: Client,
    access: Access,
}

impl Store for Cluster {
    fn health(&self) -> Answer<'_, Health> {
        Box::pin(async move {
            let mut client = self.client.clone();
            let status = client.status().await.map_err(failed("asking for the status"))?;
            // Only root may list users once authentication is on: this is the proof that we are root.
            client.user_list().await.map_err(failed("listing users as root"))?;
            let alarms = client
                .alarm(AlarmAction::Get, AlarmType::None, None)
                .await
                .map_err(failed("asking for alarms"))?;
            let alarms = alarms.alarms().iter().map(|alarm| alarm_name(alarm.alarm())).collect();
            let revision = status.header().map(ResponseHeader::revision).unwrap_or_default();
            let auth = self.auth_is_on().await?;
            Ok(Health { version: status.version().to_owned(), auth, alarms, revision })
        })
    }

    fn secure(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut client = self.client.clone();
            existing(client.role_add(ROOT).await).map_err(failed("adding the role root"))?;
            let no_password = Some(UserAddOptions::new().with_no_pwd());
            existing(client.user_add(ROOT, "", no_password).await).map_err(failed("adding the user root"))?;
            client.user_grant_role(ROOT, ROOT).await.map_err(failed("granting root its role"))?;
            client.auth_enable().await.map_err(failed("turning authentication on"))?;
            Ok(())
        })
    }

    fn ensure<'a>(&'a self, tenant: &'a Tenant, claim: &'a Claim) -> Answer<'a, ()> {
        Box::pin(tenants::ensure(&self.client, tenant, claim))
    }

    fn remove<'a>(&'a self, tenant: &'a Tenant, claim: &'a Claim) -> Answer<'a, Vec<Foreign>> {
        Box::pin(tenants::remove(&self.client, tenant, claim))
    }

    fn release<'a>(&'a self, tenant: &'a Tenant, claim: &'a Claim) -> Answer<'a, ()> {
        Box::pin(tenants::release(&self.client, tenant, claim))
    }

    fn traces<'a>(&'a self, tenant: &'a Tenant) -> Answer<'a, Traces> {
        Box::pin(tenants::traces(&self.client, tenant))
    }

    fn history(&self, revision: i64) -> Answer<'_, History> {
        Box::pin(upkeep::history(&self.client, revision))
    }

    fn members(&self) -> Answer<'_, Vec<Member>> {
        Box::pin(upkeep::members(&self.access))
    }

    fn defragment<'a>(&'a self, endpoint: &'a str) -> Answer<'a, ()> {
        Box::pin(upkeep::defragment(&self.access, endpoint))
    }
}

impl Cluster {
    /// etcd has no cheap read of this in the client: an attempt to log in is refused differently.
    async fn auth_is_on(&self) -> Result<bool, Error> {
        match self.client.auth_client().authenticate(ROOT.to_owned(), String::new()).await {
            Ok(_) => Ok(true),
            Err(error) if says(&error, "authentication is not enabled") => Ok(false),
            Err(error) if says(&error, "authentication failed") => Ok(true),
            Err(error) => Err(failed("asking whether authentication is on")(error)),
        }
    }
}

const PERMISSION_DENIED: i32 = 7;
const UNAUTHENTICATED: i32 = 16;
/// Codes of a request that may not have reached a member, or found it without a leader.
const UNREACHED: [i32; 5] = [1, 2, 4, 8, 14];

fn failed(doing: &'static str) -> impl Fn(etcd_client::Error) -> Error {
    move |error| match &error {
        etcd_client::Error::GRpcStatus(status) => {
            let cause = status.message().to_owned();
            match status.code() as i32 {
                PERMISSION_DENIED | UNAUTHENTICATED => Error::Denied { doing, cause },
                code if UNREACHED.contains(&code) => Error::Unavailable { doing, cause },
                _ if cause.contains("permission denied") => Error::Denied { doing, cause },
                _ => Error::Refused { doing, cause },
            }
        }
        etcd_client::Error::TransportError(_) | etcd_client::Error::IoError(_) => {
            Error::Unavailable { doing, cause: error.to_string() }
        }
        _ => Error::Refused { doing, cause: error.to_string() },
    }
}

/// An "exists already" is as good as an answer: somebody else, or an earlier run, was first.
fn existing<T>(answer: Result<T, etcd_client::Error>) -> Result<(), etcd_client::Error> {
    match answer {
        Err(error) if !says(&error, "already exists") => Err(error),
        _ => Ok(()),
    }
}

/// A "not found" is no error, but nothing.
fn missing<T>(answer: Result<T, etcd_client::Error>) -> Result<Option<T>, etcd_client::Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if says(&error, "not found") => Ok(None),
        Err(error) => Err(error),
    }
}

fn says(error: &etcd_client::Error, words: &str) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status) if status.message().contains(words))
}

fn alarm_name(alarm: AlarmType) -> String {
    match alarm {
        AlarmType::None => "NONE",
        AlarmType::Nospace => "NOSPACE",
        AlarmType::Corrupt => "CORRUPT",
    }
    .to_owned()
}
