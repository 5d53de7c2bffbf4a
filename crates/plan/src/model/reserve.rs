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
    /// Huawei CCE (support.huaweicloud.com/usermanual-cce/cce_10_0178.html, memory rule v1).
    Cce,
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
            "cce" => Profile::Cce,
            _ => {
                return Err(format!("{text:?} is none of kubelet, gke, eks, aks, aks-before-1.29, gdc, cce"));
            }
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
        Profile::Cce => (google_cpu(cores), huawei_memory(mib, max_pods) + EVICTION),
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
    Mem((hundredths(mib, [(4, 25), (4, 20), (8, 10), (112, 6), (REST, 2)]) + 50) / 100)
}

/// The system: nothing of the first 8 GiB, then as Google. The kubelet: by its Pods, a quarter of the memory up to 2 GiB.
fn huawei_memory(mib: i64, max_pods: i64) -> Mem {
    // Up to so many Pods: MiB at the one before, and hundredths of a MiB for each further.
    let by_pods = [(16, 700, 0, 0), (32, 700, 16, 1875), (64, 1024, 32, 625), (128, 1230, 64, 780)];
    let (_, base, from, each) =
        by_pods.into_iter().find(|(most, ..)| max_pods <= *most).unwrap_or((i64::MAX, 1740, 128, 1120));
    let kubelet = if mib <= 2048 { mib * 25 } else { base * 100 + (max_pods - from).max(0) * each };
    Mem((hundredths(mib, [(8, 0), (8, 10), (112, 6), (REST, 2), (0, 0)]) + kubelet + 50) / 100)
}

/// GiB of a band without an end.
const REST: i64 = i64::MAX / 2048;

/// Percent of each band of GiB, in hundredths of a MiB.
fn hundredths(mib: i64, bands: [(i64, i64); 5]) -> i64 {
    let mut left = mib;
    let part = |(gib, percent): (i64, i64)| {
        let part = left.min(gib * 1024);
        left -= part;
        part * percent
    };
    bands.into_iter().map(part).sum()
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
    fn cce_vectors() {
        // 16 GiB and 110 Pods: a tenth of the second 8 GiB, and 1,230 MiB + 46 x 7.80.
        assert_eq!(reserved(Profile::Cce, 4, Mem::gib(16), 110), (Cpu(80), Mem(819 + 1589) + EVICTION));
        let kept = |gib: i64, pods: i64| huawei_memory(gib * 1024, pods).0;
        let system = [(8, 0), (16, 819), (128, 819 + 6881), (256, 819 + 6881 + 2621)];
        for (gib, mib) in system {
            assert!((kept(gib, 16) - 700 - mib).abs() <= 1, "{gib} GiB");
        }
        for (pods, mib) in [(16, 700), (32, 1000), (64, 1224), (128, 1729), (256, 3174)] {
            assert_eq!(kept(8, pods), mib, "{pods} Pods");
        }
        assert_eq!(kept(2, 110), 512, "a quarter of a small machine");
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
