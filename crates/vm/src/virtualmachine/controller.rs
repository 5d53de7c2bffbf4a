//! The loop of VirtualMachines: observe, plan, report, apply.

use std::sync::Arc;

use kube::{Resource, ResourceExt};
use scute_api::kubevirt::{
    VM_FINALIZER, VM_GENERATION_ANNOTATION, VMI_FINALIZER, VirtualMachine, VirtualMachineInstance,
};
use scute_kit::{Controller, Error, EventType, Hub, Key, Next, Why, finalizer};
use serde_json::json;

use super::plan::{Action, Plan, plan};
use super::report;

/// Runs the controller.
pub async fn run(hub: Arc<Hub>) {
    let controller =
        Controller::<VirtualMachine>::new("virtualmachine", &hub).owns::<VirtualMachineInstance>();
    hub.watch::<VirtualMachineInstance>().ready().await;
    controller.run(hub, reconcile).await;
}

/// Keeps a VMI, or none, as the run strategy asks.
async fn reconcile(vm: Arc<VirtualMachine>, hub: Arc<Hub>) -> Next {
    let vmi = match observe(&hub, &vm).await {
        Ok(vmi) => vmi,
        Err(error) => return Next::Failed(Why::of("ObserveFailed", &error)),
    };
    if let Some(other) =
        vmi.as_ref().filter(|vmi| !is_owned(vmi, &vm) && vm.metadata.deletion_timestamp.is_none())
    {
        return taken(&hub, &vm, other).await;
    }
    let mut vmi = vmi.filter(|vmi| is_owned(vmi, &vm));
    let now = hub.now();
    let plan = plan(&vm, vmi.as_deref(), now);
    if plan.actions.contains(&Action::DeleteVmi) {
        // Failed starts must be counted before the VMI that tells of them is deleted.
        if let Err(error) = report(&hub, &vm, vmi.as_deref(), &plan, None).await {
            return Next::Failed(Why::of("StatusNotWritten", &error));
        }
    }
    let mut failure = None;
    for action in &plan.actions {
        match apply(&hub, &vm, vmi.as_deref(), action).await {
            Ok(made) => vmi = made.or(vmi),
            Err(error) if error.passes() => return Next::Failed(Why::of("FailedCreate", &error)),
            Err(error) => {
                failure = Some(Why::of("FailedCreate", &error));
                break;
            }
        }
    }
    if let Some(why) = &failure {
        hub.event(vm.as_ref(), EventType::Warning, &why.reason, &why.message).await;
    } else if plan.actions.contains(&Action::RemoveFinalizer) {
        return Next::Settled;
    }
    // A VMI without a status says nothing yet, and says something in a moment.
    let silent = failure.is_none() && vmi.as_ref().is_some_and(|vmi| vmi.status.is_none());
    if !silent && let Err(error) = report(&hub, &vm, vmi.as_deref(), &plan, failure.as_ref()).await {
        return Next::Failed(Why::of("StatusNotWritten", &error));
    }
    match (failure, plan.wait) {
        (Some(why), _) => Next::Failed(why),
        // Time passes without an event.
        (None, Some(wait)) => Next::After(wait, Why::new("CrashLoopBackOff", "the next start waits")),
        (None, None) => Next::Settled,
    }
}

/// Writes the status; a VirtualMachine that is gone needs none.
async fn report(
    hub: &Arc<Hub>,
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
    plan: &Plan,
    failure: Option<&Why>,
) -> Result<(), Error> {
    let status = report::status(vm, vmi, plan, failure, hub.now());
    match hub.patch_status(vm, json!(status)).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// The VMI by its name. For a VirtualMachine that is to start one, and for one on its way out, a VMI that
/// the watch does not have is asked for at the API server.
async fn observe(hub: &Arc<Hub>, vm: &VirtualMachine) -> Result<Option<Arc<VirtualMachineInstance>>, Error> {
    let key = Key::of(vm);
    match hub.watch::<VirtualMachineInstance>().get(&key) {
        Some(vmi) => Ok(Some(vmi)),
        None if vm.metadata.deletion_timestamp.is_some() => Ok(hub.get(&key).await?.map(Arc::new)),
        None => Ok(None),
    }
}

fn is_owned(vmi: &VirtualMachineInstance, vm: &VirtualMachine) -> bool {
    vmi.owner_references().iter().any(|owner| Some(&owner.uid) == vm.uid().as_ref())
}

/// A VMI of this name that is not ours is never touched.
async fn taken(hub: &Arc<Hub>, vm: &VirtualMachine, other: &VirtualMachineInstance) -> Next {
    let why = Why::new(
        "VMINameTaken",
        format!(
            "VirtualMachineInstance {} belongs to somebody else; delete it or rename this",
            other.name_any()
        ),
    );
    match report(hub, vm, None, &Plan::default(), Some(&why)).await {
        Ok(()) => Next::OnChange(why),
        Err(error) => Next::Failed(Why::of("StatusNotWritten", &error)),
    }
}

/// The only place that writes, but for the status. Gives the VMI if it made one.
async fn apply(
    hub: &Arc<Hub>,
    vm: &Arc<VirtualMachine>,
    vmi: Option<&VirtualMachineInstance>,
    action: &Action,
) -> Result<Option<Arc<VirtualMachineInstance>>, Error> {
    match action {
        Action::AddFinalizer => {
            finalizer::ensure(hub, vm, VM_FINALIZER).await?;
        }
        Action::CreateVmi => match hub.create(&instance(vm)).await {
            // The watch lags behind an own write: its event starts the next run.
            Err(error) if error.is_conflict() => {}
            made => return made.map(Some),
        },
        Action::DeleteVmi => {
            if let Some(vmi) = vmi {
                hub.delete(vmi).await?;
            }
        }
        Action::RemoveFinalizer => finalizer::remove(hub, vm, VM_FINALIZER).await?,
    }
    Ok(None)
}

/// The VMI that a VirtualMachine starts.
#[must_use]
pub fn instance(vm: &VirtualMachine) -> VirtualMachineInstance {
    let meta = vm.spec.template.metadata.clone().unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    let generation = vm.metadata.generation.unwrap_or_default().to_string();
    annotations.insert(VM_GENERATION_ANNOTATION.to_owned(), generation);
    let mut vmi = VirtualMachineInstance::new(&vm.name_any(), vm.spec.template.spec.clone());
    vmi.metadata.namespace = vm.namespace();
    vmi.metadata.labels = meta.labels;
    vmi.metadata.annotations = Some(annotations);
    vmi.metadata.owner_references = Some(vm.controller_owner_ref(&()).into_iter().collect());
    vmi.metadata.finalizers = Some(vec![VMI_FINALIZER.to_owned()]);
    vmi
}
