//! Digests of images that stand in a file on a server: fetched outside of the reconciles, within limits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::LOCATION;
use scute_agent::http::{Client, Url, trusting};
use scute_agent::protocol::Checksum;
use scute_api::metal3::Image;
use scute_kit::Key;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::image;

/// For all of it.
const LIMIT: Duration = Duration::from_secs(30);
/// Places that point to other places.
const REDIRECTS: usize = 5;
/// The digests of some ten thousand files.
const LONGEST: usize = 2 << 20;

/// What came of one.
pub type Outcome = Result<Checksum, String>;

struct Kept {
    image: Image,
    outcome: Option<Outcome>,
}

/// The digests of hosts' images, as far as they had to be fetched.
pub struct Digests {
    kept: Arc<Mutex<HashMap<Key, Kept>>>,
    wake: UnboundedSender<Key>,
}

impl Digests {
    /// None yet. The receiver gets the keys of hosts of whose digests something is known.
    pub fn new() -> (Self, UnboundedReceiver<Key>) {
        let (wake, woken) = unbounded_channel();
        (Self { kept: Arc::default(), wake }, woken)
    }

    /// The digest of a host's image, from the file at this address; nothing while it is being fetched.
    pub fn find(&self, key: &Key, image: &Image, url: &str) -> Option<Outcome> {
        let mut kept = lock(&self.kept);
        if let Some(known) = kept.get(key).filter(|known| known.image == *image) {
            return known.outcome.clone();
        }
        kept.insert(key.clone(), Kept { image: image.clone(), outcome: None });
        let (all, wake, key, image, url) =
            (Arc::clone(&self.kept), self.wake.clone(), key.clone(), image.clone(), url.to_owned());
        tokio::spawn(async move {
            let text = timeout(LIMIT, fetch(&url)).await;
            let text =
                text.unwrap_or_else(|_| Err(format!("{url} did not answer within {} s", LIMIT.as_secs())));
            let outcome = text.and_then(|text| image::listed(&image, &url, &text));
            if let Some(known) = lock(&all).get_mut(&key).filter(|known| known.image == image) {
                known.outcome = Some(outcome);
            }
            // A closed channel means that the controller is gone.
            let _ = wake.send(key);
        });
        None
    }

    /// Forgets what was found: it is fetched again for another try.
    pub fn forget(&self, key: &Key) {
        lock(&self.kept).remove(key);
    }
}

fn lock(kept: &Mutex<HashMap<Key, Kept>>) -> MutexGuard<'_, HashMap<Key, Kept>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn fetch(text: &str) -> Result<String, String> {
    let client = Client::new(trusting(None).map_err(|error| error.to_string())?);
    let mut url = Url::parse(text).map_err(|error| error.to_string())?;
    for _ in 0..=REDIRECTS {
        let request = Request::get("/").body(Full::default()).map_err(|error| error.to_string())?;
        let response = client.send(&url, request, LIMIT).await.map_err(|error| error.to_string())?;
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        match location {
            Some(place) if response.status().is_redirection() => {
                url = url.follow(place).map_err(|error| error.to_string())?;
            }
            _ if !response.status().is_success() => {
                return Err(format!("{text} answers {}", response.status()));
            }
            _ => return read(text, response.into_body()).await,
        }
    }
    Err(format!("{text} points to other places again and again"))
}

async fn read(url: &str, body: Incoming) -> Result<String, String> {
    let long = |_| format!("{url} breaks off, or is longer than {LONGEST} bytes and no file of digests");
    let bytes = Limited::new(body, LONGEST).collect().await.map_err(long)?.to_bytes();
    String::from_utf8(bytes.to_vec()).map_err(|_| format!("{url} is no text, and so no file of digests"))
}
