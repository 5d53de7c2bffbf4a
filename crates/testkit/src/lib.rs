//! A real kube-apiserver and etcd for tests, and object builders.
