//! The certificate of the webhooks in a cluster where nobody else makes one. In: a Secret, the time. Out: an authority and a
//! certificate in that Secret, made and renewed in place; the authority in everything that names our webhooks. Whoever serves
//! follows the Secret; one manager keeps it.

use crate::kept::{self, Content, Kept, LEAF_DEADLINE, UpkeepError, api, events};
use crate::webhooks;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, WebhookClientConfig,
};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use scute_pki::{
    CA_VALIDITY, Ca, KeyAlgorithm, KeyPairPem, LEAF_VALIDITY, LeafRequest, Renewal, Sans, issue,
};
use serde_json::json;
use std::time::Duration;
use tokio::sync::watch;

/// Common name of the authority.
const AUTHORITY: &str = "scute-webhook-ca";
/// An authority is followed by another one in its last year: what trusts it is told long before it ends.
const AUTHORITY_DEADLINE: Duration = LEAF_VALIDITY;

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
    let Ok(authority) = Renewal::at(now).check_ca(content.authority().as_ref()) else {
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
    secret: Kept,
}

impl WebhookSecret {
    /// The Secret of this name in the manager's namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        let secret = Kept::new(&client, namespace, name);
        Self { client, namespace: namespace.to_owned(), secret }
    }

    /// Tells each certificate that the Secret gets; does not return.
    pub async fn follow(self, tell: watch::Sender<Option<KeyPairPem>>) {
        let mut changes = self.secret.changes();
        while let Some(secret) = changes.next().await {
            if let Some(pair) = secret.pair {
                tell.send_if_modified(|told| told.replace(pair.clone()) != Some(pair));
            }
        }
    }

    /// Makes the certificate, renews it, and has it trusted, whoever changes the Secret, the definitions or the
    /// configurations; does not return. `failed` hears what could not be done, which is tried again.
    pub async fn keep(self, now: impl Fn() -> Timestamp, failed: impl Fn(&UpkeepError)) {
        let touched = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
        let changes = stream::select_all([
            self.secret.changes().map(drop).boxed(),
            events::<ValidatingWebhookConfiguration>(&self.client, touched(webhooks::NAME)),
            events::<MutatingWebhookConfiguration>(&self.client, touched(webhooks::NAME)),
            events::<CustomResourceDefinition>(&self.client, watcher::Config::default()),
        ]);
        kept::again_and_again(changes, || self.look_after(now()), failed).await;
    }

    /// One look: the Secret, then what trusts it, until there is nothing left to do.
    async fn look_after(&self, now: Timestamp) -> Result<(), UpkeepError> {
        loop {
            let content = self.secret.content().await?;
            let next = next(&content, &names(&self.namespace), now)?;
            if let Some(ca) = &content.ca {
                self.trust(ca).await?;
            }
            match next {
                Some(next) => self.secret.write(&next).await?,
                None => return Ok(()),
            }
        }
    }

    /// Puts the authority wherever the API server is told to call us.
    async fn trust(&self, ca: &str) -> Result<(), UpkeepError> {
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
    async fn trust_by<K>(&self, ca: &ByteString) -> Result<(), UpkeepError>
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

fn seen<K>(what: &str, found: Result<Option<K>, kube::Error>) -> Result<Option<K>, UpkeepError> {
    found.map_err(|source| api(what.to_owned(), source))
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
