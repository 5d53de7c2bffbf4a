//! Port to the VMM: QEMU over QMP, and a fake.
