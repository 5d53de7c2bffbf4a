//! KubeadmConfig to bootstrap data.
