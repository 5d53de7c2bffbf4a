//! What a kubelet keeps back from Pods: the reservation curves that providers publish.

use std::str::FromStr;

use serde::Serialize;

use crate::units::{Cpu, Mem};

/// A published reservation profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// kubelet's own defaults: nothing reserved, 100 MiB hard eviction.
    Kubelet,
    /// Google Kubernetes Engine (cloud.google.com/kubernetes-engine/docs/concepts/plan-node-sizes).
    #[default]
    Gke,
    /// Amazon EKS (awslabs/amazon-eks-ami, bootstrap).
    Eks,
    /// Azure AKS from 1.29 (learn.microsoft.com/azure/aks/node-resource-reservations).
    Aks,
    /// Azure AKS before 1.29.
    AksBefore129,
    /// Google Distributed Cloud.
    Gdc,
}

/// kubelet's default hard eviction threshold for memory.
const EVICTION: Mem = Mem(100);
/// The same on AKS before 1.29.
const EVICTION_AKS_BEFORE_129: Mem = Mem(750);

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Profile, String> {
        Ok(match text {
            "kubelet" => Profile::Kubelet,
            "gke" => Profile::Gke,
            "eks" => Profile::Eks,
            "aks" => Profile::Aks,
            "aks-before-1.29" => Profile::AksBefore129,
            "gdc" => Profile::Gdc,
            _ => return Err(format!("{text:?} is none of kubelet, gke, eks, aks, aks-before-1.29, gdc")),
        })
    }
}

/// CPU and memory (with eviction) that Pods do not get on a machine of this size.
pub fn reserved(profile: Profile, cores: i64, memory: Mem, max_pods: i64) -> (Cpu, Mem) {
    let mib = memory.0;
    match profile {
        Profile::Kubelet => (Cpu(0), EVICTION),
        Profile::Gke => (google_cpu(cores), google_memory(mib) + EVICTION),
        Profile::Eks => (google_cpu(cores), Mem(11 * max_pods + 255) + EVICTION),
        Profile::Aks => {
            // 20 MB a Pod and 50 MB, at most a quarter; Azure's MB are MiB in its own examples.
            (azure_cpu(cores), Mem((20 * max_pods + 50).min(mib / 4)) + EVICTION)
        }
        Profile::AksBefore129 => (azure_cpu(cores), google_memory(mib) + EVICTION_AKS_BEFORE_129),
        Profile::Gdc => (Cpu(80 + 10 * cores), Mem(330 + mib / 20) + EVICTION),
    }
}

/// 6 % of the first core, 1 % of the second, 0.5 % of the next two, 0.25 % above; in tenths of a millicore.
fn google_cpu(cores: i64) -> Cpu {
    let tenths = |i: i64| match i {
        0 => 600,
        1 => 100,
        2 | 3 => 50,
        _ => 25,
    };
    Cpu((0..cores).map(tenths).sum::<i64>() / 10)
}

/// 25 % of the first 4 GiB, 20 % of the next 4, 10 % of the next 8, 6 % of the next 112, 2 % above; 255 MiB below 1 GiB.
fn google_memory(mib: i64) -> Mem {
    if mib < 1024 {
        return Mem(255);
    }
    let bands = [(4, 25), (4, 20), (8, 10), (112, 6), (i64::MAX / 2048, 2)];
    let (mut left, mut hundredths) = (mib, 0);
    for (gib, percent) in bands {
        let part = left.min(gib * 1024);
        hundredths += part * percent;
        left -= part;
    }
    Mem((hundredths + 50) / 100)
}

/// Azure publishes points; between them the line is drawn straight.
fn azure_cpu(cores: i64) -> Cpu {
    let points = [(1, 60), (2, 100), (4, 140), (8, 180), (16, 260), (32, 420), (64, 740)];
    let at = points.iter().position(|(c, _)| cores <= *c);
    Cpu(match at {
        Some(0) => 60,
        Some(i) => {
            let ((c0, m0), (c1, m1)) = (points[i - 1], points[i]);
            m0 + (m1 - m0) * (cores - c0) / (c1 - c0)
        }
        None => 740 + (cores - 64) * 10,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gke_vectors() {
        let want = [
            (2, 4, 70, 1024, 2972),
            (4, 16, 80, 2662, 13_622),
            (8, 32, 90, 3645, 29_023),
            (16, 64, 110, 5612, 59_824),
            (32, 128, 150, 9544, 121_428),
        ];
        for (cores, gib, cpu, kept, allocatable) in want {
            let (c, m) = reserved(Profile::Gke, cores, Mem::gib(gib), 110);
            assert_eq!(c, Cpu(cpu), "{cores}/{gib}");
            assert_eq!(m - EVICTION, Mem(kept), "{cores}/{gib}");
            assert_eq!(Mem::gib(gib) - m, Mem(allocatable), "{cores}/{gib}");
        }
        assert_eq!(google_memory(600), Mem(255));
    }

    #[test]
    fn eks_and_aks_vectors() {
        assert_eq!(reserved(Profile::Eks, 4, Mem::gib(16), 110).1 - EVICTION, Mem(1465));
        assert_eq!(reserved(Profile::Aks, 2, Mem(8000), 30).1 - EVICTION, Mem(650));
        assert_eq!(reserved(Profile::Aks, 2, Mem(4000), 70).1 - EVICTION, Mem(1000));
        for (cores, millis) in [(1, 60), (2, 100), (4, 140), (8, 180), (16, 260), (32, 420), (64, 740)] {
            assert_eq!(azure_cpu(cores), Cpu(millis));
        }
        assert_eq!(reserved(Profile::AksBefore129, 2, Mem::gib(4), 110).1, Mem(1024 + 750));
        assert_eq!(reserved(Profile::Gdc, 4, Mem(10_000), 110), (Cpu(120), Mem(330 + 500 + 100)));
        assert_eq!(reserved(Profile::Kubelet, 64, Mem::gib(256), 110), (Cpu(0), Mem(100)));
    }
}
