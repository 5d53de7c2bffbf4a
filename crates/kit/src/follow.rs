//! Keeps the copy of a watch from its source: lists, watches, and lists anew when it must.

use std::sync::Arc;

use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, DefaultBackoff};
use serde_json::value::RawValue;
use tokio::time::timeout;

use crate::key::{Key, Kind};
use crate::limits::{RELIST_AFTER, SHORTEST_WATCH};
use crate::objects::Item;
use crate::source::{Error, Event, Source};
use crate::unreadable::{decode, may_say_unreadable};
use crate::watch::Watch;

impl<K: Kind> Watch<K> {
    /// Keeps the copy from a source, for as long as it is polled. Failures are retried, later each time, and seen in
    /// [`Watch::health`]; one object that cannot be decoded hinders no other.
    pub async fn follow(&self, source: Source<K>) {
        let mut backoff = DefaultBackoff::default();
        let mut version = None;
        let mut failures = 0;
        loop {
            let done = match &mut version {
                Some(version) => self.keep_up(&source, version).await,
                None => self.list_all(&source).await.map(|listed| version = Some(listed)),
            };
            let Err(error) = done else { continue };
            if self.health().failing.is_none() {
                failures = 0;
                backoff.reset();
            }
            failures += 1;
            // Failures in a row may have their cause in the place from which it is watched.
            if matches!(error, Error::Expired) || failures % RELIST_AFTER == 0 {
                version = None;
            }
            self.failed(error.to_string());
            // That a version is too old is the way of the world, when it is not so again and again.
            if !matches!(error, Error::Expired) || failures > 1 {
                tokio::time::sleep(backoff.next().unwrap_or(SHORTEST_WATCH)).await;
            }
        }
    }

    /// Lists everything; gives the version of the listing.
    async fn list_all(&self, source: &Source<K>) -> Result<String, Error> {
        let (mut items, mut token, mut mended) = (Vec::new(), None, Vec::new());
        source.admitted(watcher::Event::Init);
        loop {
            let page = source.page(token).await?;
            for raw in page.items.iter().flatten() {
                let Some(item) = decoded(source, raw) else { continue };
                mended.extend(mended_of(&item, raw));
                items.extend(kept(source, item, watcher::Event::InitApply));
            }
            token = Some(page.metadata.continue_token).filter(|token| !token.is_empty());
            if token.is_none() {
                source.admitted(watcher::Event::InitDone);
                self.replace(items, &page.metadata.resource_version);
                mended.into_iter().for_each(|key| self.mended(key));
                return Ok(page.metadata.resource_version);
            }
        }
    }

    /// Watches from a version on, to the end of the stream; moves the version with what it hears.
    async fn keep_up(&self, source: &Source<K>, version: &mut String) -> Result<(), Error> {
        let mut lines = source.watch(version).await?;
        // The answer's head is not yet a sign of life, a while without an error is.
        let mut next = match timeout(SHORTEST_WATCH, lines.next()).await {
            Ok(Ok(None)) => return Err(Error::EndedAtOnce),
            Ok(first) => first?,
            Err(_) => {
                self.heard();
                lines.next().await?
            }
        };
        while let Some(event) = next {
            self.heard();
            match event {
                Event::Bookmark(reached) => *version = reached,
                Event::Applied(raw) => self.take(source, &raw, version, watcher::Event::Apply, Self::put),
                Event::Deleted(raw) => self.take(source, &raw, version, watcher::Event::Delete, Self::delete),
            }
            next = lines.next().await?;
        }
        self.heard();
        Ok(())
    }

    fn take(
        &self,
        source: &Source<K>,
        raw: &RawValue,
        version: &mut String,
        event: fn(K) -> watcher::Event<K>,
        change: fn(&Self, Item<K>),
    ) {
        let Some(item) = decoded(source, raw) else { return };
        if let Some(reached) = &item.meta().resource_version {
            version.clone_from(reached);
        }
        let mended = mended_of(&item, raw);
        match kept(source, item, event) {
            Ok(item) => change(self, item),
            Err(left_out) => self.forget(&left_out),
        }
        mended.into_iter().for_each(|key| self.mended(key));
    }
}

/// The key of an object that can be read and still says that it cannot.
fn mended_of<K: Kind>(item: &Item<K>, raw: &RawValue) -> Option<Key> {
    (item.object().is_some() && may_say_unreadable(raw)).then(|| item.key())
}

/// One object as it was sent. None when it is none, which no API server sends.
fn decoded<K: Kind>(source: &Source<K>, raw: &RawValue) -> Option<Item<K>> {
    let item = match decode::<K>(&source.kind, raw) {
        Some(Ok(object)) => Some(Item::Object(Arc::new(object))),
        Some(Err(bad)) => Some(Item::Unreadable(Arc::new(bad))),
        None => None,
    };
    if item.is_none() {
        tracing::warn!(kind = source.kind, "the API server sent something without metadata");
    }
    item
}

/// The object as it is kept, or the key of one that is left out.
fn kept<K: Kind>(
    source: &Source<K>,
    item: Item<K>,
    event: fn(K) -> watcher::Event<K>,
) -> Result<Item<K>, Key> {
    let key = item.key();
    let object = match item {
        Item::Object(object) => Arc::unwrap_or_clone(object),
        Item::Unreadable(_) if source.keeps_unreadable() => return Ok(item),
        Item::Unreadable(_) => return Err(key),
    };
    let asked = event(object);
    let is_deletion = matches!(asked, watcher::Event::Delete(_));
    match source.admitted(asked) {
        Some(watcher::Event::Delete(object)) if is_deletion => Ok(Item::Object(Arc::new(object))),
        Some(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
            Ok(Item::Object(Arc::new(object)))
        }
        _ => Err(key),
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
