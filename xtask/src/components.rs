//! Upstream's components, built from their Go modules. In: the modules below `components/`.
//! Out: binaries in the cache, one folder per module, version and key.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, Key};
use crate::workspace::{self, CLUSTERCTL, CONTAINERD, COREDNS, HELM, KUBERNETES};
use crate::{run, say, setup};

/// Which components to build.
#[derive(clap::Args)]
pub struct Args {
    /// Only this Kubernetes version, and nothing else
    #[arg(long, value_name = "VERSION")]
    kubernetes: Option<String>,
    /// Write the module files of a further Kubernetes version
    #[arg(long, value_name = "VERSION")]
    pin: Option<String>,
}

/// One build of one Go module.
struct Module {
    /// Folder below `components/`.
    folder: &'static str,
    version: &'static str,
    /// Packages to build, as `go build` takes them.
    packages: &'static str,
    tags: &'static str,
    /// Variables that the linker sets.
    set: Vec<(&'static str, String)>,
}

/// Where the binaries of each component lie.
pub struct Built {
    /// The multi-call binary of the default Kubernetes version.
    pub kube: PathBuf,
    /// CoreDNS.
    pub coredns: PathBuf,
    /// Folder with containerd, its shim and ctr.
    pub containerd: PathBuf,
}

/// `cargo xtask components`.
pub fn run(args: &Args) -> Result<()> {
    setup::run()?;
    if let Some(version) = &args.pin {
        return pin(version);
    }
    let cache = Cache::open()?;
    if let Some(version) = &args.kubernetes {
        let version = KUBERNETES.iter().find(|known| *known == version).with_context(|| {
            format!("Kubernetes {version} is not pinned; known: {}", KUBERNETES.join(", "))
        })?;
        println!("{}", kube(&cache, version)?.display());
        return Ok(());
    }
    for version in KUBERNETES {
        println!("{}", kube(&cache, version)?.display());
    }
    let built = build(&cache)?;
    println!("{}\n{}", built.coredns.display(), built.containerd.display());
    Ok(())
}

/// Builds what a bundle needs, unless it is there.
pub fn build(cache: &Cache) -> Result<Built> {
    Ok(Built {
        kube: kube(cache, workspace::kubernetes())?,
        coredns: make(cache, &coredns())?.join("coredns"),
        containerd: make(cache, &containerd())?,
    })
}

/// Builds one version of the multi-call binary and points `bin/kube-VERSION` at it.
pub fn kube(cache: &Cache, version: &'static str) -> Result<PathBuf> {
    let binary = make(cache, &kubernetes(version)?)?.join("kube");
    cache.link(&format!("kube-{version}"), &binary)?;
    Ok(binary)
}

/// Builds clusterctl, which no bundle has: tests call it.
pub fn clusterctl(cache: &Cache) -> Result<PathBuf> {
    let module = Module { folder: "clusterctl", version: CLUSTERCTL, packages: ".", tags: "", set: vec![] };
    Ok(make(cache, &module)?.join("clusterctl"))
}

/// Builds helm, which judges the chart.
pub fn helm(cache: &Cache) -> Result<PathBuf> {
    let set = vec![("helm.sh/helm/v3/internal/version", format!("version={HELM}"))];
    let module = Module { folder: "helm", version: HELM, packages: "tool", tags: "", set };
    Ok(make(cache, &module)?.join("helm"))
}

fn kubernetes(version: &'static str) -> Result<Module> {
    let (major, minor) = major_minor(version)?;
    let package = "k8s.io/component-base/version";
    Ok(Module {
        folder: "kube",
        version,
        packages: ".",
        tags: "",
        set: vec![
            (package, format!("gitVersion={version}")),
            (package, format!("gitMajor={major}")),
            (package, format!("gitMinor={minor}")),
            (package, "gitTreeState=clean".into()),
        ],
    })
}

fn coredns() -> Module {
    Module { folder: "coredns", version: COREDNS, packages: ".", tags: "", set: vec![] }
}

fn containerd() -> Module {
    let package = "github.com/containerd/containerd/v2/version";
    Module {
        folder: "containerd",
        version: CONTAINERD,
        packages: "tool",
        // Snapshotters that no site uses.
        tags: "no_btrfs no_zfs no_devmapper",
        set: vec![(package, format!("Version={CONTAINERD}"))],
    }
}

impl Module {
    fn source(&self) -> PathBuf {
        workspace::root().join("components").join(self.folder)
    }

    /// The default version's module file is `go.mod`; further versions lie beside it.
    fn modfile(&self) -> String {
        match self.folder == "kube" && self.version != workspace::kubernetes() {
            true => format!("{}.mod", self.version),
            false => "go.mod".into(),
        }
    }

    fn arguments(&self) -> Vec<String> {
        let set: String = self.set.iter().map(|(package, pair)| format!(" -X {package}.{pair}")).collect();
        vec![
            "build".into(),
            "-trimpath".into(),
            "-buildvcs=false".into(),
            "-mod=readonly".into(),
            format!("-modfile={}", self.modfile()),
            format!("-tags={}", self.tags),
            format!("-ldflags=-s -w{set}"),
        ]
    }

    fn key(&self, toolchain: &str) -> Result<Key> {
        let modfile = self.source().join(self.modfile());
        let mut key = Key::new("go")
            .text("go", toolchain)
            .text("flags", &self.arguments().join(" "))
            .text("packages", self.packages)
            .file(&modfile)?
            .file(&modfile.with_extension("sum"))?;
        for file in crate::cache::files_below(&self.source())? {
            if file.extension().is_some_and(|e| e == "go") {
                key = key.file(&file)?;
            }
        }
        Ok(key)
    }
}

fn make(cache: &Cache, module: &Module) -> Result<PathBuf> {
    let key = module.key(&toolchain(&module.source())?)?;
    let name = format!("{}-{}", module.folder, module.version);
    if cache.place("components", &name, &key).exists() {
        return cache.entry("components", &name, &key, |_| Ok(()));
    }
    say::step(&format!("component {} {}", module.folder, module.version), || {
        cache.entry("components", &name, &key, |folder| compile(module, folder))
    })
}

fn compile(module: &Module, folder: &Path) -> Result<()> {
    // A trailing slash: one file per package, named after it.
    let out = format!("{}/", folder.display());
    run::quiet(
        Command::new("go")
            .args(module.arguments())
            .args(["-o", &out, module.packages])
            .env("CGO_ENABLED", "0")
            // The compiler collects its garbage more seldom: what it makes is the same, sooner.
            .env("GOGC", "400")
            .current_dir(module.source()),
    )
}

fn toolchain(folder: &Path) -> Result<String> {
    run::output(
        Command::new("go").args(["env", "GOVERSION", "GOOS", "GOARCH", "GOAMD64"]).current_dir(folder),
    )
}

/// Writes `VERSION.mod` and `VERSION.sum` beside the default version's: the same module, all of
/// Kubernetes' own modules moved to that release, everything else as upstream chose it.
fn pin(version: &str) -> Result<()> {
    major_minor(version)?;
    let folder = workspace::root().join("components/kube");
    let modfile = folder.join(format!("{version}.mod"));
    say::step(&format!("pin Kubernetes {version}"), || {
        let default = std::fs::read_to_string(folder.join("go.mod"))?;
        let upstream = std::fs::read_to_string(upstream_module(&folder, version)?)?;
        std::fs::write(&modfile, moved(&default, &upstream, workspace::kubernetes(), version))?;
        run::quiet(
            Command::new("go")
                .args(["mod", "tidy", &format!("-modfile={}", modfile.display())])
                .current_dir(&folder),
        )
    })?;
    say::note(&format!("now add \"{version}\" to KUBERNETES in xtask/src/workspace.rs"));
    Ok(())
}

/// The module file of that release of Kubernetes, downloaded.
fn upstream_module(folder: &Path, version: &str) -> Result<PathBuf> {
    #[derive(serde::Deserialize)]
    struct Download {
        #[serde(rename = "GoMod")]
        file: PathBuf,
    }
    let module = format!("k8s.io/kubernetes@{version}");
    let said =
        run::output(Command::new("go").args(["mod", "download", "-json", &module]).current_dir(folder))?;
    let download: Download = serde_json::from_str(&said).with_context(|| format!("download {module}"))?;
    Ok(download.file)
}

/// Our module file with Kubernetes moved. Indirect requirements are left to `go mod tidy`; what
/// Kubernetes keeps in its own tree (`=> ./staging/…`) is taken as the modules that it is published as.
fn moved(default: &str, upstream: &str, from: &str, to: &str) -> String {
    let staging = |version: &str| version.replacen("v1.", "v0.", 1);
    let direct = |line: &&str| !line.contains("// indirect") && !line.contains("=>");
    let requirements =
        default.lines().take_while(|line| !line.starts_with("replace")).filter(direct).map(|line| match line
            .trim_start()
            .starts_with("k8s.io/")
        {
            true => line.replace(from, to).replace(&staging(from), &staging(to)),
            false => line.to_string(),
        });
    let staged = upstream.lines().filter_map(|line| {
        let (module, place) = line.split_once("=>")?;
        let module = module.trim().trim_start_matches("replace ");
        let version = staging(to);
        place.trim().starts_with("./staging/").then(|| format!("\t{module} => {module} {version}"))
    });
    let mut lines: Vec<String> = requirements.collect();
    lines.push("replace (".into());
    lines.extend(staged);
    lines.push(")\n".into());
    lines.join("\n")
}

fn major_minor(version: &str) -> Result<(u32, u32)> {
    let parts = version.strip_prefix('v').map(|v| v.split('.').map(str::parse).collect::<Vec<_>>());
    match parts.as_deref() {
        Some([Ok(major), Ok(minor), Ok(_)]) => Ok((*major, *minor)),
        _ => bail!("not a release of Kubernetes: {version:?}, want vMAJOR.MINOR.PATCH"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_module_file_flag_or_toolchain_changes_the_key() {
        let module = kubernetes(workspace::kubernetes()).unwrap();
        let key = module.key("go1.26").unwrap().short();
        assert_eq!(key, module.key("go1.26").unwrap().short());
        assert_ne!(key, module.key("go1.27").unwrap().short());
        let tagged = Module { tags: "other", ..kubernetes(workspace::kubernetes()).unwrap() };
        assert_ne!(key, tagged.key("go1.26").unwrap().short());
    }

    #[test]
    fn pinning_moves_kubernetes_and_takes_the_list_of_its_staging_modules() {
        let default = "require (\n\tk8s.io/kubernetes v1.35.4\n\tk8s.io/kubectl v0.35.4\n\tgithub.com/x v0.35.4\n\
                       \tk8s.io/klog/v2 v2.1.0 // indirect\n)\nreplace (\n\tk8s.io/old => k8s.io/old v0.35.4\n)\n";
        let upstream = "replace (\n\tk8s.io/new => ./staging/src/k8s.io/new\n\tother => ../other\n)\n";
        let moved = moved(default, upstream, "v1.35.4", "v1.36.3");
        for wanted in ["k8s.io/kubernetes v1.36.3", "k8s.io/kubectl v0.36.3", "github.com/x v0.35.4"] {
            assert!(moved.contains(wanted), "{wanted} in {moved}");
        }
        assert!(moved.contains("k8s.io/new => k8s.io/new v0.36.3"));
        for unwanted in ["klog", "old", "other"] {
            assert!(!moved.contains(unwanted), "{unwanted} in {moved}");
        }
    }

    #[test]
    fn a_version_is_a_release() {
        assert_eq!(major_minor("v1.35.4").unwrap(), (1, 35));
        for bad in ["1.35.4", "v1.35", "v1.35.4-rc.0", ""] {
            assert!(major_minor(bad).is_err(), "{bad}");
        }
    }
}
