//! The stages, each of which can be repeated.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use futures::TryStreamExt;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use scute_api::cluster::Cluster;
use scute_install::{InstallError, Installation, Options};
use scute_movement::{MOVE, MOVED_FROM, MoveError, Movement, Scope, Side};
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::PivotError;
use crate::manifests::Manifests;
use crate::seed::{Seed, record_name};
use crate::state::{available, awake, has};
use crate::target::{self, write};

/// Between two looks at what no watch tells: whether webhooks answer; what speaks against the move, which objects of all kinds say.
const AGAIN: Duration = Duration::from_secs(2);

/// Hears a line for each thing that is done, and may end it, as a closed pipe does.
pub type Say<'a> = &'a (dyn Fn(&str) -> bool + Sync);

fn tell(say: Say<'_>, line: &str) -> Result<(), PivotError> {
    if say(line) { Ok(()) } else { Err(PivotError::Unheard) }
}

/// From the seed to a management cluster that manages itself.
pub struct Pivot {
    seed: Seed,
    manifests: Manifests,
    kubeconfig: PathBuf,
    patience: Duration,
}

impl Pivot {
    /// Makes the Cluster of `manifests` by the seed. The new management cluster's kubeconfig is written to a file, and each
    /// stage may take as long as `patience`.
    #[must_use]
    pub fn new(seed: Client, manifests: Manifests, kubeconfig: PathBuf, patience: Duration) -> Self {
        let seed = Seed { client: seed, namespace: manifests.namespace.clone() };
        Self { seed, manifests, kubeconfig, patience }
    }

    /// Does what is not done yet. `options` says what is to be installed, once the Cluster is known.
    ///
    /// # Errors
    /// What keeps it from its end.
    pub async fn run(
        &self,
        options: &(dyn Fn(&Cluster) -> Options + Sync),
        say: Say<'_>,
    ) -> Result<(), PivotError> {
        let tell = |line: String| tell(say, &line);
        let cluster = &self.manifests.cluster;
        // Once the move may have begun, what the seed has is no longer what it was given: nothing is applied then.
        let client = if let Some(kubeconfig) = self.seed.record(cluster).await? {
            tell(format!("the move may have begun, says Secret {}", record_name(cluster)))?;
            write(&self.kubeconfig, &kubeconfig)?;
            let client = target::connect(&kubeconfig).await?;
            self.move_to(&client, None, say).await?;
            client
        } else {
            self.is_new().await?;
            self.seed.apply(&self.manifests).await?;
            tell(format!("applied: {} objects", self.manifests.objects.len()))?;
            let made = self.cluster(&self.seed.client, "is not available", &available, say).await?;
            let kubeconfig = self.seed.kubeconfig(cluster).await?;
            write(&self.kubeconfig, &kubeconfig)?;
            tell(format!("kubeconfig: {}", self.kubeconfig.display()))?;
            let client = target::connect(&kubeconfig).await?;
            self.install(&client, &Installation::of(&options(&made))?, say).await?;
            self.answers(&client, &made).await?;
            tell("Scute is installed".to_owned())?;
            self.move_to(&client, Some(&kubeconfig), say).await?;
            client
        };
        self.cluster(&client, "is not reconciled by its new manager", &awake, say).await?;
        tell(format!("Cluster {cluster} manages itself"))
    }

    /// Whoever has lost the seed and begins again must not be given servers that the Cluster of an earlier time runs on.
    async fn is_new(&self) -> Result<(), PivotError> {
        let cluster = self.manifests.cluster.clone();
        let here = self.get(&self.seed.client).await?;
        if here.is_some_and(|here| has(&here, MOVE)) {
            return Err(PivotError::Moving(cluster));
        }
        let file = self.kubeconfig.clone();
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(PivotError::File { file, source }),
        };
        let ask = async { self.get(&target::connect(&text).await?).await };
        match ask.await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(PivotError::AlreadyThere { file, cluster }),
            Err(source) => Err(PivotError::MayBeThere { file, cluster, source: Box::new(source) }),
        }
    }

    /// The Cluster, if it is there and its kind is served: an API server that has none of a group says less than one that lacks
    /// an object.
    async fn get(&self, client: &Client) -> Result<Option<Cluster>, PivotError> {
        let name = &self.manifests.cluster;
        match self.clusters(client).get_opt(name).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            found => found.map_err(|error| PivotError::request(format!("reading Cluster {name}"), error)),
        }
    }

    fn clusters(&self, client: &Client) -> Api<Cluster> {
        Api::namespaced(client.clone(), &self.seed.namespace)
    }

    /// The Cluster, once it is as it should be.
    async fn cluster(
        &self,
        client: &Client,
        late: &str,
        lacks: &(dyn Fn(&Cluster) -> Option<String> + Sync),
        say: Say<'_>,
    ) -> Result<Cluster, PivotError> {
        let name = &self.manifests.cluster;
        let watched = watcher::watch_object(self.clusters(client), name).default_backoff();
        let mut watched = std::pin::pin!(watched);
        let (until, mut last) = (Instant::now() + self.patience, String::new());
        loop {
            let Ok(event) = timeout_at(until, watched.try_next()).await else {
                return Err(self.late(format!("Cluster {name} {late}"), last));
            };
            match event {
                // What a watch cannot do now it does later, unless it may not.
                Err(error) => last = error.to_string(),
                Ok(None) => return Err(PivotError::NoKind(format!("Cluster {name}"))),
                Ok(Some(None)) => last = "there is none".to_owned(),
                Ok(Some(Some(cluster))) => match lacks(&cluster) {
                    None => return Ok(cluster),
                    Some(why) if why != last => {
                        tell(say, &format!("Cluster {name}: {why}"))?;
                        last = why;
                    }
                    Some(_) => {}
                },
            }
        }
    }

    /// Installs, again and again where the managers take longer than an installation waits for them.
    async fn install(
        &self,
        client: &Client,
        installation: &Installation,
        say: Say<'_>,
    ) -> Result<(), PivotError> {
        let until = Instant::now() + self.patience;
        loop {
            match installation.apply(client).await {
                Err(late @ InstallError::Late { .. }) if Instant::now() < until => {
                    tell(say, &late.to_string())?;
                }
                done => return Ok(done?),
            }
        }
    }

    /// Waits until the new managers review what is written: an available one may still be about to have its authority trusted,
    /// and nobody tells when the API server can call it.
    async fn answers(&self, client: &Client, like: &Cluster) -> Result<(), PivotError> {
        Side::new("target", client.clone(), &self.seed.namespace).make_namespace().await?;
        let mut asked = Cluster::new(&self.manifests.cluster, like.spec.clone());
        asked.metadata.namespace = Some(self.seed.namespace.clone());
        let (api, until) = (self.clusters(client), Instant::now() + self.patience);
        let params = PostParams { dry_run: true, ..PostParams::default() };
        loop {
            match api.create(&params, &asked).await {
                Err(kube::Error::Api(status)) if status.code >= 500 && Instant::now() < until => {
                    sleep(AGAIN).await;
                }
                Err(kube::Error::Api(status)) if status.code == 409 => return Ok(()),
                Err(error) => {
                    let what = "asking the new managers whether they would take the Cluster".to_owned();
                    return Err(PivotError::request(what, error));
                }
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Moves everything of the namespace, hosts that nobody consumes too, once nothing speaks against it, and has written down
    /// by then where it goes, if that is not known yet.
    async fn move_to(
        &self,
        client: &Client,
        mut record: Option<&str>,
        say: Say<'_>,
    ) -> Result<(), PivotError> {
        if self.has_moved(client).await? {
            return Ok(());
        }
        let scope = Scope { clusters: None, hosts: true };
        let id = format!("{}-{}", self.manifests.cluster, jiff::Timestamp::now().as_second());
        let (from, namespace) = (self.seed.client.clone(), &self.seed.namespace);
        let movement = Movement::new(from, client.clone(), namespace, scope, &id);
        let (until, mut said) = (Instant::now() + self.patience, BTreeSet::new());
        loop {
            let mut against = movement.look().await?.refusals;
            if against.is_empty() {
                if let Some(kubeconfig) = record.take() {
                    self.seed.write_record(&self.manifests.cluster, kubeconfig).await?;
                }
                against = match movement.run(say).await {
                    Ok(_) => return Ok(()),
                    Err(MoveError::Unheard) => return Err(PivotError::Unheard),
                    Err(MoveError::Refused(against)) => against,
                    Err(error) => return Err(error.into()),
                };
            }
            if Instant::now() > until {
                let what = "what speaks against the move has not ended".to_owned();
                return Err(self.late(what, against.join("; ")));
            }
            for why in against {
                if said.insert(why.clone()) {
                    tell(say, &format!("waiting: {why}"))?;
                }
            }
            sleep(AGAIN).await;
        }
    }

    /// Whether nothing of it is left to do: the Cluster is there, awake, and was here.
    async fn has_moved(&self, client: &Client) -> Result<bool, PivotError> {
        let (here, there) = (self.get(&self.seed.client).await?, self.get(client).await?);
        Ok(here.is_none() && there.is_some_and(|there| has(&there, MOVED_FROM) && !has(&there, MOVE)))
    }

    fn late(&self, what: String, last: String) -> PivotError {
        PivotError::Late { what, last, patience: self.patience }
    }
}
