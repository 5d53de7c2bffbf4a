//! BareMetalHost: from a BMC's address to a server with an image on its disk, and back.
//!
//! A run observes (the BMC's latest answer, the agent's latest word), decides (`machine`, pure), does what was decided, and
//! reports. Nothing in it waits for a BMC or an agent: both wake it when they have something to say.

mod agent;
mod apply;
pub mod boot;
mod context;
mod credentials;
mod digests;
mod drive;
mod hardware;
mod image;
mod machine;
mod material;
mod moved;
mod network;
pub mod order;
mod power;
mod pull;
mod report;
mod rivals;
pub mod seen;
mod transitions;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use scute_api::metal3::{BareMetalHost, DataImage, HOST_FINALIZER, ProvisioningState};
use scute_kit::{Controller, Error, Key, Next, Why, finalizer};
use tokio::sync::mpsc::UnboundedReceiver;

pub use context::Context;
pub use digests::Digests;

use crate::dataimage;
use crate::service::desk::DeskError;
use material::Found;
use seen::{Agent, Job, Seen};
use transitions::Cause;
use turn::{Notes, Step, Turn};

/// Runs the controller; never returns. `news` names hosts of which there is some that no watch tells.
pub async fn run(context: Arc<Context>, news: [UnboundedReceiver<Key>; 4]) {
    let hub = Arc::clone(&context.hub);
    let hosts = hub.watch::<BareMetalHost>();
    let all = hub.watch::<BareMetalHost>();
    let controller = Controller::<BareMetalHost>::new("baremetalhost", &hub);
    let controller = news.into_iter().fold(controller, Controller::on);
    controller
        .listen(hub.watch_meta::<Secret>(), move |secret: &apply::SecretMeta| apply::users(&hosts, secret))
        .watches(|image: &DataImage| vec![Key::of(image)])
        // Who is in another's way may go, or say something else.
        .watches(move |host: &BareMetalHost| {
            rivals::others(host, &all).iter().map(|other| Key::of(other.as_ref())).collect()
        })
        .run(context, reconcile)
        .await;
}

/// Brings one host a step further.
async fn reconcile(host: Arc<BareMetalHost>, context: Arc<Context>) -> Next {
    if host.is_paused() {
        let key = Key::of(host.as_ref());
        context.calls.forget(&key);
        context.probes.forget(&key);
        return match moved::keep(&host, &host.status.clone().unwrap_or_default(), &context).await {
            Ok(()) => Next::OnChange(Why::new("Paused", "an annotation asks to leave it alone")),
            Err(error) => failed(error.into()),
        };
    }
    advance(host, &context).await.unwrap_or_else(failed)
}

fn failed(error: DeskError) -> Next {
    match error {
        DeskError::Api(error) if error.is_not_found() => Next::Settled,
        DeskError::Api(error) => Next::Failed(Why::of("RequestFailed", &error)),
        error => Next::Failed(Why::new("SecretNotKept", error.to_string())),
    }
}

async fn advance(host: Arc<BareMetalHost>, context: &Context) -> Result<Next, DeskError> {
    if let Some(next) = moved::restored(&host, context).await? {
        return Ok(next);
    }
    let Some(host) = admitted(host, context).await? else {
        return Ok(Next::OnChange(Why::new("Claiming", "the Secret of the BMC is marked as used")));
    };
    context.desk.open(&host).await?;
    let uid = host.uid().unwrap_or_default();
    let status = host.status.clone().unwrap_or_default();
    let mut notes = Notes { status, memory: context.memory(&uid) };
    let (turn, found) = decide(&host, context, &mut notes).await?;
    let state = notes.state();
    if let Step::To(_) = turn.step {
        notes.memory.due = None;
    }
    for effect in turn.effects {
        apply::apply(context, &host, state, effect, &found).await?;
    }
    if turn.step == Step::Gone {
        return Ok(Next::Settled);
    }
    report(&host, context, &notes, &turn.step).await?;
    context.remember(&uid, notes.memory);
    Ok(next(turn.step))
}

/// The host with its finalizer, and its Secret marked; nothing when that has to be seen first, or it is gone.
async fn admitted(host: Arc<BareMetalHost>, context: &Context) -> Result<Option<Arc<BareMetalHost>>, Error> {
    if host.metadata.deletion_timestamp.is_some() {
        return Ok(finalizer::has(host.as_ref(), HOST_FINALIZER).then_some(host));
    }
    let host = finalizer::ensure(&context.hub, &host, HOST_FINALIZER).await?;
    Ok(if credentials::claim(&context.hub, &host).await? { None } else { Some(host) })
}

/// Observes, and decides.
async fn decide(
    host: &BareMetalHost,
    context: &Context,
    notes: &mut Notes,
) -> Result<(Turn, Found), DeskError> {
    let uid = host.uid().unwrap_or_default();
    let credentials = credentials::observe(&context.hub, host).await?;
    let agent = context.desk.agent(&uid);
    let found = match notes.state() {
        ProvisioningState::Provisioning if !is_given(&agent) => material::look(context, host).await?,
        ProvisioningState::Provisioning => Found::unasked(),
        _ => {
            context.digests.forget(&Key::of(host));
            Found::unasked()
        }
    };
    let network = match &agent {
        Agent::Away | Agent::Awaited(_) => network::observe(&context.hub, host).await?,
        Agent::Stranger(..) | Agent::Here(_) => Ok(Vec::new()),
    };
    let medium = context.desk.medium(&uid).unwrap_or_default();
    let seen = Seen {
        host,
        now: context.hub.now(),
        credentials: &credentials,
        call: context.calls.look(&Key::of(host)),
        back: context.probes.is_back(&Key::of(host)),
        agent,
        medium: format!("{}{medium}", context.media),
        service: &context.service,
        network: &network,
        disc: dataimage::disc(&context.hub, host),
        material: found.material.clone(),
        patience: context.patience,
    };
    let turn = machine::decide(&seen, notes);
    if notes.memory.due.is_none() {
        context.probes.forget(&Key::of(host));
    }
    if turn.step == Step::To(Cause::ImageAsked) {
        machine::begin_provisioning(&seen, notes);
    }
    Ok((turn, found))
}

/// Whether the agent has the image already, and needs nothing more for it.
fn is_given(agent: &Agent) -> bool {
    let Agent::Here(session) = agent else { return false };
    session.boot.done || matches!(session.work, Some((Job::Write, _)))
}

async fn report(host: &BareMetalHost, context: &Context, notes: &Notes, step: &Step) -> Result<(), Error> {
    let before = host.status.clone().unwrap_or_default();
    let status = report::status(host, notes, step, context.hub.now());
    // What follows at once says more.
    if *step == Step::Again && !report::is_significant(&before, &status) {
        return Ok(());
    }
    context.hub.patch_status(host, serde_json::json!(status)).await?;
    for (kind, reason, note) in report::events(&before, &status) {
        context.hub.event(host, kind, reason, &note).await;
    }
    moved::keep(host, &status, context).await
}

fn next(step: Step) -> Next {
    let at_once = Duration::from_millis(1);
    match step {
        Step::To(cause) => Next::After(at_once, Why::new("Moved", cause.words())),
        Step::Again => Next::After(at_once, Why::new("Again", "there is more to do")),
        // Neither the silence of an agent nor the end of a rest can be watched.
        Step::Wait(why, Some(most)) => Next::After(most, why),
        Step::Wait(why, None) => Next::OnChange(why),
        // A BMC cannot be watched.
        Step::Settled(rest) => Next::After(rest, Why::new("Settled", "the BMC is asked again")),
        Step::Gone => Next::Settled,
    }
}
