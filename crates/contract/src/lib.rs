//! In: CustomResourceDefinitions, providers' objects of kinds that are known at run time only. Out: how such a
//! kind is served, what its objects say, who owns them, who is to be woken by them. Never: knows a provider's
//! kind, or decides what an object needs.
//!
//! It stands between the kit, which knows no kind at all, and the stages, which meet their providers here.

pub mod certificates;
pub mod cloned;
pub mod dry_run;
mod externals;
pub mod fields;
mod found;
pub mod infracluster;
mod listing;
mod offered;
pub mod owners;
pub mod paused;
mod reported;
pub mod selector;
mod served;
pub mod spoken;
pub mod summary;

pub use externals::Externals;
pub use found::{Absence, External, Found, Unknown, named};
pub use offered::offered;
pub use reported::Reported;
pub use served::{Contract, ContractError, Served, crd_name, served};
