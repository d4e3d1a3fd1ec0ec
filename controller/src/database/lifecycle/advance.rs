//! Where an operation stands after a step was tried. Pure: [`Finding`] in, [`Progress`] out.

use daap_crds::{
    Phase,
    database::{
        Fence, LONGEST_RECEIPT, Operation, OperationKind, OperationResult, OperationStep, Removal,
    },
    reason::Reason,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    super::build::LOGINS_ARE_OVER,
    super::plan::{Trouble, shortened},
    children,
    deed::{Stage, final_backup_name},
    step::Step,
};

/// How far ahead of the source's clock a target may be and still be waited for.
const AHEAD: SignedDuration = SignedDuration::from_secs(60);

/// What trying a step brought to light.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// It is done.
    Done,
    /// It is not done yet, and waits for this.
    NotYet(String),
    /// It was not answered, or not as it should be. It is tried again.
    Failed(String),
    /// The archive is not whole, for this reason.
    Incomplete(String),
    /// It cannot be done, for this reason.
    GaveUp(Trouble),
    /// A fence was committed.
    Fenced(Fence),
    /// This is about to be removed.
    Listed(Vec<Removal>),
    /// So many things were removed from the archive.
    Purged {
        /// How many.
        count: i64,
        /// Where.
        url: String,
        /// What is left, in words. Absent: nothing.
        left: Option<String>,
    },
}

/// Where an operation stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The operation.
    pub operation: Operation,
    /// The phase it brought the database to, if it ended.
    pub ended: Option<Phase>,
    /// A fence that is known to be archived.
    pub archived: Option<Fence>,
    /// Whether everything is there that a restore needs, so that its Cluster can be made.
    pub restorable: bool,
    /// Why it failed.
    pub trouble: Option<Trouble>,
}

/// Where an operation stands after what was found at its step.
pub fn advance(stage: &Stage<'_>, step: Step, finding: Finding) -> Progress {
    let mut progress = Progress {
        operation: stage.operation.clone(),
        ended: None,
        archived: None,
        restorable: false,
        trouble: None,
    };
    let next = progress.take(stage, step, finding);
    match next {
        Next::Stay => {}
        Next::Enter(step) => enter(&mut progress.operation, step, stage.now),
        // One that succeeds ends by being served. This one has removed what it had begun.
        Next::End if progress.operation.kind == OperationKind::Restore => {
            finish(&mut progress.operation, OperationResult::Failed, stage.now);
            progress.operation.message = stage.problem();
        }
        Next::End => {
            let phase = end(progress.operation.kind);
            finish(
                &mut progress.operation,
                OperationResult::Succeeded,
                stage.now,
            );
            progress.ended = phase;
        }
    }
    progress
}

/// Has a restore that failed remove what it had begun, so that nothing of it is charged or left behind.
pub fn abandon(operation: &mut Operation, now: Timestamp) {
    enter(operation, Step::DeleteCluster, now);
}

/// An operation that is over.
pub fn finish(operation: &mut Operation, result: OperationResult, now: Timestamp) {
    operation.result = Some(result);
    operation.finished_at = Some(Time(now));
    operation.cancellable = false;
    if result == OperationResult::Succeeded {
        operation.message = None;
    }
}

/// The phase an operation brings a database to. Nothing: how it is tells.
fn end(kind: OperationKind) -> Option<Phase> {
    match kind {
        OperationKind::Freeze => Some(Phase::Frozen),
        OperationKind::Archive => Some(Phase::Archived),
        OperationKind::Hard | OperationKind::Purge => Some(Phase::Deleted),
        OperationKind::Unfreeze
        | OperationKind::Restore
        | OperationKind::Migrate
        | OperationKind::Transfer => None,
    }
}

fn enter(operation: &mut Operation, step: Step, now: Timestamp) {
    let name = step.to_string();
    if !operation.steps.iter().any(|taken| taken.name == name) {
        operation.steps.push(OperationStep {
            name: name.clone(),
            started_at: Time(now),
        });
    }
    operation.step = name;
    operation.since = Time(now);
    operation.attempts = 0;
    operation.message = None;
    operation.cancellable = step.is_cancellable();
}

enum Next {
    Stay,
    Enter(Step),
    End,
}

impl Progress {
    fn take(&mut self, stage: &Stage<'_>, step: Step, finding: Finding) -> Next {
        match finding {
            Finding::Done if step == Step::FinalBackup && self.operation.backup.is_none() => {
                let database = stage.observed.identity.name.as_str();
                self.operation.backup = Some(final_backup_name(database, &self.operation));
                Next::Stay
            }
            // PostgreSQL does not show whose password is just being checked: such a session would commit after the fence.
            Finding::Done
                if step == Step::EndSessions
                    && self.operation.kind == OperationKind::Archive
                    && stage.age() < LOGINS_ARE_OVER =>
            {
                self.not_yet(stage, step, "logins that had begun before end")
            }
            Finding::Done => self.done(stage, step),
            Finding::NotYet(message) => self.not_yet(stage, step, &message),
            Finding::Failed(message) => {
                self.operation.attempts = self.operation.attempts.saturating_add(1);
                self.not_yet(stage, step, &message)
            }
            // What sleeps is woken, so that what is missing can be archived.
            Finding::Incomplete(_) if step == Step::VerifyAsleep => Next::Enter(Step::Rouse),
            Finding::Incomplete(message) => self.not_yet(stage, step, &message),
            Finding::GaveUp(trouble) => self.gave_up(stage, step, trouble),
            Finding::Fenced(fence) => self.fenced(stage, step, fence),
            Finding::Listed(removals) => {
                self.receive(removals);
                Next::Stay
            }
            Finding::Purged { count, url, left } => self.purged(stage, step, count, url, left),
        }
    }

    fn done(&mut self, stage: &Stage<'_>, step: Step) -> Next {
        match step {
            Step::AwaitFence => self.archived.clone_from(&self.operation.fence),
            Step::AwaitSource => self.restorable = true,
            _ => {}
        }
        let archives = stage.template.backup.is_some();
        match step.following(self.operation.kind, archives) {
            Some(next) => Next::Enter(next),
            None => Next::End,
        }
    }

    fn not_yet(&mut self, stage: &Stage<'_>, step: Step, message: &str) -> Next {
        self.operation.message = Some(shortened(message));
        if let Some(way_out) = self.way_out(stage, step) {
            return Next::Enter(way_out);
        }
        let again = match step {
            Step::AwaitArchive => Step::TryArchive,
            Step::AwaitFence => Step::Fence,
            Step::AwaitSource => Step::FenceSource,
            _ => return Next::Stay,
        };
        if !stage.fence_is_overdue() {
            return Next::Stay;
        }
        let message = self.operation.message.take();
        enter(&mut self.operation, again, stage.now);
        self.operation.message = message;
        Next::Stay
    }

    /// Where an operation goes that may not wait for ever at this step.
    fn way_out(&mut self, stage: &Stage<'_>, step: Step) -> Option<Step> {
        if !stage.is_overdue() {
            return None;
        }
        match (self.operation.kind, step) {
            // The data stays on its volumes, whatever the archive has.
            (OperationKind::Freeze, Step::Fence | Step::AwaitFence) => Some(Step::Hibernate),
            (OperationKind::Freeze, Step::LockOut | Step::EndSessions | Step::Hibernate) => {
                Some(Step::Isolate)
            }
            // Somebody forced it and said why; what is lost by that is in the receipt.
            (OperationKind::Archive, step)
                if self.operation.reason.is_some() && step.is_cancellable() =>
            {
                let lost = loss(stage);
                self.receive(vec![children::removal("Lost", lost)]);
                Some(Step::DeleteCluster)
            }
            _ => None,
        }
    }

    fn gave_up(&mut self, stage: &Stage<'_>, step: Step, trouble: Trouble) -> Next {
        match step {
            Step::VerifyAsleep => Next::Enter(Step::Rouse),
            Step::FinalBackup => {
                self.operation.backup = None;
                self.operation.attempts = self.operation.attempts.saturating_add(1);
                let message = format!("The last base backup failed: {}", trouble.message);
                self.not_yet(stage, step, &message)
            }
            Step::ClaimSource | Step::FenceSource | Step::AwaitSource => {
                self.operation.message = Some(trouble.message.clone());
                finish(&mut self.operation, OperationResult::Failed, stage.now);
                self.trouble = Some(trouble);
                Next::Stay
            }
            _ => self.not_yet(stage, step, &trouble.message),
        }
    }

    fn fenced(&mut self, stage: &Stage<'_>, step: Step, fence: Fence) -> Next {
        if step == Step::FenceSource
            && let Some(target) = stage.target()
            && target >= fence.time.0
        {
            let now = fence.time.0;
            return if target.duration_since(now) > AHEAD {
                let message = format!("{target} is in the future: at the source it is {now}.");
                self.gave_up(
                    stage,
                    step,
                    Trouble::new(Reason::RestoreOutsideWindow, message),
                )
            } else {
                self.not_yet(stage, step, "the source's clock has not reached the target")
            };
        }
        self.operation.fence = Some(fence);
        self.done(stage, step)
    }

    fn purged(
        &mut self,
        stage: &Stage<'_>,
        step: Step,
        count: i64,
        url: String,
        left: Option<String>,
    ) -> Next {
        let receipt = &mut self.operation.receipt;
        match receipt.iter_mut().find(|entry| entry.name == url) {
            Some(entry) => entry.count = Some(entry.count.unwrap_or(0).saturating_add(count)),
            None => receipt.push(Removal {
                kind: "Prefix".to_owned(),
                name: url,
                count: Some(count),
            }),
        }
        match left {
            Some(left) => {
                self.operation.message = Some(shortened(&left));
                Next::Stay
            }
            // Somebody still wrote: the pause begins again.
            None if step == Step::Recheck && count > 0 => {
                self.operation.since = Time(stage.now);
                Next::Stay
            }
            None => self.done(stage, step),
        }
    }

    fn receive(&mut self, removals: Vec<Removal>) {
        for removal in removals {
            let receipt = &mut self.operation.receipt;
            if receipt.len() < LONGEST_RECEIPT && !receipt.contains(&removal) {
                receipt.push(removal);
            }
        }
    }
}

/// What a forced archive loses, in words.
fn loss(stage: &Stage<'_>) -> String {
    let status = stage.observed.database.status.as_ref();
    let backup = status.and_then(|status| status.backup.as_ref());
    let fence = status
        .and_then(|status| status.incarnations.last())
        .and_then(|incarnation| incarnation.fence.as_ref());
    match (
        fence,
        backup.and_then(|backup| backup.last_success_at.as_ref()),
    ) {
        (Some(fence), _) => format!(
            "what was committed after {}, and is not in the archive",
            fence.time.0
        ),
        (None, Some(success)) => format!(
            "what was committed after the base backup of {}, and is not in the archive",
            success.0
        ),
        (None, None) => "everything: there is no base backup".to_owned(),
    }
}
