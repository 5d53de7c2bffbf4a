//! What is put into a cluster, and kept there, on a real API server.

mod etcd;
mod policies;
mod storage;
