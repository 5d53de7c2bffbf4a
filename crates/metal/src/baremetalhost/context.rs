//! What the runs of the controller share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use scute_kit::Hub;
use scute_redfish::{Connector, Trust};

use super::digests::Digests;
use super::seen::{Memory, Patience};
use crate::calls::Calls;
use crate::probes::Probes;
use crate::service::desk::Desk;

/// What the runs of the controller share.
pub struct Context {
    pub hub: Arc<Hub>,
    pub desk: Arc<Desk>,
    pub calls: Calls,
    pub probes: Probes,
    pub digests: Digests,
    pub connector: Arc<Connector>,
    pub patience: Patience,
    /// Which BMCs' certificates are taken where a host says nothing else.
    pub trust: Trust,
    /// Where agents call back.
    pub service: String,
    /// Where BMCs find media, with a slash at its end.
    pub media: String,
    /// By UID.
    pub memories: Mutex<HashMap<String, Memory>>,
}

impl Context {
    /// What is remembered of a host.
    pub fn memory(&self, uid: &str) -> Memory {
        let memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories.get(uid).cloned().unwrap_or_default()
    }

    /// Remembers it.
    pub fn remember(&self, uid: &str, memory: Memory) {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories.insert(uid.to_owned(), memory);
    }

    /// Forgets a host that is gone.
    pub fn forget(&self, uid: &str) {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}
