//! The controller kit: watches, reconcile loop, apply, conditions, admission server.
