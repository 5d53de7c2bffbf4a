//! The way to the new management cluster.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::error::PivotError;

/// A client from a kubeconfig that another cluster has given: what points out of the file is refused first.
pub async fn connect(kubeconfig: &str) -> Result<Client, PivotError> {
    scute_pki::Kubeconfig::parse(kubeconfig).map_err(PivotError::Kubeconfig)?;
    let unusable = |source: Box<dyn std::error::Error + Send + Sync>| PivotError::Connect(source);
    let read = Kubeconfig::from_yaml(kubeconfig).map_err(|error| unusable(Box::new(error)))?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|error| unusable(Box::new(error)))?;
    // That of the environment is for the rest of the world.
    config.proxy_url = None;
    Client::try_from(config).map_err(|error| unusable(Box::new(error)))
}

/// Writes a kubeconfig that only its owner can read; whoever reads it meanwhile finds the old one or the new one. One that leads
/// elsewhere is left alone.
pub fn write(file: &Path, kubeconfig: &str) -> Result<(), PivotError> {
    let failed = |source| PivotError::File { file: file.to_owned(), source };
    let server = |text: &str| scute_pki::Kubeconfig::parse(text).map(|read| read.server).ok();
    match std::fs::read_to_string(file) {
        Ok(old) if server(&old) != server(kubeconfig) => return Err(PivotError::Elsewhere(file.to_owned())),
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside);
    let written =
        open.and_then(|mut file| file.write_all(kubeconfig.as_bytes()).and_then(|()| file.sync_all()));
    written.and_then(|()| std::fs::rename(&beside, file)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use scute_pki::{ClientIdentity, Kubeconfig};

    fn kubeconfig(server: &str, token: &str) -> String {
        let kubeconfig = Kubeconfig {
            cluster: "c".into(),
            server: server.into(),
            tls_server_name: None,
            ca_pem: "-----BEGIN CERTIFICATE-----".into(),
            user: "u".into(),
            identity: ClientIdentity::Token(token.into()),
        };
        kubeconfig.render().unwrap()
    }

    #[test]
    fn a_kubeconfig_is_renewed_and_that_of_another_cluster_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kubeconfig");
        let renewed = kubeconfig("https://a:6443", "2");
        for text in [&kubeconfig("https://a:6443", "1"), &renewed] {
            write(&file, text).unwrap();
        }
        for other in [kubeconfig("https://b:6443", "2"), "not: one".to_owned()] {
            std::fs::write(&file, &other).unwrap();
            assert!(matches!(write(&file, &renewed), Err(PivotError::Elsewhere(_))));
            assert_eq!(std::fs::read_to_string(&file).unwrap(), other);
        }
    }
}
