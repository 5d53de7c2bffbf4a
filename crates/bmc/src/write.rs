//! What POST, PATCH and DELETE do.

use std::sync::Arc;

use axum::http::{HeaderName, Method, StatusCode};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use crate::account::{Account, ROLES, Session, account_document, session_document};
use crate::answer::{Message, Refusal, Reply};
use crate::bios;
use crate::handle::written;
use crate::machine::{Power, Reset};
use crate::path::Place;
use crate::service::Service;

type Sent = Map<String, Value>;
/// Properties that were not taken, and why.
type NotTaken = Vec<(String, Message)>;

/// Does what the request asks.
pub async fn write(
    service: &Arc<Service>,
    method: &Method,
    place: Place,
    sent: &Sent,
    account: Option<&Account>,
) -> Result<Reply, Refusal> {
    match (method, &place) {
        (&Method::POST, Place::Sessions) => login(service, sent),
        (&Method::POST, Place::Accounts) => add_account(service, sent),
        (&Method::POST, Place::Reset) => reset(service, sent).await,
        (&Method::POST, Place::Volumes) => {
            Err(Refusal::bad(Message::base("CreateLimitReachedForResource", &[])))
        }
        (&Method::POST, Place::SimpleUpdate) => {
            let message = Message::base("ServiceDisabled", &["/redfish/v1/UpdateService"]);
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message))
        }
        (&Method::POST, Place::Insert(_, at)) => service.insert(*at, sent).await.map(|()| Reply::nothing()),
        (&Method::POST, Place::Eject(_, at)) => service.eject(*at).await.map(|()| Reply::nothing()),
        (&Method::DELETE, Place::Session(id)) => {
            remove(&mut service.state().access.sessions, |session| session.id == *id, &place)
        }
        (&Method::DELETE, Place::Account(id)) => {
            if account.is_some_and(|own| own.id == *id) {
                return Err(Refusal::not_allowed("GET, HEAD, PATCH"));
            }
            remove(&mut service.state().access.accounts, |account| account.id == *id, &place)
        }
        (&Method::PATCH, _) => patch(service, &place, sent).await,
        _ => Err(Refusal::not_allowed(place.allow())),
    }
}

fn remove<T>(all: &mut Vec<T>, it: impl Fn(&T) -> bool, place: &Place) -> Result<Reply, Refusal> {
    let before = all.len();
    all.retain(|one| !it(one));
    if all.len() == before { Err(Refusal::missing(&format!("{place:?}"))) } else { Ok(Reply::nothing()) }
}

fn text<'a>(sent: &'a Sent, name: &str) -> Result<&'a str, Refusal> {
    let value = sent
        .get(name)
        .ok_or_else(|| Refusal::bad(Message::base("PropertyMissing", &[name]).about(&format!("/{name}"))))?;
    value.as_str().ok_or_else(|| wrong_type(name, value))
}

fn wrong_type(name: &str, value: &Value) -> Refusal {
    let message = Message::base("PropertyValueTypeError", &[&value.to_string(), name]);
    Refusal::bad(message.about(&format!("/{name}")))
}

fn login(service: &Service, sent: &Sent) -> Result<Reply, Refusal> {
    let (user, password) = (text(sent, "UserName")?, text(sent, "Password")?);
    let quirks = &service.profile.quirks;
    let now = Instant::now();
    let mut state = service.state();
    let lockout = state.lockout;
    let account = state.access.login(user, password, lockout, now);
    let account = account.map_err(|_| Refusal::unauthorized("/redfish/v1/SessionService/Sessions"))?;
    state.access.expire(quirks.token_ttl, now);
    if state.access.sessions.len() >= quirks.sessions {
        // Dell's, when all places are taken; everybody else has the base registry's.
        let message = if service.profile.vendor == "Dell" {
            Message::oem("IDRAC.2.8.RAC0218")
        } else {
            Message::base("SessionLimitExceeded", &[])
        };
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message));
    }
    let mut secret = [0; 24];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, Message::base("InternalError", &["random"]))
    })?;
    let session = Session {
        id: state.access.next_id(),
        token: hex::encode(secret),
        user: account.user,
        context: sent.get("Context").and_then(Value::as_str).map(str::to_owned),
        used: now,
    };
    let location = format!("/redfish/v1/SessionService/Sessions/{}", session.id);
    let token = (HeaderName::from_static("x-auth-token"), session.token.clone());
    let mut reply = Reply::created(location, session_document(&session));
    if quirks.session_in_body {
        reply.headers.clear();
    }
    reply.headers.push(token);
    state.access.sessions.push(session);
    Ok(reply)
}

fn add_account(service: &Service, sent: &Sent) -> Result<Reply, Refusal> {
    let (user, password) = (text(sent, "UserName")?, text(sent, "Password")?);
    let role = text(sent, "RoleId")?;
    known_role(role)?;
    let mut state = service.state();
    if state.access.accounts.iter().any(|account| account.user == user) {
        return Err(Refusal::bad(
            Message::base("PropertyValueNotInList", &[user, "UserName"]).about("/UserName"),
        ));
    }
    if !state.access.has_room() {
        return Err(Refusal::bad(Message::base("GeneralError", &[])));
    }
    let account = Account {
        id: state.access.next_id(),
        user: user.to_owned(),
        password: password.to_owned(),
        role: role.to_owned(),
        enabled: sent.get("Enabled").and_then(Value::as_bool).unwrap_or(true),
        refusals: 0,
        locked_until: None,
    };
    let location = format!("/redfish/v1/AccountService/Accounts/{}", account.id);
    let reply = Reply::created(location, account_document(&account, Instant::now()));
    state.access.accounts.push(account);
    Ok(reply)
}

fn known_role(role: &str) -> Result<(), Refusal> {
    if ROLES.iter().any(|(known, _)| *known == role) {
        return Ok(());
    }
    Err(Refusal::bad(Message::base("PropertyValueNotInList", &[role, "RoleId"]).about("/RoleId")))
}

async fn reset(service: &Arc<Service>, sent: &Sent) -> Result<Reply, Refusal> {
    const ACTION: &str = "ComputerSystem.Reset";
    let wanted = sent.get("ResetType").ok_or_else(|| {
        Refusal::bad(Message::base("ActionParameterMissing", &[ACTION, "ResetType"]).about("#/ResetType"))
    })?;
    let name = wanted.as_str().unwrap_or_default();
    let reset = Reset::ALL.into_iter().find(|reset| reset.name() == name).ok_or_else(|| {
        let message = Message::base("ActionParameterValueNotInList", &[name, "ResetType", ACTION]);
        Refusal::bad(message.about("#/ResetType"))
    })?;
    let quirks = &service.profile.quirks;
    if service.in_post() {
        return Err(Refusal::bad(Message::oem("iLO.2.25.InvalidOperationForSystemState")));
    }
    let (ignored, late) = {
        let mut state = service.state();
        state.resets += 1;
        (quirks.silent_reset && state.resets % 2 == 1, state.slow_power)
    };
    if ignored {
        return Ok(Reply::nothing());
    }
    if late.is_zero() {
        service.do_reset(reset).await?;
    } else {
        let service = service.clone();
        tokio::spawn(async move {
            sleep(late).await;
            if let Err(refusal) = service.do_reset(reset).await {
                tracing::warn!(?refusal, "a Reset that was accepted has failed");
            }
        });
    }
    Ok(Reply::nothing())
}

impl Service {
    async fn do_reset(&self, reset: Reset) -> Result<(), Refusal> {
        let was = self.machine.power();
        self.machine.reset(reset).await.map_err(|failed| {
            let message = Message::base("InternalError", &[&failed.0]);
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
        })?;
        let starts = match reset {
            Reset::On => was == Power::Off,
            Reset::ForceRestart | Reset::GracefulRestart => true,
            Reset::ForceOff | Reset::GracefulShutdown => false,
        };
        if starts {
            let mut state = self.state();
            state.post_until = Some(Instant::now() + self.profile.quirks.post);
            state.bios.starts();
        }
        Ok(())
    }
}

async fn patch(service: &Service, place: &Place, sent: &Sent) -> Result<Reply, Refusal> {
    let properties: Sent = sent
        .iter()
        .filter(|(name, _)| !name.contains('@'))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if properties.is_empty() {
        return Err(Refusal::bad(Message::base("NoOperation", &[])));
    }
    let refused = match place {
        Place::System if service.profile.quirks.boot_in_settings => unknown(service, place, &properties, &[]),
        Place::System => patch_boot(service, place, &properties).await?,
        Place::BootSettings if service.profile.quirks.boot_in_settings => {
            patch_boot(service, place, &properties).await?
        }
        Place::BootSettings => unknown(service, place, &properties, &[]),
        Place::Account(id) => patch_account(service, place, id, &properties)?,
        Place::SessionService => patch_sessions(service, place, &properties)?,
        Place::AccountService => unknown(service, place, &properties, &[]),
        Place::Slot(_, at) => {
            service.write_slot(*at, &properties).await?;
            Vec::new()
        }
        Place::Attributes => {
            service.write_attributes(attributes(&properties)?).await?;
            Vec::new()
        }
        Place::BiosSettings => {
            if let Some(sent) = properties.get("Attributes") {
                bios::write(service, sent.as_object().ok_or_else(|| wrong_type("Attributes", sent))?)?;
            }
            unknown(service, place, &properties, &["Attributes"])
        }
        _ => return Err(Refusal::not_allowed(place.allow())),
    };
    if refused.len() == properties.len() {
        let messages = refused.into_iter().map(|(_, message)| message).collect();
        return Err(Refusal { status: StatusCode::BAD_REQUEST, messages, headers: Vec::new() });
    }
    Ok(written(service, place, refused))
}

fn attributes(sent: &Sent) -> Result<&Sent, Refusal> {
    let missing = || Refusal::bad(Message::base("PropertyMissing", &["Attributes"]));
    sent.get("Attributes").and_then(Value::as_object).ok_or_else(missing)
}

/// The properties that cannot be written: known to the resource, or not.
fn unknown(service: &Service, place: &Place, sent: &Sent, writable: &[&str]) -> NotTaken {
    let document = crate::resources::document(service, place).unwrap_or_default();
    let others = sent.keys().filter(|name| !writable.contains(&name.as_str()));
    let refused = others.map(|name| {
        let kind = if document.get(name).is_some() { "PropertyNotWritable" } else { "PropertyUnknown" };
        (name.clone(), Message::base(kind, &[name]).about(&format!("/{name}")))
    });
    refused.collect()
}

async fn patch_boot(service: &Service, place: &Place, sent: &Sent) -> Result<NotTaken, Refusal> {
    let refused = unknown(service, place, sent, &["Boot"]);
    match sent.get("Boot") {
        Some(Value::Object(boot)) => service.write_boot(boot).await?,
        Some(other) => return Err(wrong_type("Boot", other)),
        None => {}
    }
    Ok(refused)
}

fn patch_account(service: &Service, place: &Place, id: &str, sent: &Sent) -> Result<NotTaken, Refusal> {
    let refused = unknown(service, place, sent, &["UserName", "Password", "RoleId", "Enabled", "Locked"]);
    let mut state = service.state();
    let account = state.access.account(id).ok_or_else(|| Refusal::missing(id))?;
    let mut changed = account.clone();
    for name in ["UserName", "Password", "RoleId"].into_iter().filter(|name| sent.contains_key(*name)) {
        let value = text(sent, name)?;
        match name {
            "UserName" => value.clone_into(&mut changed.user),
            "Password" => value.clone_into(&mut changed.password),
            _ => {
                known_role(value)?;
                value.clone_into(&mut changed.role);
            }
        }
    }
    let flag = |name: &str| match sent.get(name) {
        None => Ok(None),
        Some(value) => value.as_bool().map(Some).ok_or_else(|| wrong_type(name, value)),
    };
    if let Some(enabled) = flag("Enabled")? {
        changed.enabled = enabled;
    }
    if flag("Locked")? == Some(false) {
        changed.unlock();
    }
    *account = changed;
    Ok(refused)
}

fn patch_sessions(service: &Service, place: &Place, sent: &Sent) -> Result<NotTaken, Refusal> {
    let refused = unknown(service, place, sent, &["SessionTimeout"]);
    if let Some(value) = sent.get("SessionTimeout") {
        let seconds = value.as_u64().ok_or_else(|| wrong_type("SessionTimeout", value))?;
        if !(30..=86_400).contains(&seconds) {
            let message = Message::base("PropertyValueNotInList", &[&seconds.to_string(), "SessionTimeout"]);
            return Err(Refusal::bad(message.about("/SessionTimeout")));
        }
        service.state().session_timeout = seconds;
    }
    Ok(refused)
}
