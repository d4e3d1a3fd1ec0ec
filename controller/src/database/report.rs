//! What is said about a database. Writes one status, and only if it differs from the one there is.
//!
//! In: what was observed, the [`Assessment`] of it and what was [`Applied`]. Out: the status. Computing it is pure:
//! times move only with the facts they belong to, so that saying the same again is saying nothing.

use daap_crds::{
    DaapDatabase, DaapDatabaseStatus,
    condition::{self, Fact},
    database::{Endpoint, Problem, SecretReference},
    phase::Phase,
    reason::Reason,
};
use jiff::{SignedDuration, Timestamp};

use super::{
    apply::{Applied, Refusal},
    build,
    plan::{APPLICATION, Assessment, Health, Identity, Trouble},
};
use crate::{
    k8s::{apply::Writer, error::CallError, events::Notice},
    settings::Settings,
};

/// The status of a database, and when it may have to change although nothing happens.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What is said.
    pub status: DaapDatabaseStatus,
    /// When to look again.
    pub look_again: Option<Timestamp>,
}

/// What is said about a database.
pub fn report(
    database: &DaapDatabase,
    identity: &Identity,
    assessment: Assessment,
    applied: &Applied,
    settings: &Settings,
    now: Timestamp,
) -> Report {
    let previous = database.status.clone().unwrap_or_default();
    let verdict = judge(&previous, &assessment, applied);
    let facts: Vec<Fact> = [verdict.fact()]
        .into_iter()
        .chain(assessment.facts)
        .collect();
    let generation = database.metadata.generation;
    let conditions = condition::conditions(&previous.conditions, &facts, generation, now);
    let unready_since = condition::find(&conditions, condition::READY)
        .map_or(now, |ready| ready.last_transition_time.0);
    let deadline = deadline(previous.phase, unready_since, settings);
    let phase = verdict.phase(previous.phase, now >= deadline);
    let waits = matches!(phase, Phase::Provisioning | Phase::Ready)
        && !verdict.ready
        && verdict.operated.is_none();
    let mut incarnations = assessment.incarnations;
    if let (Some(current), Some(uid)) = (incarnations.last_mut(), &applied.cluster_uid) {
        current.cluster_uid = Some(uid.clone());
    }
    let mut backup = assessment.backup;
    if let (Some(backup), true) = (&mut backup, applied.backup_refused) {
        // It is asked for again.
        let before = previous
            .backup
            .and_then(|backup| backup.carried_out_request);
        backup.carried_out_request = before;
    }
    let secret = assessment.connectable.then(|| SecretReference {
        namespace: identity.namespace.clone(),
        name: identity.name.connection_secret(),
    });
    let status = DaapDatabaseStatus {
        observed_generation: generation,
        phase: Some(phase),
        conditions,
        admission: assessment.admission,
        endpoint: (phase == Phase::Ready && verdict.operated.is_none())
            .then(|| endpoint(identity, assessment.pooled)),
        connection_secret: secret.clone(),
        ca_secret: secret,
        incarnations,
        backup,
        extensions: previous.extensions,
        operation: assessment.operation,
        archived_until: assessment.archived_until,
        abandoned_at: assessment.abandoned_at,
        problem: verdict.problem(phase, previous.problem),
    };
    let look_again = [waits.then_some(deadline), assessment.look_again]
        .into_iter()
        .flatten()
        .min();
    Report { status, look_again }
}

/// How a database is, everything considered.
struct Verdict {
    ready: bool,
    failed: bool,
    operated: Option<Operated>,
    /// What it waits for, or what is done with it, in words.
    pending: String,
    trouble: Option<Trouble>,
}

/// What an operation makes of a phase.
#[derive(Clone, Copy)]
enum Operated {
    /// It stays what it was.
    Kept,
    /// It is this one.
    Reached(Phase),
}

fn judge(previous: &DaapDatabaseStatus, assessment: &Assessment, applied: &Applied) -> Verdict {
    let refused = applied.refusal.as_ref().map(|refusal| match refusal {
        Refusal::Invalid(said) => Trouble::new(Reason::InvalidDefinition, said),
        Refusal::Unanswered(said) => Trouble::new(Reason::OperatorMissing, said),
    });
    let invalid = matches!(applied.refusal, Some(Refusal::Invalid(_)));
    let (serving, failed, pending) = match &assessment.health {
        Health::Serving => (
            true,
            false,
            "CloudNativePG to take over what changed".to_owned(),
        ),
        Health::Progressing { waiting_for } => (false, invalid, waiting_for.clone()),
        Health::Operating { doing } => (false, false, doing.clone()),
        Health::Resting(_) => (false, false, "somebody to want it back".to_owned()),
        Health::Failed => (false, true, "help".to_owned()),
    };
    let operated = match assessment.health {
        Health::Operating { .. } => Some(Operated::Kept),
        Health::Resting(phase) => Some(Operated::Reached(phase)),
        Health::Serving | Health::Progressing { .. } | Health::Failed => None,
    };
    // What was just written was not what the status of the Cluster is about. A database that was ready before
    // goes on serving meanwhile.
    let outdated = applied.outdated && previous.phase != Some(Phase::Ready);
    Verdict {
        ready: serving && !outdated,
        failed,
        operated,
        pending,
        trouble: refused.or_else(|| assessment.trouble.clone()),
    }
}

impl Verdict {
    fn fact(&self) -> Fact {
        let (reason, message) = match (&self.trouble, self.ready) {
            (_, true) => (
                "Serving".to_owned(),
                "The database answers, and only over TLS.".to_owned(),
            ),
            (None, false) if let Some(Operated::Reached(phase)) = self.operated => {
                (capitalised(phase), format!("The database is {phase}."))
            }
            (Some(trouble), false) => (trouble.reason.to_string(), trouble.message.clone()),
            (None, false) => {
                let message = match self.operated {
                    Some(_) => format!("Under way: {}.", self.pending),
                    None => format!("Waiting for {}.", self.pending),
                };
                ("Progressing".to_owned(), message)
            }
        };
        Fact {
            type_: condition::READY,
            status: Some(self.ready),
            reason,
            message,
        }
    }

    /// The phase that follows. An error stays one until the database is ready, and what was ready stays so for a
    /// while, since a restart or a failover is nothing to be alarmed at.
    fn phase(&self, previous: Option<Phase>, overdue: bool) -> Phase {
        match previous.unwrap_or_default() {
            _ if let Some(Operated::Reached(phase)) = self.operated => phase,
            previous if self.operated.is_some() => previous,
            _ if self.ready => Phase::Ready,
            _ if self.failed || overdue => Phase::Error,
            previous => previous,
        }
    }

    /// What is wrong. An operation on a database that is an error leaves it what it was: `previous`.
    fn problem(&self, phase: Phase, previous: Option<Problem>) -> Option<Problem> {
        if self.trouble.is_none() && self.operated.is_some() {
            return previous.filter(|_| phase == Phase::Error);
        }
        let overdue = || {
            let message = format!("Not ready in time; still waiting for {}.", self.pending);
            Trouble::new(Reason::ProvisioningDeadline, message)
        };
        let Trouble { reason, message } = self
            .trouble
            .clone()
            .or_else(|| (phase == Phase::Error).then(overdue))?;
        Some(Problem {
            reason,
            message,
            hint: reason.hint().to_owned(),
        })
    }
}

/// When a database that is not ready becomes an error.
fn deadline(previous: Option<Phase>, unready_since: Timestamp, settings: &Settings) -> Timestamp {
    let patience = match previous {
        Some(Phase::Ready) => settings.interruption_deadline,
        _ => settings.provisioning_deadline,
    };
    let patience = SignedDuration::try_from(patience).unwrap_or(SignedDuration::from_mins(10));
    unready_since
        .saturating_add(patience)
        .unwrap_or(unready_since)
}

fn endpoint(identity: &Identity, pooled: bool) -> Endpoint {
    Endpoint {
        host: build::host(identity, &identity.name.read_write_service()),
        port: 5432,
        pooler_host: pooled.then(|| build::host(identity, &identity.name.pooler())),
        database: APPLICATION.to_owned(),
    }
}

/// Writes the status, if it differs; tells whether it was written.
///
/// # Errors
/// A conflict when the database changed since it was read.
pub async fn write(
    writer: &Writer,
    database: &DaapDatabase,
    status: &DaapDatabaseStatus,
) -> Result<bool, CallError> {
    if database.status.as_ref() == Some(status) {
        return Ok(false);
    }
    writer.write_status(database, status).await?;
    Ok(true)
}

/// What is worth an Event in a change of status.
pub fn notice(previous: Option<&DaapDatabaseStatus>, next: &DaapDatabaseStatus) -> Option<Notice> {
    let phase_before = previous.and_then(|status| status.phase);
    let reason_before = previous
        .and_then(|status| status.problem.as_ref())
        .map(|problem| problem.reason);
    let reason = next.problem.as_ref().map(|problem| problem.reason);
    if phase_before == next.phase && reason_before == reason {
        return None;
    }
    let phase = next.phase.unwrap_or_default();
    Some(match &next.problem {
        Some(problem) => Notice {
            warning: true,
            reason: problem.reason.to_string(),
            action: "Reconcile",
            note: format!("{} {}", problem.message, problem.hint),
        },
        None => Notice {
            warning: false,
            reason: capitalised(phase),
            action: "Reconcile",
            note: format!("The database is {phase}."),
        },
    })
}

/// A phase as a reason.
fn capitalised(phase: Phase) -> String {
    match phase {
        Phase::Provisioning => "Provisioning",
        Phase::Ready => "Ready",
        Phase::Error => "Error",
        Phase::Frozen => "Frozen",
        Phase::Archived => "Archived",
        Phase::Deleted => "Deleted",
    }
    .to_owned()
}

#[cfg(test)]
mod tests;
