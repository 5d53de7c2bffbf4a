//! From this machine to a tenant cluster with a Node and a Pod on it. It leaves the site up.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{bundle, run, say, setup, workspace};

/// The network of the first site's pool, where the first example has its address.
const NETWORK: &str = "172.30.0";
const KUBECONFIG: &str = "/var/lib/scute/scute/admin.kubeconfig";
/// What a slow emulated machine may take.
const PATIENCE: &str = "--timeout=900s";

/// Options of the demo.
#[derive(clap::Args)]
pub struct Args {
    /// A tenant with two kinds of Nodes, a virtual machine and a server of a virtual rack
    #[arg(long)]
    metal: bool,
    /// A tenant of virtual machines alone, its control plane too
    #[arg(long, conflicts_with = "metal")]
    virtualized: bool,
}

/// What is shown.
struct Story {
    tenant: &'static str,
    manifest: &'static str,
    /// Its MachineDeployments.
    pools: &'static [&'static str],
}

const FIRST: Story =
    Story { tenant: "first", manifest: "examples/first-tenant.yaml", pools: &["first-md-0"] };
const MIXED: Story =
    Story { tenant: "mixed", manifest: "examples/mixed-tenant.yaml", pools: &["mixed-vm", "mixed-metal"] };
const VIRTUALIZED: Story =
    Story { tenant: "virtual", manifest: "examples/virtualized-tenant.yaml", pools: &["virtual-md-0"] };

/// `cargo xtask demo`.
pub fn run(args: &Args) -> Result<()> {
    let story = match (args.metal, args.virtualized) {
        (true, _) => &MIXED,
        (_, true) => &VIRTUALIZED,
        _ => &FIRST,
    };
    let started = Instant::now();
    setup::run()?;
    setup::root("bringing up a site")?;
    let bundle = bundle::default()?;
    let scute = bundle.join("bin/scute");
    say::stream("scute up", || run::loud(Command::new(&scute).arg("up").arg("--bundle").arg(&bundle)))?;
    let management = Kubectl { kube: bundle.join("bin/kube"), kubeconfig: KUBECONFIG.into() };
    let telling = args.metal.then(|| Servers::tell(&management)).transpose()?;
    if args.metal {
        servers(&scute, &management)?;
    }
    let ready = Instant::now();
    if args.virtualized {
        say::step("ConfigMap of the Pod network", || pod_network(&scute, &management))?;
    }
    story.apply(&management, &scute)?;
    drop(telling);
    let kubeconfig = say::step("kubeconfig of the tenant", || kubeconfig(story.tenant, &scute, &bundle))?;
    let tenant = Kubectl { kube: management.kube.clone(), kubeconfig };
    nodes(&tenant)?;
    if args.metal {
        talk(&tenant)?
    } else {
        pod(&tenant)?
    }
    say::note(&format!("tenant {} after {}", story.tenant, say::duration(ready.elapsed())));
    say::note(&format!("all of it after {}", say::duration(started.elapsed())));
    print!("\n{}", tenant.output(&["get", "nodes", "--output=wide"])?);
    next(story.tenant, &scute, &tenant.kubeconfig);
    Ok(())
}

/// A rack of one server, known to the management cluster, inspected and available.
fn servers(scute: &Path, management: &Kubectl) -> Result<()> {
    let rack = |arguments: &[&str]| run::output(Command::new(scute).arg("rack").args(arguments));
    say::step("scute rack up --hosts 1", || rack(&["up", "--hosts", "1", "--memory", "2048"]))?;
    say::step("BareMetalHost of the server", || management.apply(&rack(&["list", "--output", "yaml"])?))?;
    let available = "--for=jsonpath={.status.provisioning.state}=available";
    say::step("server registered, inspected and available", || {
        management.output(&["wait", "baremetalhosts", "--all", available, PATIENCE])
    })
    .map(drop)
}

/// What the example's ClusterResourceSet puts into its cluster.
fn pod_network(scute: &Path, management: &Kubectl) -> Result<String> {
    let manifests = run::output(Command::new(scute).args(["podnet", "manifests"]))?;
    let metadata = serde_json::json!({"name": "podnet"});
    let map = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"podnet.yaml": manifests}});
    management.apply(&map.to_string())
}

/// What the servers say of what goes on, printed when it changes, until this is dropped.
struct Servers(Child);

impl Servers {
    fn tell(management: &Kubectl) -> Result<Self> {
        let line = "--output=jsonpath={.metadata.name}: {.status.provisioning.state} \
                    {.status.conditions[?(@.type==\"Progressing\")].message}{\"\\n\"}";
        let mut watch = management.command(&["get", "baremetalhosts", "--watch", line]);
        let mut watch = watch.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start kubectl")?;
        let lines = BufReader::new(watch.stdout.take().context("what kubectl prints")?).lines();
        std::thread::spawn(move || {
            let mut last = String::new();
            for line in lines.map_while(Result::ok) {
                if line.trim() != last {
                    line.trim().clone_into(&mut last);
                    say::note(&last);
                }
            }
        });
        Ok(Self(watch))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Kubectl {
    kube: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    fn command(&self, args: &[&str]) -> Command {
        let mut kubectl = Command::new(&self.kube);
        kubectl.arg("kubectl").arg("--kubeconfig").arg(&self.kubeconfig).args(args);
        kubectl
    }

    fn output(&self, args: &[&str]) -> Result<String> {
        run::output(&mut self.command(args))
    }

    fn apply(&self, manifest: &str) -> Result<String> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), manifest)?;
        self.output(&["apply", "--filename", &file.path().display().to_string()])
    }
}

/// The example, with addresses of this site's pool: where something on the machine has the first site's usual range, the
/// site has another one.
fn manifest(path: &str, scute: &Path) -> Result<String> {
    let text = std::fs::read_to_string(workspace::root().join(path)).with_context(|| path.to_owned())?;
    // It exits with 1 where something is wrong with the site, and says all the same which pools it has.
    let status = Command::new(scute).args(["status", "--output", "json"]).output().context("scute status")?;
    let status: serde_json::Value = serde_json::from_slice(&status.stdout)
        .with_context(|| format!("scute status: {}", String::from_utf8_lossy(&status.stderr)))?;
    let pool = status["pools"][0]["range"].as_str().context("the site has no LoadBalancer pool")?;
    in_pool(&text, pool).context("the pool of the site")
}

fn in_pool(manifest: &str, pool: &str) -> Option<String> {
    let (network, _) = pool.split('-').next()?.rsplit_once('.')?;
    Some(manifest.replace(&format!("{NETWORK}."), &format!("{network}.")))
}

impl Story {
    fn apply(&self, management: &Kubectl, scute: &Path) -> Result<()> {
        let manifest = manifest(self.manifest, scute)?;
        say::step(&format!("apply {}", self.manifest), || management.apply(&manifest))?;
        self.wait(
            management,
            "control plane of the tenant",
            &format!("cluster/{}", self.tenant),
            "condition=ControlPlaneAvailable",
        )?;
        // A pool that may do without its only Machine is Available before that has come.
        self.pools.iter().try_for_each(|pool| {
            self.wait(
                management,
                &format!("Machine of {pool}"),
                &format!("machinedeployment/{pool}"),
                "jsonpath={.status.availableReplicas}=1",
            )
        })
    }

    fn wait(&self, management: &Kubectl, title: &str, object: &str, condition: &str) -> Result<()> {
        let condition = format!("--for={condition}");
        let waited = say::step(title, || management.output(&["wait", object, &condition, PATIENCE]));
        waited.map(drop).with_context(|| format!("see: scute cluster describe {}", self.tenant))
    }
}

fn kubeconfig(tenant: &str, scute: &Path, bundle: &Path) -> Result<PathBuf> {
    let mut command = Command::new(scute);
    command.args(["cluster", "kubeconfig", tenant]).env("KUBECONFIG", KUBECONFIG);
    let path = bundle.with_file_name(format!("{tenant}.kubeconfig"));
    let text = run::output(&mut command)?;
    // It is an administrator's key: nobody else may read it, at no moment.
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    crate::cache::remove(&path)?;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(text.as_bytes())?;
    Ok(path)
}

fn nodes(tenant: &Kubectl) -> Result<()> {
    let args = ["wait", "nodes", "--all", "--for=condition=Ready", PATIENCE];
    say::step("Nodes of the tenant", || tenant.output(&args)).map(drop)
}

fn pod(tenant: &Kubectl) -> Result<()> {
    // The pod network's own image is on every Node; no registry is asked.
    let image = format!("--image=scute.dev/scute:{}", workspace::SCUTE);
    let run = ["run", "hello", &image, "--image-pull-policy=Never", "--restart=Never", "--command", "--"];
    say::step("Pod on the Node", || {
        tenant.output(&["delete", "pod", "hello", "--ignore-not-found"])?;
        tenant.output(&[&run[..], &["/usr/local/bin/scute", "--version"]].concat())?;
        tenant.output(&["wait", "pod/hello", "--for=jsonpath={.status.phase}=Succeeded", PATIENCE])?;
        let log = tenant.output(&["logs", "hello"])?;
        if !log.contains(workspace::SCUTE) {
            bail!("the Pod ran, but its log is not what it printed: {log:?}");
        }
        Ok(())
    })
}

/// Pods on both Nodes ask each other.
fn talk(tenant: &Kubectl) -> Result<()> {
    let path = |name: &str| workspace::root().join("examples").join(name).display().to_string();
    let (answers, asks) = (path("talk.yaml"), path("ask.yaml"));
    say::step("Pods on both Nodes reach each other", || {
        tenant.output(&["delete", "--filename", &answers, "--filename", &asks, "--ignore-not-found"])?;
        tenant.output(&["apply", "--filename", &answers])?;
        tenant.output(&["rollout", "status", "statefulset/answers", PATIENCE])?;
        tenant.output(&["rollout", "status", "deployment/coredns", "--namespace=kube-system", PATIENCE])?;
        tenant.output(&["apply", "--filename", &asks])?;
        tenant.output(&["wait", "job/asks", "--for=condition=Complete", PATIENCE])
    })
    .map(drop)
}

fn next(tenant: &str, scute: &Path, kubeconfig: &Path) {
    println!(
        "\nThe site stays up. Worth typing next:\n\n  \
         export KUBECONFIG={KUBECONFIG} PATH={bin}:$PATH\n  \
         scute cluster describe {tenant}\n  \
         kube kubectl --kubeconfig {kubeconfig} get pods --all-namespaces\n  \
         scute down",
        bin = scute.parent().unwrap_or(Path::new(".")).display(),
        kubeconfig = kubeconfig.display(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_gets_an_address_of_the_sites_pool() {
        let example = std::fs::read_to_string(workspace::root().join(FIRST.manifest)).unwrap();
        assert_eq!(in_pool(&example, "172.30.0.128-172.30.0.254").as_deref(), Some(&*example));
        let moved = in_pool(&example, "172.30.3.128-172.30.3.254").unwrap();
        assert_eq!(moved.matches("172.30.3.171").count(), example.matches(NETWORK).count());
        assert!(!moved.contains(&format!("{NETWORK}.")));
    }
}
