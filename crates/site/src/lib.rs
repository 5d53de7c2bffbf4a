//! The embedded management cluster: namespace, processes, static Pods, bundle.
