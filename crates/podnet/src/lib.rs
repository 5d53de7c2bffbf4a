//! The embedded Pod network of tenants: one small agent per Node.
