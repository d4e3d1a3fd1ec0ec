//! What is to be done with a database that an operation is about, or was. Pure.

use daap_crds::{
    Phase,
    database::{Operation, OperationResult},
    reason::Reason,
};
use jiff::SignedDuration;

use super::{
    super::{
        lifecycle::{
            advance::finish,
            deed::{Stage, deed},
            step::Step,
        },
        plan::{Access, Assessment, BackupWork, Converge, Desired, Health, Trouble},
    },
    Bound, Data, assessment, soon, stopped, waiting_for,
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
        if access == Some(Access::Open) {
            // It is still what it was, for everybody.
            let mut converge = self.serve();
            converge.assessment.operation = Some(operation);
            converge.deed = Some(deed);
            return converge;
        }
        let doing = step.doing().to_owned();
        let mut converge = self.say(Health::Operating { doing }, operation);
        converge.deed = Some(deed);
        converge.desired = access.and_then(|access| self.desired_at(access));
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
        let assessment = &mut converge.assessment;
        match &assessment.health {
            Health::Serving => finish(&mut operation, OperationResult::Succeeded, self.now),
            Health::Progressing { .. } if is_overdue => {
                finish(&mut operation, OperationResult::Failed, self.now);
                assessment.health = Health::Failed;
            }
            Health::Failed => finish(&mut operation, OperationResult::Failed, self.now),
            Health::Progressing { waiting_for } => {
                operation.message = Some(waiting_for.clone());
                assessment.health = Health::Operating {
                    doing: waiting_for.clone(),
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
            desired: self.desired_at(access),
            backups: BackupWork::default(),
            deed: None,
            assessment,
        }
    }

    /// A database that cannot be restored: as was said when that was found.
    pub(super) fn unrestorable(&self) -> Converge {
        let status = self.observed.database.status.as_ref();
        let problem = status.and_then(|status| status.problem.as_ref());
        let trouble = problem.map(|problem| Trouble::new(problem.reason, &problem.message));
        Converge::say(assessment(self.observed, Health::Failed, trouble))
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

    /// The children of a database that is open only so far, if it has a Cluster and everything for it is at hand.
    fn desired_at(&self, access: Access) -> Option<Desired> {
        if self.foreign_child().is_some() {
            return None;
        }
        let Ok(Data::Held(incarnation, _)) = self.find_data() else {
            return None;
        };
        let mut desired = self.desired(incarnation, self.prerequisites().ok()?);
        desired.access = access;
        Some(desired)
    }
}

/// A trouble while a database is restored.
fn unrestored(trouble: Trouble) -> Trouble {
    match trouble.reason {
        Reason::InstanceCrashing | Reason::NeedsAttention => Trouble {
            reason: Reason::RestoreFailed,
            ..trouble
        },
        _ => trouble,
    }
}
