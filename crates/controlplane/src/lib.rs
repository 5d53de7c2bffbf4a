//! Hosted control planes: DataStore, TenantControlPlane, KamajiControlPlane.
