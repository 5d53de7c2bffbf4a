//! A move from its beginning, or from where an earlier run ended, to its end.

use std::collections::BTreeMap;

use kube::Client;

use crate::observe::{Observed, observe};
use crate::plan::{Plan, plan};
use crate::remote::{MoveError, Side};
use crate::select::Scope;
use crate::write;

/// A move between two management clusters.
#[derive(Clone)]
pub struct Movement {
    from: Side,
    to: Side,
    scope: Scope,
    id: String,
}

/// What a move did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Objects that were still at the source, by kind.
    pub counts: BTreeMap<String, usize>,
}

impl Movement {
    /// A move of what `scope` says of a namespace. `id` is to be a new one: an unfinished move keeps its own.
    #[must_use]
    pub fn new(from: Client, to: Client, namespace: &str, scope: Scope, id: &str) -> Self {
        let (from, to) = (Side::new("source", from, namespace), Side::new("target", to, namespace));
        Self { from, to, scope, id: id.to_owned() }
    }

    /// What would be moved, and what speaks against it. Changes nothing.
    pub async fn look(&self) -> Result<Plan, MoveError> {
        self.plan().await.map(|(plan, _)| plan)
    }

    async fn plan(&self) -> Result<(Plan, Observed), MoveError> {
        let seen = observe(&self.from, &self.to).await?;
        Ok((plan(&seen, &self.scope, &self.id), seen))
    }

    /// Moves. `say` gets one line per step, and may end it, as a closed pipe does.
    pub async fn run(&self, say: &(dyn Fn(&str) -> bool + Sync)) -> Result<Outcome, MoveError> {
        let tell = |line: String| if say(&line) { Ok(()) } else { Err(MoveError::Unheard) };
        let first = self.look().await?;
        if !first.refusals.is_empty() {
            return Err(MoveError::Refused(first.refusals));
        }
        let counts = first.counts();
        tell(format!("{} {}", if first.resumed { "resuming move" } else { "move" }, first.id))?;
        tell(format!("paused at the source: {}", write::pause_source(&self.from, &first).await?))?;
        write::rest(&self.from, &first).await?;
        // What was under way when the pause came would go on at the target: look again.
        let mut paused = self.at_rest(&first).await?;
        tell(format!("at rest: {} objects", paused.items.len()))?;
        let made = self.create(&mut paused).await?;
        tell(format!("created at the target: {made}"))?;
        let (made, _) = self.plan().await?;
        tell(format!("status written: {}", write::write_status(&self.to, &made).await?))?;
        let (last, _) = self.plan().await?;
        let differences = write::differences(&last);
        if !differences.is_empty() {
            return Err(MoveError::Differs(differences));
        }
        tell(format!("verified: {}", last.items.len()))?;
        tell(format!("deleted at the source: {}", write::delete(&self.from, &last).await?))?;
        let awake = write::unpause(&self.to, &last.id, &last.paused_at_target).await?;
        tell(format!("resumed at the target: {awake}"))?;
        Ok(Outcome { counts })
    }

    async fn at_rest(&self, first: &Plan) -> Result<Plan, MoveError> {
        let (paused, seen) = self.plan().await?;
        if paused.refusals.is_empty() {
            return Ok(paused);
        }
        if !first.has_reached_target() && !paused.has_reached_target() {
            write::unpause(&self.from, &paused.id, &seen.source).await?;
        }
        Err(MoveError::Refused(paused.refusals))
    }

    async fn create(&self, paused: &mut Plan) -> Result<usize, MoveError> {
        if paused.items.is_empty() {
            return Ok(0);
        }
        self.to.make_namespace().await?;
        let mut given = std::mem::take(&mut paused.given);
        let mut made = 0;
        for level in paused.by_level() {
            made += write::create(&self.to, &level, &mut given).await?;
        }
        Ok(made)
    }
}
