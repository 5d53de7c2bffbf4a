//! Lists of a tenant, page by page: nothing limits what its API server holds.

use std::ops::ControlFlow;

use kube::api::{Api, ListParams};

use crate::key::Kind;

/// Objects of one page. The largest that can be are a mebibyte and a half each.
pub(super) const PAGE: u32 = 25;

/// Hands out page by page, until `take` has enough.
///
/// # Errors
/// When the tenant refuses, or does not answer.
pub async fn each_page<K: Kind>(
    api: &Api<K>,
    params: ListParams,
    mut take: impl FnMut(Vec<K>) -> ControlFlow<()>,
) -> Result<(), kube::Error> {
    let mut params = params.limit(PAGE);
    loop {
        let page = api.list(&params).await?;
        let next = page.metadata.continue_.filter(|token| !token.is_empty());
        match (take(page.items), next) {
            (ControlFlow::Continue(()), Some(token)) => params = params.continue_token(&token),
            (ControlFlow::Break(()), _) | (_, None) => return Ok(()),
        }
    }
}
