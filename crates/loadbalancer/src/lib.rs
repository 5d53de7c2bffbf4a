//! Addresses for Services of type LoadBalancer. In: Services and the pools of the manager's configuration.
//! Out: each Service's ingress address, or the reason why it has none, on the Service. All state is in the Services:
//! an address is free when no Service has it. Never: touches a Service of another `loadBalancerClass`, or any at all
//! while MetalLB is installed. kube-proxy answers on the addresses; whoever chose the pools routes them to a Node.

mod observe;
mod plan;
mod report;
mod validate;

use k8s_openapi::{
    api::core::v1::Service, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use scute_api::addresses::AddressRange;
use scute_kit::{Controller, Hub, Key, Next, Watch, Why};
use std::sync::Arc;
use tokio::task::JoinSet;

/// The `loadBalancerClass` that names this controller; a Service without a class is ours too.
pub const CLASS: &str = "scute.dev/loadbalancer";

struct Context {
    hub: Arc<Hub>,
    pools: Vec<AddressRange>,
}

/// Starts the controller, unless there is no pool.
pub fn spawn(hub: &Arc<Hub>, pools: &[AddressRange], tasks: &mut JoinSet<()>) {
    if pools.is_empty() {
        return;
    }
    let context = Arc::new(Context { hub: hub.clone(), pools: pools.to_vec() });
    let services = hub.watch::<Service>();
    let definitions = hub.watch_meta::<CustomResourceDefinition>();
    let (waiting, all) = (services.clone(), services.clone());
    let controller = Controller::<Service>::new("loadbalancer", hub)
        // A freed address may be what another Service waits for.
        .listen(services, move |_| keys(&waiting, observe::waits))
        .listen(definitions.clone(), move |crd| {
            let metallb = crd.metadata.name.as_deref() == Some(observe::METALLB);
            if metallb { keys(&all, observe::is_load_balancer) } else { Vec::new() }
        })
        // One at a time: each decision must see the one before.
        .concurrency(1);
    tasks.spawn(async move {
        definitions.ready().await;
        controller.run(context, reconcile).await;
    });
}

fn keys(services: &Watch<Service>, which: impl Fn(&Service) -> bool) -> Vec<Key> {
    services.list().iter().filter(|service| which(service)).map(|service| Key::of(service.as_ref())).collect()
}

async fn reconcile(service: Arc<Service>, context: Arc<Context>) -> Next {
    let Some(seen) = observe::observe(&context.hub, &service) else { return Next::Settled };
    let wanted = validate::validate(&service, &context.pools);
    let decision = match &wanted {
        Ok(wanted) => plan::plan(&seen, wanted, &context.pools),
        Err(why) => plan::Plan::Refuse(why.clone()),
    };
    match report::report(&context.hub, &service, &seen, &decision).await {
        Err(error) => Next::Failed(Why::of("StatusNotWritten", &error)),
        Ok(()) => match decision {
            plan::Plan::Refuse(why) => Next::OnChange(why),
            plan::Plan::Ignore | plan::Plan::Release | plan::Plan::Assign(_) => Next::Settled,
        },
    }
}
