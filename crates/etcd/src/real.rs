//! The real store: etcd over gRPC with client certificates.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    AlarmAction, AlarmType, Certificate, Client, ConnectOptions, DeleteOptions, GetOptions, Identity,
    Permission, PermissionType, RoleRevokePermissionOptions, TlsOptions, UserAddOptions,
};

use crate::{Access, Answer, Connect, Error, Health, Range, Store, Tenant, Traces};

/// Opens real etcds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Etcd;

/// A member that does not accept a connection for this long is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Removing the keys of a large tenant is the slowest request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Name of etcd's user and role with every permission.
const ROOT: &str = "root";

impl Connect for Etcd {
    fn open(&self, access: &Access) -> Answer<'_, Arc<dyn Store>> {
        let access = access.clone();
        Box::pin(async move {
            let tls = TlsOptions::new()
                .ca_certificate(Certificate::from_pem(&access.ca_pem))
                .identity(Identity::from_pem(&access.certificate_pem, &access.key_pem));
            let options = ConnectOptions::new()
                .with_tls(tls)
                .with_connect_timeout(CONNECT_TIMEOUT)
                .with_timeout(REQUEST_TIMEOUT)
                .with_keep_alive_while_idle(false);
            let endpoints: Vec<_> =
                access.endpoints.iter().map(|member| format!("https://{member}")).collect();
            let client = Client::connect(endpoints, Some(options))
                .await
                .map_err(|error| Error::Access(error.to_string()))?;
            Ok(Arc::new(Member(client)) as Arc<dyn Store>)
        })
    }
}

struct Member(Client);

impl Store for Member {
    fn health(&self) -> Answer<'_, Health> {
        Box::pin(async move {
            let mut client = self.0.clone();
            let status = client.status().await.map_err(failed("asking for the status"))?;
            // Only root may list users once authentication is on: this is the proof that we are root.
            client.user_list().await.map_err(failed("listing users as root"))?;
            let alarms = client
                .alarm(AlarmAction::Get, AlarmType::None, None)
                .await
                .map_err(failed("asking for alarms"))?;
            let alarms = alarms.alarms().iter().map(|alarm| alarm_name(alarm.alarm())).collect();
            Ok(Health { version: status.version().to_owned(), auth: self.auth_is_on().await?, alarms })
        })
    }

    fn secure(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut client = self.0.clone();
            existing(client.role_add(ROOT).await).map_err(failed("adding the role root"))?;
            let no_password = Some(UserAddOptions::new().with_no_pwd());
            existing(client.user_add(ROOT, "", no_password).await).map_err(failed("adding the user root"))?;
            client.user_grant_role(ROOT, ROOT).await.map_err(failed("granting root its role"))?;
            client.auth_enable().await.map_err(failed("turning authentication on"))?;
            Ok(())
        })
    }

    fn ensure<'a>(&'a self, tenant: &'a Tenant) -> Answer<'a, ()> {
        Box::pin(async move {
            self.ensure_role(&tenant.schema, &tenant.range()).await?;
            self.ensure_user(tenant).await
        })
    }

    fn remove<'a>(&'a self, tenant: &'a Tenant) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut client = self.0.clone();
            missing(client.user_delete(tenant.user.as_str()).await).map_err(failed("removing the user"))?;
            let range = tenant.range();
            client
                .delete(range.start, Some(DeleteOptions::new().with_range(range.end)))
                .await
                .map_err(failed("removing the keys"))?;
            missing(client.role_delete(tenant.schema.as_str()).await).map_err(failed("removing the role"))?;
            Ok(())
        })
    }

    fn traces<'a>(&'a self, tenant: &'a Tenant) -> Answer<'a, Traces> {
        Box::pin(async move {
            let mut client = self.0.clone();
            let user =
                missing(client.user_get(tenant.user.as_str()).await).map_err(failed("reading the user"))?;
            let role =
                missing(client.role_get(tenant.schema.as_str()).await).map_err(failed("reading the role"))?;
            let range = tenant.range();
            let count = GetOptions::new().with_range(range.end).with_count_only();
            let keys = client.get(range.start, Some(count)).await.map_err(failed("counting keys"))?;
            Ok(Traces {
                keys: u64::try_from(keys.count()).unwrap_or_default(),
                user: user.is_some(),
                role: role.is_some(),
            })
        })
    }
}

impl Member {
    /// etcd has no cheap read of this in the client: an attempt to log in is refused differently.
    async fn auth_is_on(&self) -> Result<bool, Error> {
        match self.0.auth_client().authenticate(ROOT.to_owned(), String::new()).await {
            Ok(_) => Ok(true),
            Err(error) if says(&error, "authentication is not enabled") => Ok(false),
            Err(error) if says(&error, "authentication failed") => Ok(true),
            Err(error) => Err(failed("asking whether authentication is on")(error)),
        }
    }

    async fn ensure_role(&self, role: &str, range: &Range) -> Result<(), Error> {
        let mut client = self.0.clone();
        let seen = missing(client.role_get(role).await).map_err(failed("reading the role"))?;
        let granted = match &seen {
            Some(seen) => seen.permissions(),
            None => {
                existing(client.role_add(role).await).map_err(failed("adding the role"))?;
                Vec::new()
            }
        };
        let wanted = Permission::read_write(range.start.clone()).with_range_end(range.end.clone());
        let is_wanted = |permission: &Permission| {
            permission.get_type() == i32::from(PermissionType::Readwrite)
                && permission.key() == range.start
                && permission.range_end() == range.end
        };
        if !granted.iter().any(is_wanted) {
            client.role_grant_permission(role, wanted).await.map_err(failed("granting the prefix"))?;
        }
        for other in granted
            .iter()
            .filter(|permission| permission.key() != range.start || permission.range_end() != range.end)
        {
            let end = RoleRevokePermissionOptions::new().with_range_end(other.range_end());
            client
                .role_revoke_permission(role, other.key(), Some(end))
                .await
                .map_err(failed("revoking a foreign range"))?;
        }
        Ok(())
    }

    async fn ensure_user(&self, tenant: &Tenant) -> Result<(), Error> {
        let mut client = self.0.clone();
        let (user, role) = (tenant.user.as_str(), tenant.schema.as_str());
        let seen = missing(client.user_get(user).await).map_err(failed("reading the user"))?;
        let roles = match &seen {
            Some(seen) => seen.roles().to_vec(),
            None => {
                let no_password = Some(UserAddOptions::new().with_no_pwd());
                existing(client.user_add(user, "", no_password).await).map_err(failed("adding the user"))?;
                Vec::new()
            }
        };
        if !roles.iter().any(|granted| granted == role) {
            client.user_grant_role(user, role).await.map_err(failed("granting the role"))?;
        }
        for other in roles.iter().filter(|granted| *granted != role) {
            client.user_revoke_role(user, other.as_str()).await.map_err(failed("revoking a foreign role"))?;
        }
        Ok(())
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
