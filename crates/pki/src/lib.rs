//! Certificate authorities, leaf certificates, kubeconfigs and bootstrap tokens.
