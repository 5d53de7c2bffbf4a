//! Versions: kubelets and the API servers that they talk to.

use super::objects::{Object, Objects};
use super::{Finding, Level};

/// Minor versions that a kubelet may be behind its API server (kubernetes.io version skew policy, from 1.28).
const OLDEST_KUBELET: i64 = 3;

/// `v1.33.4` or `1.33.4` as minor and patch.
pub fn parse(text: &str) -> Option<(i64, i64)> {
    let mut parts = text.strip_prefix('v').unwrap_or(text).split(['.', '+', '-']);
    let (major, minor, patch) = (parts.next()?, parts.next()?, parts.next()?);
    (major == "1").then_some(())?;
    Some((minor.parse().ok()?, patch.parse().ok()?))
}

/// Checks versions.
pub fn check(objects: &Objects, found: &mut Vec<Finding>) {
    for pool in objects.of("MachineDeployment").chain(objects.of("MachinePool")) {
        let path = ["spec", "template", "spec", "version"];
        let Some(text) = pool.text(&path) else { continue };
        let Some((kubelet, _)) = readable(pool, &path, text, found) else { continue };
        let cluster = pool.text(&["spec", "clusterName"]).unwrap_or_default();
        let Some((plane, server, server_path)) = control_plane(objects, &pool.namespace, cluster) else {
            continue;
        };
        let Some((api, _)) = readable(plane, &server_path, server, found) else { continue };
        let message = if kubelet > api {
            format!("kubelets of {text} are newer than their API server {server}: a kubelet must never be")
        } else if api - kubelet > OLDEST_KUBELET {
            format!(
                "kubelets of {text} are {} minor versions behind their API server {server}; {OLDEST_KUBELET} are supported",
                api - kubelet
            )
        } else {
            continue;
        };
        found.push(Finding {
            rule: "version-skew",
            level: Level::Error,
            message,
            fix: if kubelet > api {
                "upgrade the control plane first".to_owned()
            } else {
                "upgrade the Nodes first".to_owned()
            },
            places: vec![pool.place(&path), plane.place(&server_path)],
        });
    }
    for plane in objects.of("KubeadmControlPlane") {
        if let Some(n) = plane.int(&["spec", "replicas"]).filter(|n| *n > 0 && n % 2 == 0) {
            found.push(Finding {
                rule: "etcd-quorum",
                level: Level::Warning,
                message: format!("{n} members of etcd survive no more losses than {}", n - 1),
                fix: format!("use {} or {} replicas", n - 1, n + 1),
                places: vec![plane.place(&["spec", "replicas"])],
            });
        }
    }
}

fn readable(o: &Object, path: &[&str], text: &str, found: &mut Vec<Finding>) -> Option<(i64, i64)> {
    let parsed = parse(text);
    if parsed.is_none() {
        found.push(Finding {
            rule: "version-format",
            level: Level::Error,
            message: format!("{text:?} is no Kubernetes version"),
            fix: "write it in full, as v1.35.4".to_owned(),
            places: vec![o.place(path)],
        });
    }
    parsed
}

fn control_plane<'a>(
    objects: &'a Objects,
    namespace: &str,
    cluster: &str,
) -> Option<(&'a Object, &'a str, Vec<&'static str>)> {
    let cluster = objects.get("Cluster", namespace, cluster)?;
    let kind = cluster.text(&["spec", "controlPlaneRef", "kind"])?;
    let plane = objects.get(kind, namespace, cluster.text(&["spec", "controlPlaneRef", "name"])?)?;
    let path: Vec<&'static str> = if kind == "TenantControlPlane" {
        vec!["spec", "kubernetes", "version"]
    } else {
        vec!["spec", "version"]
    };
    plane.text(&path).map(|v| (plane, v, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_with_and_without_v() {
        assert_eq!(parse("v1.33.4"), Some((33, 4)));
        assert_eq!(parse("1.33.4"), Some((33, 4)));
        assert_eq!(parse("v1.34.1+k3s1"), Some((34, 1)));
        for bad in ["1.33", "2.0.0", "latest", "v1.x.1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
