//! The order in which a site comes up. In: its configuration and bundle. Out: a ready Node with the manager on it.
//!
//! ```text
//! certificates ─► containerd ─┬► control plane images ─► etcd, API server ─► ready ─┬► scheduler, … ─► Node ready
//!                             └► kubelet (its connection waits at the gate)         └► CRDs, manager ─► other images
//! ```

use super::{
    accelerator, cni, containerd, facts,
    images::{ImageError, Importer},
    init::{InitError, Site, configuration},
    kubelet, pki, proxy, static_pods,
    static_pods::StaticPod,
};
use crate::{Layout, SiteConfig};
use futures::TryFutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use kube::{Api, Client, Config, config::Kubeconfig};
use scute_bundle::Bundle;
use scute_install::{self as install, InstallError};
use scute_processes::{
    chain, files,
    keep::{self as processes, Keep},
};
use std::{fs, io, path::Path, path::PathBuf, process::Command, sync::Arc};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Duration, sleep, timeout},
};

/// Why a site is not up.
#[derive(Debug, thiserror::Error)]
pub enum BringUpError {
    /// The configuration.
    #[error(transparent)]
    Init(#[from] InitError),
    /// What `up` left for us.
    #[error("{path} cannot be read; `scute up` brings it back")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The bundle's index.
    #[error("{path} is no index of a bundle; `scute up` brings it back")]
    Index {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A certificate.
    #[error(transparent)]
    Pki(#[from] pki::PkiError),
    /// An image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A file.
    #[error("{path} cannot be written")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What the probe guest told.
    #[error("what guests run on cannot be written down")]
    Probe(#[source] io::Error),
    /// Asking for containerd's defaults.
    #[error("containerd's default specification of containers is not known")]
    Spec(#[source] processes::OnceError),
    /// They are none.
    #[error("containerd's default specification of containers is no JSON")]
    NoSpec(#[source] serde_json::Error),
    /// The site's own kubeconfig.
    #[error("no client for the API server")]
    Client(#[source] kube::Error),
    /// The site's own kubeconfig.
    #[error("the site's kubeconfig cannot be used")]
    Kubeconfig(#[source] kube::config::KubeconfigError),
    /// Something that should have happened by now has not.
    #[error("{what} after {seconds} s; see {log}")]
    Late {
        /// What has not happened.
        what: &'static str,
        /// How long it was waited for.
        seconds: u64,
        /// Where to look.
        log: PathBuf,
    },
    /// Watching the Node.
    #[error("the Node cannot be watched")]
    Watch(#[source] kube::runtime::wait::Error),
    /// What the installer is told.
    #[error(transparent)]
    Facts(#[from] facts::FactsError),
    /// Installing what runs on the cluster.
    #[error(transparent)]
    Install(#[from] InstallError),
}

/// Name of the step that ends with a ready Node.
pub const NODE_READY: &str = "Node ready";

/// How long one step may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(180);
/// Pause before a failed attempt is repeated.
const RETRY: Duration = Duration::from_secs(5);

/// Brings the site up, again after failures and whenever asked. Does not return.
pub async fn run(site: Arc<Site>, mut asked: mpsc::Receiver<()>) {
    let mut kept = JoinSet::new();
    loop {
        match attempt(&site, &mut kept).await {
            Ok(()) => {
                site.board.up();
                if asked.recv().await.is_none() {
                    return;
                }
            }
            Err(error) => {
                let why = chain(&error);
                tracing::error!(error = why, "the site did not come up");
                site.board.failed(&why);
                _ = timeout(RETRY, asked.recv()).await;
                site.board.clear();
            }
        }
    }
}

async fn attempt(site: &Arc<Site>, kept: &mut JoinSet<()>) -> Result<(), BringUpError> {
    let board = &site.board;
    let config = configuration(&site.layout)?;
    let bundle = kept_bundle(&site.layout, &config)?;
    board.step("certificates and configuration", lay_out(site, &config)).await?;
    if kept.is_empty() {
        keep_containerd(site, kept);
    }
    board.step("containerd", containerd_ready(site)).await?;
    if kept.len() < 2 {
        keep_kubelet(site, &config, kept);
    }
    let importer = Importer::open(site.layout.clone(), site.reaper.clone()).await?;
    let kubernetes = control_plane_images();
    board.step("control plane images", importer.import_named(&bundle, &kubernetes)).await?;
    write_manifests(site, static_pods::first(&site.layout, &config))?;
    let client = client(site).await?;
    board.step("API server", api_ready(site, &client)).await?;
    let was_open = site.gate.send_replace(true);
    write_manifests(site, static_pods::second(&site.layout, &config))?;
    // Once the kubelet has spoken it need not do so again: it is silent for minutes, and clocks are set.
    let since = (!was_open).then_some(site.since);
    board.step(NODE_READY, node_ready(site, &config, &client, since)).await?;
    let mut images = install::images();
    // A bundle need not have it; a manager that mounts it must find it.
    let mounted = [install::ramdisk_image(), install::node_image()];
    images.extend(mounted.into_iter().filter(|image| bundle.image(image).is_ok()));
    let webhook_ca = facts::webhook(&site.layout)?.ca;
    let definitions = install::definitions(&client, &webhook_ca, &[]);
    let definitions = board.step("custom resources", definitions).map_err(BringUpError::from);
    let probe = async {
        board.step("manager, launcher and DNS images", importer.import_named(&bundle, &images)).await?;
        board.step("probe guest", accelerator::probe(site)).await.map_err(BringUpError::Probe)
    };
    let (_, probe) = tokio::try_join!(definitions, probe)?;
    let manager = async {
        let facts = facts::observe(&site.layout, &config, probe.accelerator, &bundle)?;
        install::manager(&client, &facts).await.map_err(BringUpError::from)
    };
    let manager = board.step("manager", manager);
    let images = board.step("other images", importer.import_all(&bundle)).map_err(BringUpError::from);
    tokio::try_join!(manager, images)?;
    Ok(())
}

/// The bundle as `up` found it: with its index the site knows what it has, and only what is missing needs the folder.
fn kept_bundle(layout: &Layout, config: &SiteConfig) -> Result<Bundle, BringUpError> {
    let path = layout.bundle_index();
    let text = fs::read(&path).map_err(|source| BringUpError::Read { path: path.clone(), source })?;
    Bundle::read(&config.bundle, &text).map_err(|source| BringUpError::Index { path, source })
}

/// Images without which no Node gets ready.
fn control_plane_images() -> Vec<String> {
    let components = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"];
    let mut names = vec![containerd::PAUSE_IMAGE.to_owned(), scute_install::etcd::ETCD_IMAGE.to_owned()];
    names.extend(components.map(static_pods::kubernetes_image));
    names
}

fn file(path: PathBuf) -> impl FnOnce(io::Error) -> BringUpError {
    move |source| BringUpError::File { path, source }
}

/// Certificates, kubeconfigs and the configuration of every component.
async fn lay_out(site: &Arc<Site>, config: &SiteConfig) -> Result<(), BringUpError> {
    let layout = &site.layout;
    // Once in the life of an init: components hold the leaf certificates open.
    if !*site.gate.borrow() {
        pki::lay_out(layout, config, jiff::Timestamp::now())?;
    }
    let bridged = Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists();
    let may_raise = crate::host::facts::may_raise_limits();
    let json = |value: serde_json::Value| value.to_string();
    let spec = default_spec(site).await?;
    for (path, text) in [
        (layout.at("kubernetes/kubelet.json"), json(kubelet::render_config(layout, config))),
        (
            layout.at("kubernetes/kube-proxy.json"),
            json(proxy::render_config(layout, config, bridged, may_raise)),
        ),
        (PathBuf::from("/run/scute-node/cni/10-scute.conflist"), json(cni::render(config))),
        (layout.at("containerd.toml"), containerd::render_config(layout, !may_raise)),
        (containerd::kvm_spec_file(layout), json(containerd::with_kvm(spec))),
    ] {
        files::replace_if_changed(&path, text.as_bytes(), 0o644).map_err(file(path))?;
    }
    for data in ["etcd", "etcd-tenants"] {
        let path = layout.at(data);
        files::folder(&path, 0o700).map_err(file(path))?;
    }
    Ok(())
}

/// What containerd gives a container that asks for nothing; it need not run to say so.
async fn default_spec(site: &Site) -> Result<serde_json::Value, BringUpError> {
    let mut ctr = Command::new(site.layout.bin("ctr"));
    let text = processes::once(&site.reaper, ctr.args(["oci", "spec"])).await.map_err(BringUpError::Spec)?;
    serde_json::from_str(&text).map_err(BringUpError::NoSpec)
}

fn keep_containerd(site: &Arc<Site>, kept: &mut JoinSet<()>) {
    let layout = &site.layout;
    let path = format!(
        "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        layout.at("bin").display()
    );
    let mut env = vec![("PATH".to_owned(), path)];
    if layout.at("lib").exists() {
        // For runc, which is the only dynamically linked one.
        env.push(("LD_LIBRARY_PATH".to_owned(), layout.at("lib").display().to_string()));
    }
    let args = vec!["--config".to_owned(), layout.at("containerd.toml").display().to_string()];
    keep(
        site,
        kept,
        Keep {
            name: "containerd",
            program: layout.bin("containerd"),
            args,
            env,
            log: layout.log("containerd"),
        },
    );
}

fn keep_kubelet(site: &Arc<Site>, config: &SiteConfig, kept: &mut JoinSet<()>) {
    let layout = &site.layout;
    let mut args = vec!["kubelet".to_owned()];
    args.extend(kubelet::arguments(layout, config));
    keep(
        site,
        kept,
        Keep {
            name: "kubelet",
            program: layout.bin("kube"),
            args,
            env: Vec::new(),
            log: layout.log("kubelet"),
        },
    );
}

fn keep(site: &Arc<Site>, kept: &mut JoinSet<()>, what: Keep) {
    let (reaper, table) = (site.reaper.clone(), site.table.clone());
    kept.spawn(async move { match processes::keep(what, reaper, table).await {} });
}

async fn containerd_ready(site: &Site) -> Result<(), BringUpError> {
    let socket = site.layout.containerd_socket();
    // containerd tells nobody when it listens.
    let listening = async {
        while tokio::net::UnixStream::connect(&socket).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    in_time(site, "containerd does not listen", "containerd", listening).await
}

fn write_manifests(site: &Site, pods: Vec<StaticPod>) -> Result<(), BringUpError> {
    for StaticPod { name, manifest } in pods {
        let path = site.layout.manifests().join(format!("{name}.json"));
        files::replace_if_changed(&path, manifest.to_string().as_bytes(), 0o600).map_err(file(path))?;
    }
    Ok(())
}

async fn client(site: &Site) -> Result<Client, BringUpError> {
    let kubeconfig = Kubeconfig::read_from(site.layout.at("kubernetes/site.kubeconfig"))
        .map_err(BringUpError::Kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &Default::default())
        .await
        .map_err(BringUpError::Kubeconfig)?;
    // The site is on this machine, whatever proxy the environment names for the rest of the world.
    config.proxy_url = None;
    Client::try_from(config).map_err(BringUpError::Client)
}

/// Asks `/readyz` until it says yes. There is no event before the first connection is accepted.
async fn api_ready(site: &Site, client: &Client) -> Result<(), BringUpError> {
    let ready = async {
        loop {
            let request = http::Request::get("/readyz").body(Vec::new()).map_err(kube::Error::HttpError);
            if let Ok(request) = request
                && client.request_text(request).await.is_ok()
            {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    in_time(site, "the API server is not ready", "kubelet", ready).await
}

/// Waits until the Node is ready, by what its kubelet said `since` then.
async fn node_ready(
    site: &Site,
    config: &SiteConfig,
    client: &Client,
    since: Option<Timestamp>,
) -> Result<(), BringUpError> {
    let nodes: Api<Node> = Api::all(client.clone());
    let is_ready = |node: Option<&Node>| {
        let status = node.and_then(|node| node.status.as_ref());
        let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let heard = |c: &NodeCondition| c.last_heartbeat_time.as_ref().map(|time| time.0) >= since;
        conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True" && heard(c))
    };
    let ready = kube::runtime::wait::await_condition(nodes, config.node_name(), is_ready);
    in_time(site, "the Node is not ready", "kubelet", ready).await?.map_err(BringUpError::Watch)?;
    Ok(())
}

async fn in_time<T>(
    site: &Site,
    what: &'static str,
    log: &str,
    work: impl Future<Output = T>,
) -> Result<T, BringUpError> {
    let late = |_| BringUpError::Late { what, seconds: PATIENCE.as_secs(), log: site.layout.log(log) };
    timeout(PATIENCE, work).await.map_err(late)
}
