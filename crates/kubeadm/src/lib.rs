//! What kubeadm would write: configuration, RBAC, add-ons, cloud-init. Pure.
