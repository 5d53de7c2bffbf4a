//! Which keys, certificates and kubeconfigs a tenant needs, and which of those that exist can stay.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use scute_kubeadm::{APISERVER_KUBELET_CLIENT, CLUSTER_ADMINS_GROUP};
use scute_pki::{Ca, Certificate, ClientIdentity, Flaw, Kubeconfig, LeafRequest, Renewal, Sans, Stale};

use super::authorities::{authority, pair, service_account};
use super::endpoint::Endpoint;
use super::validate::Wanted;
use crate::names::TenantSecret;

/// What one Secret holds: text by key.
pub type Data = BTreeMap<String, String>;

/// A Secret as it was found.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// What it holds.
    pub data: Data,
    /// Whether somebody asked for a new one.
    pub rotate: bool,
}

/// Everything that certificates of one tenant depend on. `Debug` is absent: it would print nothing useful.
#[derive(Clone)]
pub struct Needs {
    /// Name of the tenant, and of the cluster in its kubeconfigs.
    pub name: String,
    /// `https://host:port` for everybody.
    pub server: String,
    /// `https://T.ns.svc:port` for the management cluster.
    pub service: String,
    /// `https://127.0.0.1:port` inside the Pod.
    pub local: String,
    /// Names of the serving certificate.
    pub sans: Vec<String>,
    /// User in the DataStore.
    pub user: String,
    /// Prefix in the DataStore.
    pub schema: String,
    /// `host:port` of the DataStore's members.
    pub store_endpoints: Vec<String>,
    /// Authority of the DataStore.
    pub store_ca: Arc<Ca>,
}

impl Needs {
    /// The needs of a tenant with this endpoint on this DataStore.
    pub fn new(wanted: &Wanted, endpoint: &Endpoint, store_endpoints: &[String], store_ca: Arc<Ca>) -> Self {
        let (name, namespace) = (&wanted.name, &wanted.namespace);
        Self {
            name: name.clone(),
            server: format!("https://{}", endpoint.text()),
            service: format!("https://{name}.{namespace}.svc:{}", wanted.port),
            local: format!("https://127.0.0.1:{}", wanted.port),
            sans: sans(wanted, endpoint),
            user: wanted.tenant.user.clone(),
            schema: wanted.tenant.schema.clone(),
            store_endpoints: store_endpoints.to_vec(),
            store_ca,
        }
    }

    /// Everything in one text, for telling whether anything changed. Holds no secret.
    pub fn fingerprint(&self) -> String {
        let Self { name, server, service, local, sans, user, schema, store_endpoints, store_ca } = self;
        let store_ca = store_ca.certificate_pem();
        format!("{name}|{server}|{service}|{local}|{sans:?}|{user}|{schema}|{store_endpoints:?}|{store_ca}")
    }
}

fn sans(wanted: &Wanted, endpoint: &Endpoint) -> Vec<String> {
    let (name, namespace, domain) = (&wanted.name, &wanted.namespace, &wanted.cluster_domain);
    let mut sans = vec![
        "127.0.0.1".to_owned(),
        "localhost".to_owned(),
        name.clone(),
        format!("{name}.{namespace}"),
        format!("{name}.{namespace}.svc"),
        format!("{name}.{namespace}.svc.cluster.local"),
        "kubernetes".to_owned(),
        "kubernetes.default".to_owned(),
        "kubernetes.default.svc".to_owned(),
        format!("kubernetes.default.svc.{domain}"),
        endpoint.address.to_string(),
    ];
    sans.extend(wanted.kubernetes_ips().iter().chain(&endpoint.others).map(ToString::to_string));
    sans.extend(wanted.cert_sans.iter().cloned());
    sans
}

/// Who signs a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// The tenant's authority.
    Tenant,
    /// The authority of aggregated API servers.
    FrontProxy,
    /// The DataStore's authority.
    DataStore,
}

/// A certificate that a Secret holds as `<file>.crt` and `<file>.key`.
pub struct Leaf {
    /// Its Secret.
    pub secret: TenantSecret,
    /// Name of the files.
    pub file: &'static str,
    /// Who signs it.
    pub issuer: Issuer,
    /// What is in it.
    pub request: LeafRequest,
}

/// The certificates of a tenant.
pub fn leaves(needs: &Needs) -> Vec<Leaf> {
    let sans: Sans = needs.sans.iter().collect();
    let leaf = |secret, file, issuer, request| Leaf { secret, file, issuer, request };
    vec![
        leaf(
            TenantSecret::ApiServer,
            "apiserver",
            Issuer::Tenant,
            LeafRequest::server("kube-apiserver", sans),
        ),
        leaf(
            TenantSecret::KubeletClient,
            "apiserver-kubelet-client",
            Issuer::Tenant,
            LeafRequest::client(APISERVER_KUBELET_CLIENT, None),
        ),
        leaf(
            TenantSecret::FrontProxyClient,
            "front-proxy-client",
            Issuer::FrontProxy,
            LeafRequest::client("front-proxy-client", None),
        ),
        leaf(
            TenantSecret::DataStoreCertificate,
            "server",
            Issuer::DataStore,
            LeafRequest::client(&needs.user, None),
        ),
    ]
}

/// A user with kubeconfigs: one client certificate, one text per server.
pub struct User {
    /// The Secret.
    pub secret: TenantSecret,
    /// Name of the user entry.
    pub name: &'static str,
    /// Its certificate.
    pub request: LeafRequest,
    /// Key in the Secret, and the server it points at.
    pub files: Vec<(&'static str, String)>,
}

/// The users of a tenant that have kubeconfigs.
pub fn users(needs: &Needs) -> Vec<User> {
    let client = |user, group| LeafRequest::client(user, group);
    vec![
        User {
            secret: TenantSecret::Admin,
            name: "kubernetes-admin",
            request: client("kubernetes-admin", Some(CLUSTER_ADMINS_GROUP)),
            files: vec![("admin.conf", needs.server.clone()), ("admin.svc", needs.service.clone())],
        },
        User {
            secret: TenantSecret::Admin,
            name: "kubernetes-super-admin",
            request: client("kubernetes-super-admin", Some("system:masters")),
            files: vec![
                ("super-admin.conf", needs.server.clone()),
                ("super-admin.svc", needs.service.clone()),
            ],
        },
        User {
            secret: TenantSecret::ControllerManager,
            name: "system:kube-controller-manager",
            request: client("system:kube-controller-manager", None),
            files: vec![("controller-manager.conf", needs.local.clone())],
        },
        User {
            secret: TenantSecret::Scheduler,
            name: "system:kube-scheduler",
            request: client("system:kube-scheduler", None),
            files: vec![("scheduler.conf", needs.local.clone())],
        },
    ]
}

/// Why a Secret's content is made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// What is there cannot stay.
    Stale(Stale),
    /// Somebody asked for it by annotation.
    Asked,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale(stale) => stale.fmt(f),
            Self::Asked => f.write_str("a new one was asked for"),
        }
    }
}

/// What can stay and what has to be made.
#[derive(Default)]
pub struct Assessment {
    /// The tenant's authority, if it can stay.
    pub ca: Option<Ca>,
    /// The authority of aggregated API servers, if it can stay.
    pub front_proxy: Option<Ca>,
    /// The Secrets to make, with the reason.
    pub make: BTreeMap<TenantSecret, Reason>,
    /// What is there, cannot be used, and is not ours to replace: nothing is made while there is any.
    pub unusable: Vec<(TenantSecret, Flaw)>,
    /// Authorities that end soon, and when.
    pub ending: Vec<(TenantSecret, Timestamp)>,
    /// When the first certificate that stays has to be looked at again.
    pub due: Option<Timestamp>,
}

/// Compares what was found with what is needed. Takes milliseconds: signatures are verified.
pub fn assess(found: &BTreeMap<TenantSecret, Found>, needs: &Needs, renewal: Renewal) -> Assessment {
    let mut made = Assessment::default();
    made.ca = authority(&mut made, found, TenantSecret::Ca, "ca", renewal);
    made.front_proxy = authority(&mut made, found, TenantSecret::FrontProxyCa, "front-proxy-ca", renewal);
    match service_account(found) {
        Some(Reason::Stale(Stale::Unusable(flaw))) => {
            made.unusable.push((TenantSecret::ServiceAccount, flaw))
        }
        Some(reason) => _ = made.make.insert(TenantSecret::ServiceAccount, reason),
        None => {}
    }
    for leaf in leaves(needs) {
        let pair = found.get(&leaf.secret).and_then(|found| pair(&found.data, leaf.file));
        let reason = {
            let signer = match leaf.issuer {
                Issuer::Tenant => made.ca.as_ref(),
                Issuer::FrontProxy => made.front_proxy.as_ref(),
                Issuer::DataStore => Some(needs.store_ca.as_ref()),
            };
            match signer {
                Some(ca) => renewal.check(pair.as_ref(), &leaf.request, ca),
                None => Some(Stale::OtherAuthority),
            }
        };
        made.judge(
            leaf.secret,
            found,
            reason,
            pair.as_ref().map(|pair| pair.certificate_pem.as_str()),
            renewal,
        );
    }
    for user in users(needs) {
        for (file, server) in &user.files {
            let text = found.get(&user.secret).and_then(|found| found.data.get(*file)).map(String::as_str);
            let reason = match &made.ca {
                Some(ca) => renewal.check_kubeconfig(text, server, &user.request, ca),
                None => Some(Stale::OtherAuthority),
            };
            let certificate = text.and_then(certificate_of);
            made.judge(user.secret, found, reason, certificate.as_deref(), renewal);
        }
    }
    if found.get(&TenantSecret::DataStoreConfig).map(|found| &found.data) != Some(&store_config(needs)) {
        made.make.insert(TenantSecret::DataStoreConfig, Reason::Stale(Stale::Missing));
    }
    made
}

impl Assessment {
    fn judge(
        &mut self,
        which: TenantSecret,
        found: &BTreeMap<TenantSecret, Found>,
        stale: Option<Stale>,
        certificate: Option<&str>,
        renewal: Renewal,
    ) {
        let asked = found.get(&which).is_some_and(|found| found.rotate).then_some(Reason::Asked);
        match stale.map(Reason::Stale).or(asked) {
            Some(reason) => _ = self.make.entry(which).or_insert(reason),
            None => self.look_again(certificate, renewal),
        }
    }

    /// What stays is looked at again then.
    pub fn look_again(&mut self, certificate: Option<&str>, renewal: Renewal) {
        let Some(Ok(certificate)) = certificate.map(Certificate::parse) else { return };
        // One that is due and stays ends with its authority: nothing gets better before that end.
        let due = Some(renewal.due(&certificate)).filter(|due| *due >= renewal.now);
        let due = due.unwrap_or(certificate.not_after());
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
    }
}

fn certificate_of(kubeconfig: &str) -> Option<String> {
    match Kubeconfig::parse(kubeconfig).ok()?.identity {
        ClientIdentity::Certificate(pair) => Some(pair.certificate_pem),
        _ => None,
    }
}

/// What the Secret `T-datastore-config` holds. etcd knows users by certificate: there is no password.
pub fn store_config(needs: &Needs) -> Data {
    BTreeMap::from([
        ("DB_CONNECTION_STRING".to_owned(), needs.store_endpoints.join(",")),
        ("DB_SCHEMA".to_owned(), needs.schema.clone()),
        ("DB_USER".to_owned(), needs.user.clone()),
        ("DB_PASSWORD".to_owned(), String::new()),
    ])
}
