//! BMCs that are away for long, with rests that no test waits for.

mod support;

use std::sync::Mutex;
use std::time::Duration;

use scute_api::metal3::{BareMetalHost, ErrorType, ProvisioningState as State};
use scute_bmc::{Fault, Rule};
use scute_metal::{Config, Patience};
use scute_redfish::Patience as BmcPatience;
use support::{Bench, Rig, error, state};

/// With a manager that rests an hour after a failure.
async fn bench(prefix: &str) -> Bench {
    let server = scute_testkit::server().await;
    scute_testkit::once(async {
        support::prepare(server).await;
        let config = support::config();
        let patience = Patience {
            rest: Duration::from_secs(3600),
            probe: Duration::from_millis(100),
            ..config.patience
        };
        let request = Duration::from_millis(500);
        let bmc_patience = BmcPatience { request, ..config.bmc_patience };
        let config = Config { patience, bmc_patience, ..config };
        let mut tasks = support::spawn(server.client().await, &config);
        tokio::spawn(async move { while tasks.join_next().await.is_some() {} });
    })
    .await;
    Bench::on(server, prefix).await
}

fn is_silent(host: &BareMetalHost) -> bool {
    error(host).is_some_and(|(kind, why)| kind == ErrorType::Registration && why.contains("does not answer"))
}

/// Waits until the BMC has been asked for its service root so often, and gives everything that it was asked since the last time.
async fn asked_for_the_root(rig: &Rig, times: usize) -> Vec<String> {
    let all = Mutex::new(Vec::new());
    scute_testkit::until("asked for its service root", || async {
        let mut all = all.lock().unwrap();
        all.extend(
            rig.bmc.take_requests().iter().map(|request| format!("{} {}", request.method, request.path)),
        );
        (all.iter().filter(|request| *request == "GET /redfish/v1/").count() >= times).then_some(())
    })
    .await;
    all.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_that_comes_back_after_an_outage_is_not_kept_waiting() {
    let (bench, rig) = (bench("outage").await, Rig::new(61));
    rig.cut_off();
    bench.credentials("a", support::PASSWORD).await;
    bench.host("a", &rig.address, support::bare(&rig.mac)).await;
    bench.until("a", "without its BMC", is_silent).await;
    rig.come_back();
    bench.until_state("a", State::Available).await;
    bench.until("a", "well", |host| error(host).is_none()).await;
    rig.cut_off();
    bench.until("a", "without its BMC again", is_silent).await;
    rig.come_back();
    bench.until("a", "well again", |host| error(host).is_none()).await;
}

/// A BMC whose service root is given and that does nothing else is asked for that only: nobody is to be locked out.
#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_that_only_seems_to_be_back_is_left_alone() {
    let (bench, rig) = (bench("seems").await, Rig::new(62));
    rig.fault(Rule::always("SessionService", Fault::Hang));
    bench.credentials("a", support::PASSWORD).await;
    bench.host("a", &rig.address, support::bare(&rig.mac)).await;
    bench.until("a", "without its BMC", is_silent).await;
    let twice = |host: &BareMetalHost| is_silent(host) && host.status.as_ref().unwrap().error_count == 2;
    bench.until("a", "asked once more", twice).await;
    rig.bmc.take_requests();
    let requests = asked_for_the_root(&rig, 20).await;
    assert!(requests.iter().all(|request| request == "GET /redfish/v1/"), "{requests:?}");
    let host = bench.api::<BareMetalHost>().get("a").await.unwrap();
    assert_eq!((state(&host), host.status.unwrap().error_count), (State::Registering, 2));
    // It has to be away, and to come back.
    rig.bmc.clear_faults();
    rig.fault(Rule::always("", Fault::http(503)));
    asked_for_the_root(&rig, 2).await;
    rig.bmc.clear_faults();
    bench.until_state("a", State::Available).await;
}
