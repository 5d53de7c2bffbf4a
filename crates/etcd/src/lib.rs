//! Port to the multi-tenant etcd: users, roles, prefixes; a real client and a fake.
