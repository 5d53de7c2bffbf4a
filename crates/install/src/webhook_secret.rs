//! The certificate of the webhooks in a cluster where nobody else makes one. In: a Secret, the time. Out: an authority and a
//! certificate in that Secret, made and renewed in place; the authority in everything that names our webhooks. Whoever serves
//! follows the Secret; one manager keeps it.

use crate::webhooks;
use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, WebhookClientConfig,
};
use kube::api::{ApiResource, DynamicObject, PartialObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use scute_pki::{
    CA_VALIDITY, Ca, KeyAlgorithm, KeyPairPem, LEAF_VALIDITY, LeafRequest, Renewal, Sans, issue,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;

/// Common name of the authority.
const AUTHORITY: &str = "scute-webhook-ca";
/// A certificate is renewed in the second half of its life.
const LEAF_DEADLINE: Duration = Duration::from_secs(LEAF_VALIDITY.as_secs() / 2);
/// An authority is followed by another one in its last year: what trusts it is told long before it ends.
const AUTHORITY_DEADLINE: Duration = LEAF_VALIDITY;
/// How long to wait before what failed is tried again, and at most until the Secret is looked at again: a certificate that is
/// due cannot be watched.
const AGAIN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_secs(3600);

/// Why the certificate could not be looked after.
#[derive(Debug, thiserror::Error)]
pub enum WebhookSecretError {
    /// The API server refused or did not answer.
    #[error("{what} could not be read or written")]
    Api {
        /// The object.
        what: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// No certificate could be made.
    #[error("no certificate could be made")]
    Pki(#[from] scute_pki::Error),
}

/// What is in the Secret.
#[derive(Clone, Default)]
struct Content {
    /// The authorities that are trusted, the one that signs first.
    ca: Option<String>,
    /// Its key; whoever makes certificates elsewhere does not give it.
    ca_key: Option<String>,
    /// What is served.
    pair: Option<KeyPairPem>,
}

impl Content {
    fn of(secret: &Secret) -> Self {
        let text = |key: &str| {
            let bytes = secret.data.as_ref()?.get(key)?;
            String::from_utf8(bytes.0.clone()).ok().filter(|text| !text.is_empty())
        };
        let pair = text("tls.crt").zip(text("tls.key"));
        let pair = pair.map(|(certificate_pem, key_pem)| KeyPairPem { certificate_pem, key_pem });
        Self { ca: text("ca.crt"), ca_key: text("ca.key"), pair }
    }

    fn data(&self) -> BTreeMap<String, ByteString> {
        let pair = self.pair.as_ref();
        let all = [
            ("ca.crt", self.ca.as_deref()),
            ("ca.key", self.ca_key.as_deref()),
            ("tls.crt", pair.map(|pair| &*pair.certificate_pem)),
            ("tls.key", pair.map(|pair| &*pair.key_pem)),
        ];
        let text = |(key, text): (&str, Option<&str>)| Some((key.to_owned(), ByteString(text?.into())));
        all.into_iter().filter_map(text).collect()
    }
}

/// The names of the webhooks' Service.
fn names(namespace: &str) -> LeafRequest {
    let service = format!("{}.{namespace}", webhooks::SERVICE);
    let names = [service.clone(), format!("{service}.svc"), format!("{service}.svc.cluster.local")];
    LeafRequest::server("scute-webhook", Sans::from_iter(names))
}

/// What the Secret should hold, where that is not what it holds. A new authority is trusted before anything is signed by
/// it: one step at a time, with what trusts it told in between.
fn next(
    content: &Content,
    request: &LeafRequest,
    now: Timestamp,
) -> Result<Option<Content>, scute_pki::Error> {
    // Somebody else's, cert-manager's for example: theirs to renew.
    if content.ca_key.is_none() && content.pair.is_some() {
        return Ok(None);
    }
    let signs = content.ca.clone().zip(content.ca_key.clone());
    let signs = signs.map(|(certificate_pem, key_pem)| KeyPairPem { certificate_pem, key_pem });
    let Ok(authority) = Renewal::at(now).check_ca(signs.as_ref()) else {
        let authority = Ca::generate(AUTHORITY, CA_VALIDITY, KeyAlgorithm::EcdsaP256, now)?;
        let pair = Some(issue(request, &authority, now)?);
        let (ca, ca_key) = (authority.certificate_pem().to_owned(), authority.key_pem().to_owned());
        return Ok(Some(Content { ca: Some(ca), ca_key: Some(ca_key), pair }));
    };
    let old = Renewal { now, deadline: AUTHORITY_DEADLINE };
    if old.due(authority.certificate()) < now {
        let follower = Ca::generate(AUTHORITY, CA_VALIDITY, KeyAlgorithm::EcdsaP256, now)?;
        let both = format!("{}{}", follower.certificate_pem(), first_of(authority.certificate_pem()));
        let ca_key = Some(follower.key_pem().to_owned());
        return Ok(Some(Content { ca: Some(both), ca_key, pair: content.pair.clone() }));
    }
    let renewal = Renewal { now, deadline: LEAF_DEADLINE };
    if renewal.check(content.pair.as_ref(), request, &authority).is_none() {
        return Ok(None);
    }
    Ok(Some(Content { pair: Some(issue(request, &authority, now)?), ..content.clone() }))
}

/// The first certificate of a bundle.
fn first_of(bundle: &str) -> &str {
    const END: &str = "-----END CERTIFICATE-----\n";
    bundle.find(END).map_or(bundle, |at| &bundle[..at + END.len()])
}

/// The Secret of the webhooks' certificate.
#[derive(Clone)]
pub struct WebhookSecret {
    client: Client,
    namespace: String,
    name: String,
}

impl WebhookSecret {
    /// The Secret of this name in the manager's namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { client, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn changes(&self) -> impl Stream<Item = Secret> + Send + 'static {
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let changes = watcher(self.secrets(), only).default_backoff().applied_objects();
        // What the watch could not do it tries again.
        changes.filter_map(async |secret| secret.ok()).boxed()
    }

    /// Tells each certificate that the Secret gets; does not return.
    pub async fn follow(self, tell: watch::Sender<Option<KeyPairPem>>) {
        let mut changes = self.changes();
        while let Some(secret) = changes.next().await {
            if let Some(pair) = Content::of(&secret).pair {
                tell.send_if_modified(|told| told.replace(pair.clone()) != Some(pair));
            }
        }
    }

    /// Makes the certificate, renews it, and has it trusted, whoever changes the Secret, the definitions or the
    /// configurations; does not return. `failed` hears what could not be done, which is tried again.
    pub async fn keep(self, now: impl Fn() -> Timestamp, failed: impl Fn(&WebhookSecretError)) {
        let touched = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut changes = stream::select_all([
            self.changes().map(drop).boxed(),
            events::<ValidatingWebhookConfiguration>(&self.client, touched(webhooks::NAME)),
            events::<MutatingWebhookConfiguration>(&self.client, touched(webhooks::NAME)),
            events::<CustomResourceDefinition>(&self.client, watcher::Config::default()),
        ]);
        loop {
            let patience = match self.look_after(now()).await {
                Ok(()) => LOOK,
                Err(error) => {
                    failed(&error);
                    AGAIN
                }
            };
            // The next change, or time to look again; then what comes with it in the same moment.
            let _ = tokio::time::timeout(patience, changes.next()).await;
            while tokio::time::timeout(Duration::from_millis(50), changes.next()).await.is_ok() {}
        }
    }

    /// One look: the Secret, then what trusts it, until there is nothing left to do.
    async fn look_after(&self, now: Timestamp) -> Result<(), WebhookSecretError> {
        loop {
            let found = self.secrets().get_opt(&self.name).await.map_err(|source| self.failed(source))?;
            let content = found.as_ref().map(Content::of).unwrap_or_default();
            let next = next(&content, &names(&self.namespace), now)?;
            if let Some(ca) = &content.ca {
                self.trust(ca).await?;
            }
            match next {
                Some(next) => self.write(&next, found.is_some()).await?,
                None => return Ok(()),
            }
        }
    }

    fn failed(&self, source: kube::Error) -> WebhookSecretError {
        api(format!("Secret {}", self.name), source)
    }

    async fn write(&self, content: &Content, there: bool) -> Result<(), WebhookSecretError> {
        let secrets = self.secrets();
        let done = if there {
            let patch = Patch::Merge(json!({"data": content.data()}));
            secrets.patch(&self.name, &PatchParams::default(), &patch).await
        } else {
            let mut secret = Secret { data: Some(content.data()), ..Secret::default() };
            secret.metadata.name = Some(self.name.clone());
            secrets.create(&PostParams::default(), &secret).await
        };
        match done {
            // Somebody was quicker: the next look finds what they made.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            done => done.map(drop).map_err(|source| self.failed(source)),
        }
    }

    /// Puts the authority wherever the API server is told to call us.
    async fn trust(&self, ca: &str) -> Result<(), WebhookSecretError> {
        let bundle = ByteString(ca.as_bytes().to_vec());
        self.trust_by::<ValidatingWebhookConfiguration>(&bundle).await?;
        self.trust_by::<MutatingWebhookConfiguration>(&bundle).await?;
        let all: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        // Ours are known; others' are not looked at.
        for ours in scute_api::crds().into_iter().filter(|crd| crd.spec.conversion.is_some()) {
            let name = ours.name_any();
            let Some(found) = seen(&name, all.get_opt(&name).await)? else { continue };
            let webhook = found.spec.conversion.and_then(|conversion| conversion.webhook);
            let told = webhook.and_then(|webhook| webhook.client_config);
            // One of an engine that is off asks somebody else's webhook.
            let foreign = |config: &WebhookClientConfig| {
                config.service.as_ref().is_some_and(|service| service.namespace != self.namespace)
            };
            if told.is_none_or(|config| foreign(&config) || config.ca_bundle.as_ref() == Some(&bundle)) {
                continue;
            }
            let patch = json!({"spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": bundle}}}}});
            let done = all.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
            done.map_err(|source| api(name, source))?;
        }
        Ok(())
    }

    /// Has the webhooks of our configuration of a kind trust an authority.
    async fn trust_by<K>(&self, ca: &ByteString) -> Result<(), WebhookSecretError>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        let all: Api<DynamicObject> = Api::all_with(self.client.clone(), &ApiResource::erase::<K>(&()));
        let what = K::kind(&());
        let Some(found) = seen(&what, all.get_opt(webhooks::NAME).await)? else { return Ok(()) };
        let bundle = json!(ca);
        let hooks = found.data["webhooks"].as_array().into_iter().flatten();
        let stale = hooks.filter(|hook| hook["clientConfig"]["caBundle"] != bundle);
        let hooks: Vec<_> =
            stale.map(|hook| json!({"name": hook["name"], "clientConfig": {"caBundle": bundle}})).collect();
        if hooks.is_empty() {
            return Ok(());
        }
        let patch = Patch::Strategic(json!({"webhooks": hooks}));
        let done = all.patch(webhooks::NAME, &PatchParams::default(), &patch).await;
        done.map(drop).map_err(|source| api(what.into_owned(), source))
    }
}

fn api(what: String, source: kube::Error) -> WebhookSecretError {
    WebhookSecretError::Api { what, source }
}

fn seen<K>(what: &str, found: Result<Option<K>, kube::Error>) -> Result<Option<K>, WebhookSecretError> {
    found.map_err(|source| api(what.to_owned(), source))
}

/// Something of a kind was changed.
fn events<K>(client: &Client, config: watcher::Config) -> stream::BoxStream<'static, ()>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send,
    K: 'static,
{
    let changes = watcher(Api::<PartialObjectMeta<K>>::all(client.clone()), config);
    changes.default_backoff().touched_objects().filter_map(async |object| object.ok().map(drop)).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use scute_pki::Certificate;

    fn at(year: i16) -> Timestamp {
        format!("{year}-06-01T00:00:00Z").parse().unwrap()
    }

    fn step(content: &Content, now: Timestamp) -> Option<Content> {
        next(content, &names("scute-system"), now).unwrap()
    }

    #[test]
    fn a_certificate_is_made_and_renewed_in_the_second_half_of_its_life() {
        let made = step(&Content::default(), at(2026)).unwrap();
        assert!(step(&made, at(2026)).is_none(), "one step");
        let certificate = Certificate::parse(&made.pair.as_ref().unwrap().certificate_pem).unwrap();
        assert!(certificate.sans().dns.contains("scute-webhook.scute-system.svc"));
        let half = "2026-12-15T00:00:00Z".parse().unwrap();
        let renewed = step(&made, half).unwrap();
        assert!(renewed.pair != made.pair && renewed.ca == made.ca && renewed.ca_key == made.ca_key);
        assert!(step(&renewed, half).is_none());
    }

    #[test]
    fn a_new_authority_is_trusted_before_it_signs() {
        let made = step(&Content::default(), at(2026)).unwrap();
        let first = step(&made, at(2035)).unwrap();
        assert_eq!(first.pair, made.pair, "what is served is still what everybody trusts");
        let bundle = first.ca.clone().unwrap();
        assert_eq!(bundle.matches("BEGIN").count(), 2);
        assert!(bundle.ends_with(&made.ca.unwrap()));
        let second = step(&first, at(2035)).unwrap();
        assert!(second.pair != first.pair && second.ca == first.ca);
        assert!(step(&second, at(2035)).is_none());
        // Years later a third one does not carry the first along.
        let third = step(&Content { pair: second.pair.clone(), ..second }, at(2044)).unwrap();
        assert_eq!(third.ca.unwrap().matches("BEGIN").count(), 2);
    }

    #[test]
    fn what_somebody_else_makes_is_left_alone_and_what_is_unusable_made_anew() {
        let made = step(&Content::default(), at(2026)).unwrap();
        let theirs = Content { ca_key: None, ..made.clone() };
        assert!(step(&theirs, at(2030)).is_none());
        let broken = Content { ca: Some("no certificate".into()), ..made.clone() };
        let mended = step(&broken, at(2026)).unwrap();
        assert!(mended.ca != made.ca && mended.pair != made.pair);
        assert!(step(&mended, at(2026)).is_none());
    }
}
