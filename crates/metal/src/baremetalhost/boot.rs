//! What is remembered of a start from virtual media, in a Secret beside the host: a manager that starts anew knows from it
//! whether an agent is awaited, and which one.

use jiff::Timestamp;
use scute_api::metal3::ProvisioningState;
use serde::{Deserialize, Serialize};

/// A start from virtual media.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Boot {
    /// The state that wanted it.
    pub purpose: ProvisioningState,
    /// Drawn anew for each. Token, session and the medium's address follow from it and a key of the manager's.
    pub nonce: String,
    /// 1 when the host did not come up before.
    pub attempt: u8,
    /// The ramdisk's static addresses, as its command line has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// When the host was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// The boot that has taken the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken: Option<String>,
    /// The agent has done what it was started for: the host is to be started from its disk, or powered off.
    pub done: bool,
}
