//! Why there is no management cluster yet.

use std::path::PathBuf;
use std::time::Duration;

use kube::runtime::watcher;
use scute_install::InstallError;
use scute_movement::MoveError;
use scute_pki::Error as KubeconfigError;

/// Why it ends before its end. It goes on where it ended when it is run again.
#[derive(Debug, thiserror::Error)]
pub enum PivotError {
    /// A request failed.
    #[error("{what}")]
    Request {
        /// What was asked for.
        what: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The seed does not serve a kind.
    #[error("{0}: the seed does not serve its kind in this version")]
    NoKind(String),
    /// An object of no namespace.
    #[error(
        "{0}: is of no namespace, and would be left behind; apply it to the new management cluster afterwards"
    )]
    NoNamespace(String),
    /// The Cluster has no kubeconfig.
    #[error("Secret {0} has no kubeconfig, though the control plane is said to be there")]
    NoKubeconfig(String),
    /// The kubeconfig is not used.
    #[error("the kubeconfig of the new management cluster cannot be used")]
    Kubeconfig(#[source] KubeconfigError),
    /// No client can be made of it.
    #[error("no client can be made of the kubeconfig of the new management cluster")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The file of an earlier time.
    #[error(
        "{} leads to a management cluster that has Cluster {cluster} already; to make it anew, take the file away", .file.display()
    )]
    AlreadyThere {
        /// The kubeconfig.
        file: PathBuf,
        /// The Cluster.
        cluster: String,
    },
    /// The file of an earlier time, and nobody answers.
    #[error(
        "{} leads to an API server that cannot be asked whether it has Cluster {cluster} already; when it is gone for good, take the file away", .file.display()
    )]
    MayBeThere {
        /// The kubeconfig.
        file: PathBuf,
        /// The Cluster.
        cluster: String,
        /// Why.
        #[source]
        source: Box<PivotError>,
    },
    /// The file is another's.
    #[error("{} is there and leads to another cluster; choose another file", .0.display())]
    Elsewhere(PathBuf),
    /// Somebody moves it by hand.
    #[error("Cluster {0} is being moved: end that first with `scute move`")]
    Moving(String),
    /// The kubeconfig's file.
    #[error("{} cannot be written", .file.display())]
    File {
        /// Which one.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It takes longer than it may.
    #[error("{what} within {} s; last: {last}; run the same command again to go on", .patience.as_secs())]
    Late {
        /// What has not happened.
        what: String,
        /// What was said last.
        last: String,
        /// How long it may take.
        patience: Duration,
    },
    /// A Cluster cannot be watched.
    #[error("watching Cluster {0}")]
    Watch(String, #[source] Box<watcher::Error>),
    /// Scute is not installed.
    #[error("installing Scute into the new management cluster")]
    Install(#[from] InstallError),
    /// The move.
    #[error(transparent)]
    Move(#[from] MoveError),
    /// Whoever hears of the stages does not want to any more.
    #[error("nobody listens")]
    Unheard,
}

impl PivotError {
    pub(crate) fn request(what: String, source: kube::Error) -> Self {
        Self::Request { what, source: Box::new(source) }
    }
}
