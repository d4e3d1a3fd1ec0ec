//! What is to be done with a database that an operation is about, or was. Pure.

use daap_crds::{
    Phase,
    database::{Operation, OperationKind, OperationResult},
    reason::Reason,
};
use jiff::SignedDuration;

use super::{
    super::{
        lifecycle::{
            advance::{abandon, finish},
            deed::{Stage, deed},
            step::Step,
        },
        plan::{Access, Assessment, BackupWork, Converge, Deed, Desired, Health, Trouble},
    },
    assessment,
    bound::{Bound, Data},
    health, soon, stopped, waiting_for,
};

impl Bound<'_> {
    /// The step of an operation.
    pub(super) fn operate(&self, operation: Operation) -> Converge {
        let Some(step) = Step::parse(&operation.step) else {
            let message = format!(
                "The step '{}' is not known to this version.",
                operation.step
            );
            let trouble = Trouble::new(Reason::Unsupported, message);
            return stopped(
                self.observed,
                trouble,
                waiting_for("another version"),
                self.now,
            );
        };
        if matches!(step, Step::Wake | Step::Recover) {
            return self.serve_through(operation, step);
        }
        let stage = Stage::new(
            self.observed,
            self.template,
            self.settings,
            &operation,
            self.now,
        );
        let deed = deed(&stage, step);
        let access = step.access();
        let operation_kind = operation.kind;
        if access == Some(Access::Open) {
            // It is still what it was, for everybody.
            let mut converge = self.serve();
            converge.assessment.operation = Some(operation);
            converge.deed = Some(deed);
            return converge;
        }
        let mut converge = if operation.kind == OperationKind::Restore && step.removes() {
            self.give_up(operation)
        } else {
            let doing = step.doing().to_owned();
            self.say(Health::Operating { doing }, operation)
        };
        converge.deed = Some(deed);
        match access.map(|access| self.desired_at(access)) {
            Some(Ok(desired)) => converge.desired = desired,
            // What is removed anyway need not be closed before.
            Some(Err(why)) if operation_kind != OperationKind::Hard => {
                converge.deed = Some(Deed::Wait(why));
            }
            _ => {}
        }
        converge
    }

    /// A database that is woken or restored is served as any other, until it is ready.
    fn serve_through(&self, mut operation: Operation, step: Step) -> Converge {
        let mut converge = self.serve();
        let deadline = match step {
            Step::Recover => self.settings.restore_deadline,
            _ => self.settings.provisioning_deadline,
        };
        let deadline = SignedDuration::try_from(deadline).unwrap_or(SignedDuration::MAX);
        let is_overdue = self.now.duration_since(operation.since.0) >= deadline;
        let is_lost = step == Step::Recover && self.is_lost(&converge.assessment);
        let assessment = &mut converge.assessment;
        match &assessment.health {
            Health::Serving => finish(&mut operation, OperationResult::Succeeded, self.now),
            Health::Progressing { .. } | Health::Failed if is_overdue || is_lost => {
                let trouble = assessment.trouble.take();
                assessment.trouble = trouble.or_else(|| Some(too_late(&assessment.health)));
                assessment.health = Health::Failed;
                if step == Step::Recover {
                    abandon(&mut operation, self.now);
                } else {
                    finish(&mut operation, OperationResult::Failed, self.now);
                }
            }
            Health::Failed if step == Step::Wake => {
                finish(&mut operation, OperationResult::Failed, self.now);
            }
            // It may pass: an operator that is away, an object that is in the way.
            Health::Failed => {}
            Health::Progressing { waiting_for } => {
                operation.message = Some(waiting_for.clone());
                assessment.health = Health::Operating {
                    doing: step.doing().to_owned(),
                };
                let look_again = assessment.look_again;
                assessment.look_again = look_again.into_iter().chain([soon(self.now)]).min();
            }
            Health::Operating { .. } | Health::Resting(_) => {}
        }
        if step == Step::Recover {
            assessment.trouble = assessment.trouble.take().map(unrestored);
        }
        assessment.operation = Some(operation);
        converge
    }

    /// A database that stays as an operation left it.
    pub(super) fn rest(&self, phase: Phase) -> Converge {
        let mut assessment = self.closed(Health::Resting(phase));
        if phase == Phase::Archived {
            assessment.look_again = assessment.archived_until.as_ref().map(|until| until.0);
            return Converge::say(assessment);
        }
        match self.find_data() {
            Ok(Data::Held(..)) => {}
            Ok(Data::Promised(_) | Data::None) => return Converge::say(assessment),
            Err((trouble, health)) => return stopped(self.observed, trouble, health, self.now),
        }
        let is_isolated = assessment.operation.as_ref().is_some_and(|operation| {
            operation
                .steps
                .iter()
                .any(|taken| taken.name == Step::Isolate.to_string())
        });
        let access = if is_isolated {
            Access::Isolated
        } else {
            Access::Asleep
        };
        Converge {
            desired: self.desired_at(access).unwrap_or_default(),
            backups: BackupWork::default(),
            deed: None,
            assessment,
        }
    }

    /// Whether a restore has failed for good. What may pass is waited for until its time is over.
    fn is_lost(&self, assessment: &Assessment) -> bool {
        let reason = assessment.trouble.as_ref().map(|trouble| trouble.reason);
        let is_final = matches!(
            reason,
            Some(Reason::ClusterVanished | Reason::InvalidDefinition | Reason::DiskFull)
        );
        let cluster = self.observed.children.cluster.found();
        is_final && assessment.health == Health::Failed
            || cluster.is_some_and(health::has_failed_to_begin)
    }

    /// A restore that failed and removes what it had begun.
    fn give_up(&self, operation: Operation) -> Converge {
        let mut converge = self.say(Health::Failed, operation);
        converge.assessment.trouble = self.told_trouble();
        converge
    }

    /// A database that cannot be restored: as was said when that was found.
    pub(super) fn unrestorable(&self) -> Converge {
        let trouble = self.told_trouble();
        Converge::say(assessment(self.observed, Health::Failed, trouble))
    }

    /// The trouble of before.
    fn told_trouble(&self) -> Option<Trouble> {
        let status = self.observed.database.status.as_ref()?;
        let problem = status.problem.as_ref()?;
        Some(Trouble::new(problem.reason, &problem.message))
    }

    /// What is said while an operation is under way.
    pub(super) fn say(&self, health: Health, operation: Operation) -> Converge {
        let mut assessment = self.closed(health);
        assessment.operation = Some(operation);
        Converge::say(assessment)
    }

    /// An assessment of a database whose schedule rests.
    fn closed(&self, health: Health) -> Assessment {
        let mut assessment = assessment(self.observed, health, None);
        if let Some(backup) = &mut assessment.backup {
            backup.next_at = None;
        }
        assessment
    }

    /// The children of a database that is open only so far, if it has a Cluster; or why they cannot be told.
    fn desired_at(&self, access: Access) -> Result<Option<Desired>, String> {
        let Ok(Data::Held(incarnation, _)) = self.find_data() else {
            return Ok(None);
        };
        if let Some(message) = self.foreign_child() {
            return Err(message);
        }
        let store = self.prerequisites().map_err(|trouble| trouble.message)?;
        let mut desired = self.desired(incarnation, store);
        desired.access = access;
        Ok(Some(desired))
    }
}

/// That a database was not served in time.
fn too_late(health: &Health) -> Trouble {
    let waiting_for = match health {
        Health::Progressing { waiting_for } => waiting_for,
        _ => "help",
    };
    let message = format!("Not ready in time; still waiting for {waiting_for}.");
    Trouble::new(Reason::ProvisioningDeadline, message)
}

/// A trouble while a database is restored.
fn unrestored(trouble: Trouble) -> Trouble {
    match trouble.reason {
        Reason::InstanceCrashing | Reason::NeedsAttention | Reason::ProvisioningDeadline => {
            Trouble {
                reason: Reason::RestoreFailed,
                ..trouble
            }
        }
        _ => trouble,
    }
}
