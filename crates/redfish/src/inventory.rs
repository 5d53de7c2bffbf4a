//! What the host is made of, as far as the BMC knows. A part that cannot be read is left out, not a failure: the agent on
//! the host will know better.

use serde_json::Value;

use crate::client::Client;
use crate::document::{flag, link, links, number, text};
use crate::error::Error;
use crate::types::{Drive, Inventory, Nic, Processors};

impl Client {
    pub async fn read_inventory(&self) -> Result<Inventory, Error> {
        let system = self.read_system().await?.document;
        Ok(Inventory {
            processors: self.read_processors(&system).await?,
            memory_mib: self.read_memory(&system).await?,
            nics: self.read_nics(&system).await?,
            drives: self.read_drives(&system).await?,
        })
    }

    /// A resource that may be missing.
    async fn part(&self, path: &str) -> Result<Option<Value>, Error> {
        match self.line.get(path).await {
            Ok(reply) => Ok(Some(reply.document)),
            // What one BMC does not have, another fails at.
            Err(Error::NotSupported(_) | Error::Busy { .. } | Error::Rejected { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Members of the collection that a property points to.
    async fn members(&self, document: &Value, pointer: &str) -> Result<Vec<String>, Error> {
        let Some(collection) = link(document, pointer) else { return Ok(Vec::new()) };
        Ok(self.part(&collection).await?.map(|it| links(&it, "/Members")).unwrap_or_default())
    }

    /// The first processor stands for all, since a host has equal ones; the System knows how many.
    async fn read_processors(&self, system: &Value) -> Result<Processors, Error> {
        let members = self.members(system, "/Processors").await?;
        let mut first = Value::Null;
        for path in &members {
            let Some(one) = self.part(path).await? else { continue };
            if text(&one, "/ProcessorType").is_none_or(|kind| kind == "CPU") {
                first = one;
                break;
            }
        }
        let count = number(system, "/ProcessorSummary/Count");
        let threads = number(system, "/ProcessorSummary/LogicalProcessorCount");
        let each = number(&first, "/TotalThreads");
        let listed = u64::try_from(members.len()).ok().filter(|count| *count > 0);
        let count = count.or(listed);
        Ok(Processors {
            count,
            threads: threads.or_else(|| Some(each? * count?)),
            model: text(&first, "/Model").or_else(|| text(system, "/ProcessorSummary/Model")),
            architecture: architecture(&first),
            max_mhz: number(&first, "/MaxSpeedMHz"),
        })
    }

    async fn read_memory(&self, system: &Value) -> Result<Option<u64>, Error> {
        if let Some(gib) = number(system, "/MemorySummary/TotalSystemMemoryGiB").filter(|gib| *gib > 0) {
            return Ok(Some(gib * 1024));
        }
        let mut mib = 0;
        for path in self.members(system, "/Memory").await? {
            mib += self.part(&path).await?.and_then(|it| number(&it, "/CapacityMiB")).unwrap_or(0);
        }
        Ok((mib > 0).then_some(mib))
    }

    /// Network cards that have an address.
    pub async fn read_nics(&self, system: &Value) -> Result<Vec<Nic>, Error> {
        let mut nics = Vec::new();
        for path in self.members(system, "/EthernetInterfaces").await? {
            let Some(it) = self.part(&path).await? else { continue };
            let mac = text(&it, "/PermanentMACAddress").or_else(|| text(&it, "/MACAddress"));
            let Some(mac) = mac.as_deref().and_then(mac_address) else { continue };
            nics.push(Nic {
                name: text(&it, "/Id").unwrap_or_else(|| last(&path)),
                mac,
                speed_mbps: number(&it, "/SpeedMbps").filter(|speed| *speed > 0),
                link_up: text(&it, "/LinkStatus").map(|status| status == "LinkUp"),
            });
        }
        Ok(nics)
    }

    async fn read_drives(&self, system: &Value) -> Result<Vec<Drive>, Error> {
        let mut drives = Vec::new();
        for storage in self.members(system, "/Storage").await? {
            let Some(storage) = self.part(&storage).await? else { continue };
            for path in links(&storage, "/Drives") {
                let Some(it) = self.part(&path).await? else { continue };
                if text(&it, "/Status/State").as_deref() == Some("Absent") {
                    continue;
                }
                drives.push(drive(&it, &path));
            }
        }
        Ok(drives)
    }
}

fn drive(it: &Value, path: &str) -> Drive {
    let kind = text(it, "/MediaType");
    Drive {
        name: text(it, "/Id").unwrap_or_else(|| last(path)),
        model: text(it, "/Model"),
        serial: text(it, "/SerialNumber"),
        bytes: number(it, "/CapacityBytes"),
        rotational: kind.map(|kind| kind == "HDD").or_else(|| flag(it, "/Rotational")),
        protocol: text(it, "/Protocol"),
    }
}

fn last(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn architecture(processor: &Value) -> Option<String> {
    let set = text(processor, "/InstructionSet").or_else(|| text(processor, "/ProcessorArchitecture"))?;
    Some(match set.as_str() {
        "x86-64" | "x86" => "x86_64".into(),
        "ARM-A64" | "ARM" => "aarch64".into(),
        _ => set,
    })
}

/// Lower case with colons, however the BMC writes it.
fn mac_address(text: &str) -> Option<String> {
    let digits: String =
        text.chars().filter(char::is_ascii_hexdigit).collect::<String>().to_ascii_lowercase();
    if digits.len() != 12 || digits == "000000000000" {
        return None;
    }
    let pairs: Vec<&str> = (0..6).map(|at| &digits[2 * at..2 * at + 2]).collect();
    Some(pairs.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_cards_are_written_one_way() {
        assert_eq!(mac_address("52-54-00-5C-01-00").as_deref(), Some("52:54:00:5c:01:00"));
        assert_eq!(mac_address("5254005C0100").as_deref(), Some("52:54:00:5c:01:00"));
        assert_eq!(
            (mac_address(""), mac_address("00:00:00:00:00:00"), mac_address("n/a")),
            (None, None, None)
        );
    }
}
