//! The audit log: read it, and check that nobody changed it. Reads through ports.

use super::{
    Service,
    databases::{checked_limit, foreign_cursor},
};
use crate::domain::{
    actor::Actor,
    audit::{Entry, EntryFilter},
    audit_chain::{Anchor, Broken, Verifier},
    failure::Failure,
    page::{self, Page},
};

/// How many rows are checked at once.
const CHUNK: usize = 5000;

/// Which slice of which rows is asked for, as it was sent.
#[derive(Debug, Clone, Default)]
pub struct ListEntries {
    /// Which rows.
    pub filter: EntryFilter,
    /// How many at once.
    pub limit: Option<usize>,
    /// Where the slice before ended.
    pub cursor: Option<String>,
}

/// What a check of the whole log found.
#[derive(Debug, Clone)]
pub struct Verification {
    /// The first row at which the chain does not hold.
    pub broken: Option<Broken>,
    /// How many rows hold.
    pub checked: u64,
    /// How many rows are too new to be sealed.
    pub unsealed: u64,
    /// What is kept of the chain outside the database.
    pub anchor: Option<Anchor>,
}

impl Service {
    /// A slice of the rows that exist for the actor, newest first, and the cursor for the next.
    pub async fn audit_entries(
        &self,
        actor: &Actor,
        asked: ListEntries,
    ) -> Result<(Vec<Entry>, Option<String>), Failure> {
        let limit = checked_limit(asked.limit)?;
        let mut filter = asked.filter;
        if let Some(own) = actor.scope() {
            // Another team's rows do not exist, so asking for them finds nothing.
            if filter
                .team
                .as_ref()
                .is_some_and(|team| team != own.as_str())
            {
                return Ok((Vec::new(), None));
            }
            filter.team = Some(own.to_string());
        }
        let fingerprint = filter.fingerprint_text();
        let before = asked
            .cursor
            .map(|cursor| page::decode(&cursor, &fingerprint).ok_or_else(foreign_cursor))
            .transpose()?;
        let Page { items, next } = self
            .ports
            .audit_trail
            .entries(&filter, before, limit)
            .await?;
        Ok((items, next.map(|next| page::encode(next, &fingerprint))))
    }

    /// Checks every sealed row.
    pub async fn verify_audit(&self) -> Result<Verification, Failure> {
        let trail = &self.ports.audit_trail;
        // Before the chain: what is anchored is in the chain, and not the other way round.
        let anchor = self.ports.anchors.read().await?.map(|(anchor, _)| anchor);
        let mut verifier = Verifier::new(trail.start().await?, anchor);
        loop {
            let last = verifier.last();
            let seals = trail.seals_after(last.sequence, CHUNK).await?;
            let Some(end) = seals.last().filter(|_| !verifier.is_broken()) else {
                break;
            };
            let entries = trail.entries_between(last.entry_id, end.link.entry_id);
            verifier.check(&seals, &entries.await?);
        }
        let (last, checked) = (verifier.last(), verifier.checked());
        Ok(Verification {
            unsealed: trail.count_after(last.entry_id).await?,
            broken: verifier.finish(),
            checked,
            anchor,
        })
    }
}
