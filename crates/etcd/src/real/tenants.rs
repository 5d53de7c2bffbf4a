//! Users, roles and prefixes of tenants, and the records of whose they are.

use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, GetOptions, Permission, PermissionType,
    RoleRevokePermissionOptions, Txn, TxnOp, UserAddOptions,
};

use super::{existing, failed, missing};
use crate::claim::Seen;
use crate::{Claim, Error, Foreign, Part, Range, Tenant, Traces};

pub async fn ensure(client: &Client, tenant: &Tenant, claim: &Claim) -> Result<(), Error> {
    let seen = look(client, tenant).await?;
    if let Some(foreign) = Part::ALL.into_iter().find_map(|part| seen.foreign(part, tenant, claim)) {
        return Err(Error::Foreign(foreign));
    }
    record(client, tenant, claim, &seen, &Part::ALL).await?;
    ensure_role(client, &tenant.schema, &tenant.range()).await?;
    ensure_user(client, tenant).await
}

pub async fn remove(client: &Client, tenant: &Tenant, claim: &Claim) -> Result<Vec<Foreign>, Error> {
    let seen = look(client, tenant).await?;
    let foreign: Vec<_> =
        Part::ALL.into_iter().filter_map(|part| seen.foreign(part, tenant, claim)).collect();
    let own: Vec<_> =
        Part::ALL.into_iter().filter(|part| foreign.iter().all(|foreign| foreign.part != *part)).collect();
    // A removal that ends half-way takes the proof with it, but not the record.
    record(client, tenant, claim, &seen, &own).await?;
    let mut client = client.clone();
    if own.contains(&Part::User) {
        missing(client.user_delete(tenant.user.as_str()).await).map_err(failed("removing the user"))?;
    }
    if own.contains(&Part::Prefix) {
        let range = tenant.range();
        client
            .delete(range.start, Some(DeleteOptions::new().with_range(range.end)))
            .await
            .map_err(failed("removing the keys"))?;
        missing(client.role_delete(tenant.schema.as_str()).await).map_err(failed("removing the role"))?;
    }
    release(&client, tenant, claim).await?;
    Ok(foreign)
}

pub async fn release(client: &Client, tenant: &Tenant, claim: &Claim) -> Result<(), Error> {
    let mut client = client.clone();
    for part in Part::ALL {
        let key = part.key(tenant);
        let doing = "removing the record of an owner";
        let found = client.get(key.clone(), None).await.map_err(failed(doing))?;
        let Some(found) = found.kvs().first().filter(|found| claim.wrote(found.value())) else { continue };
        let same = Compare::mod_revision(key.clone(), CompareOp::Equal, found.mod_revision());
        let txn = Txn::new().when([same]).and_then([TxnOp::delete(key, None)]);
        client.txn(txn).await.map_err(failed(doing))?;
    }
    Ok(())
}

pub async fn traces(client: &Client, tenant: &Tenant) -> Result<Traces, Error> {
    let mut client = client.clone();
    let user = missing(client.user_get(tenant.user.as_str()).await).map_err(failed("reading the user"))?;
    let role = missing(client.role_get(tenant.schema.as_str()).await).map_err(failed("reading the role"))?;
    let keys = count(&mut client, tenant).await?;
    Ok(Traces { keys, user: user.is_some(), role: role.is_some() })
}

async fn count(client: &mut Client, tenant: &Tenant) -> Result<u64, Error> {
    let range = tenant.range();
    let count = GetOptions::new().with_range(range.end).with_count_only();
    let keys = client.get(range.start, Some(count)).await.map_err(failed("counting keys"))?;
    Ok(u64::try_from(keys.count()).unwrap_or_default())
}

async fn look(client: &Client, tenant: &Tenant) -> Result<Seen, Error> {
    let mut client = client.clone();
    let mut records = Vec::with_capacity(Part::ALL.len());
    for part in Part::ALL {
        let found =
            client.get(part.key(tenant), None).await.map_err(failed("reading the record of an owner"))?;
        records.push(found.kvs().first().map(|found| found.value().to_vec()));
    }
    let prefix_record = records.pop().flatten();
    let user = missing(client.user_get(tenant.user.as_str()).await).map_err(failed("reading the user"))?;
    let role = missing(client.role_get(tenant.schema.as_str()).await).map_err(failed("reading the role"))?;
    // A record answers for the keys.
    let prefix = role.is_some() || (prefix_record.is_none() && count(&mut client, tenant).await? > 0);
    Ok(Seen {
        user_record: records.pop().flatten(),
        prefix_record,
        roles: user.map(|user| user.roles().to_vec()),
        prefix,
    })
}

/// Writes the records that are missing, all or none: two managers that claim the same name at once get one answer.
async fn record(
    client: &Client,
    tenant: &Tenant,
    claim: &Claim,
    seen: &Seen,
    parts: &[Part],
) -> Result<(), Error> {
    let missing: Vec<_> = parts.iter().filter(|part| seen.record(**part).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let absent: Vec<_> =
        missing.iter().map(|part| Compare::version(part.key(tenant), CompareOp::Equal, 0)).collect();
    let puts: Vec<_> =
        missing.iter().map(|part| TxnOp::put(part.key(tenant), claim.record(), None)).collect();
    let txn = Txn::new().when(absent).and_then(puts);
    let doing = "recording the owner";
    let done = client.clone().txn(txn).await.map_err(failed(doing))?;
    match done.succeeded() {
        true => Ok(()),
        // The next try reads what the other one wrote.
        false => Err(Error::Unavailable { doing, cause: "somebody else wrote first".to_owned() }),
    }
}

async fn ensure_role(client: &Client, role: &str, range: &Range) -> Result<(), Error> {
    let mut client = client.clone();
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

async fn ensure_user(client: &Client, tenant: &Tenant) -> Result<(), Error> {
    let mut client = client.clone();
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
