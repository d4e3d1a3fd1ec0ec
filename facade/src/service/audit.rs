//! The audit log: read it, and check that nobody changed it. Reads through ports.

use super::{
    Service,
    slice::{Ask, Slice},
};
use crate::domain::{
    actor::Actor,
    audit::{Entry, EntryFilter},
    audit_chain::{Anchor, Broken, Verifier},
    failure::{Code, Failure},
    page,
};

/// How many rows are checked at once.
const CHUNK: usize = 5000;

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
    pub anchor: Anchorage,
}

/// What is known of what is kept of the chain outside the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchorage {
    /// These ends, which the chain was compared with.
    Compared(Anchor),
    /// Nothing is kept yet.
    Absent,
    /// It cannot be read at the moment. Whether the end of the chain was cut off is not known.
    Unreachable,
}

impl Service {
    /// A slice of the rows that exist for the actor, newest first.
    pub async fn audit_entries(
        &self,
        actor: &Actor,
        mut asked: Ask<EntryFilter>,
    ) -> Result<Slice<Entry>, Failure> {
        let limit = asked.limit()?;
        if !actor.narrow(&mut asked.filter.team) {
            return Ok(Slice::empty());
        }
        let fingerprint = asked.filter.fingerprint_text();
        let before = asked.place(|cursor| page::decode(cursor, &fingerprint))?;
        let page = self.ports.audit_trail.entries(&asked.filter, before, limit);
        Ok(Slice::of(page.await?, &fingerprint))
    }

    /// Checks every sealed row, as far as possible without the cluster when that does not answer.
    pub async fn verify_audit(&self) -> Result<Verification, Failure> {
        let trail = &self.ports.audit_trail;
        // Before the chain: what is anchored is in the chain, and not the other way round.
        let anchor = match self.ports.anchors.read().await {
            Ok(Some((anchor, _))) => Anchorage::Compared(anchor),
            Ok(None) => Anchorage::Absent,
            Err(failure) if failure.code == Code::Unavailable => Anchorage::Unreachable,
            Err(failure) => return Err(failure),
        };
        let known = match anchor {
            Anchorage::Compared(anchor) => Some(anchor),
            Anchorage::Absent | Anchorage::Unreachable => None,
        };
        let mut verifier = Verifier::new(trail.start().await?, known);
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
