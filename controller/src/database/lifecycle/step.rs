//! The steps of operations, and their order. Pure.

use std::fmt;

use daap_crds::database::OperationKind;
use serde::{
    Deserialize,
    de::{
        IntoDeserializer as _,
        value::{Error, StrDeserializer},
    },
};

use super::super::plan::Access;

/// A step of an operation. Its name appears in the status of the database, and so in REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Step {
    /// A fence is committed, to see whether the archive takes it.
    TryArchive,
    /// The archive is looked at for that fence.
    AwaitArchive,
    /// Scheduled backups are suspended, the pooler is stopped.
    Quiesce,
    /// Logins are refused, and a login is tried.
    LockOut,
    /// Sessions are ended, until there are none.
    EndSessions,
    /// The last commit.
    Fence,
    /// The archive is looked at for the last commit.
    AwaitFence,
    /// A base backup after the last commit.
    FinalBackup,
    /// The archive has the base backup and every segment up to the fence.
    Verify,
    /// The same, for a database that sleeps.
    VerifyAsleep,
    /// A sleeping database is woken, with nobody let in.
    Rouse,
    /// The instances are stopped.
    Hibernate,
    /// PostgreSQL is stopped in instances that cannot be hibernated.
    Isolate,
    /// The Cluster is deleted.
    DeleteCluster,
    /// Pods and volumes go.
    AwaitGone,
    /// What else was made for the database is deleted.
    RemoveChildren,
    /// The archive is emptied.
    Purge,
    /// The archive is looked at once more, for what was still on its way.
    Recheck,
    /// The instances start, and take logins.
    Wake,
    /// The source of a restore is marked, so that its backups stay.
    ClaimSource,
    /// The source commits a fence.
    FenceSource,
    /// The source's archive is looked at for the fence.
    AwaitSource,
    /// PostgreSQL replays what was archived.
    Recover,
}

impl Step {
    /// The step of a name that [`fmt::Display`] wrote.
    pub fn parse(name: &str) -> Option<Self> {
        let name: StrDeserializer<'_, Error> = name.into_deserializer();
        Self::deserialize(name).ok()
    }

    /// What is done with the database, in words.
    pub const fn doing(self) -> &'static str {
        match self {
            Self::TryArchive | Self::AwaitArchive => "its archive is tried out",
            Self::Quiesce => "scheduled backups and the pooler are stopped",
            Self::LockOut => "logins are refused",
            Self::EndSessions => "sessions are ended",
            Self::Fence | Self::AwaitFence => "the last commit is archived",
            Self::FinalBackup => "a last base backup is taken",
            Self::Verify | Self::VerifyAsleep => "the archive is verified",
            Self::Rouse => "it is woken without letting anybody in",
            Self::Hibernate | Self::Isolate => "its instances are stopped",
            Self::DeleteCluster | Self::AwaitGone => "its instances and volumes are removed",
            Self::RemoveChildren => "what was made for it is removed",
            Self::Purge | Self::Recheck => "its backups are removed",
            Self::Wake => "its instances are started",
            Self::ClaimSource | Self::FenceSource | Self::AwaitSource => {
                "the last commit of its source is archived"
            }
            Self::Recover => "it is restored",
        }
    }

    /// How far the database is open meanwhile. Nothing: its children are not touched any more, or not yet.
    pub const fn access(self) -> Option<Access> {
        match self {
            Self::TryArchive | Self::AwaitArchive | Self::Wake | Self::Recover => {
                Some(Access::Open)
            }
            Self::Quiesce => Some(Access::Quiet),
            Self::LockOut
            | Self::EndSessions
            | Self::Fence
            | Self::AwaitFence
            | Self::FinalBackup
            | Self::Verify
            | Self::Rouse => Some(Access::LockedOut),
            Self::VerifyAsleep | Self::Hibernate => Some(Access::Asleep),
            Self::Isolate => Some(Access::Isolated),
            Self::DeleteCluster
            | Self::AwaitGone
            | Self::RemoveChildren
            | Self::Purge
            | Self::Recheck
            | Self::ClaimSource
            | Self::FenceSource
            | Self::AwaitSource => None,
        }
    }

    /// Whether what it does cannot be undone: it removes something, or what was there is gone already.
    pub const fn removes(self) -> bool {
        matches!(
            self,
            Self::DeleteCluster
                | Self::AwaitGone
                | Self::RemoveChildren
                | Self::Purge
                | Self::Recheck
        )
    }

    /// Whether the operation can still be called off.
    pub const fn is_cancellable(self) -> bool {
        let brings = matches!(
            self,
            Self::Wake | Self::ClaimSource | Self::FenceSource | Self::AwaitSource | Self::Recover
        );
        !self.removes() && !brings
    }

    /// The step that follows in an operation of a kind; nothing after its last. Fences are for databases whose
    /// write-ahead log is archived.
    pub fn following(self, kind: OperationKind, archives: bool) -> Option<Self> {
        let needs_archive = |step: &Self| matches!(step, Self::Fence | Self::AwaitFence);
        match self {
            Self::VerifyAsleep => return Some(Self::DeleteCluster),
            Self::Rouse => return Some(Self::Fence),
            // What a restore that failed had begun.
            Self::DeleteCluster if kind == OperationKind::Restore => return Some(Self::AwaitGone),
            Self::AwaitGone if kind == OperationKind::Restore => return Some(Self::RemoveChildren),
            _ => {}
        }
        let mut rest = sequence(kind).iter().skip_while(|step| **step != self);
        rest.next()?;
        rest.find(|step| archives || !needs_archive(step)).copied()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// The steps of an operation that meets no difficulty.
pub fn sequence(kind: OperationKind) -> &'static [Step] {
    use Step::{
        AwaitArchive, AwaitFence, AwaitGone, AwaitSource, ClaimSource, DeleteCluster, EndSessions,
        Fence, FenceSource, FinalBackup, Hibernate, LockOut, Purge, Quiesce, Recheck, Recover,
        RemoveChildren, TryArchive, Verify, Wake,
    };
    match kind {
        OperationKind::Freeze => &[Quiesce, LockOut, EndSessions, Fence, AwaitFence, Hibernate],
        OperationKind::Archive => &[
            TryArchive,
            AwaitArchive,
            Quiesce,
            LockOut,
            EndSessions,
            Fence,
            AwaitFence,
            FinalBackup,
            Verify,
            DeleteCluster,
            AwaitGone,
            RemoveChildren,
        ],
        OperationKind::Hard => &[
            Quiesce,
            DeleteCluster,
            AwaitGone,
            RemoveChildren,
            Purge,
            Recheck,
        ],
        OperationKind::Purge => &[RemoveChildren, Purge, Recheck],
        OperationKind::Unfreeze => &[Wake],
        OperationKind::Restore => &[ClaimSource, FenceSource, AwaitSource, Recover],
        // Not operations of this module.
        OperationKind::Migrate | OperationKind::Transfer => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Step; 23] = [
        Step::TryArchive,
        Step::AwaitArchive,
        Step::Quiesce,
        Step::LockOut,
        Step::EndSessions,
        Step::Fence,
        Step::AwaitFence,
        Step::FinalBackup,
        Step::Verify,
        Step::VerifyAsleep,
        Step::Rouse,
        Step::Hibernate,
        Step::Isolate,
        Step::DeleteCluster,
        Step::AwaitGone,
        Step::RemoveChildren,
        Step::Purge,
        Step::Recheck,
        Step::Wake,
        Step::ClaimSource,
        Step::FenceSource,
        Step::AwaitSource,
        Step::Recover,
    ];

    /// The whole table, so that a change of the order shows as a change of a line.
    #[test]
    fn orders() {
        use OperationKind::{Archive, Freeze, Hard, Purge, Restore, Unfreeze};
        let told = |kind, archives| {
            let mut steps = Vec::new();
            let mut next = sequence(kind).first().copied();
            while let Some(step) = next {
                steps.push(step.to_string());
                next = step.following(kind, archives);
            }
            format!("{kind:?}: {}", steps.join(" "))
        };
        let table: Vec<_> = [Freeze, Archive, Hard, Purge, Unfreeze, Restore]
            .into_iter()
            .map(|kind| told(kind, true))
            .chain([told(Freeze, false)])
            .collect();
        insta::assert_snapshot!(table.join("\n"), @r"
        Freeze: Quiesce LockOut EndSessions Fence AwaitFence Hibernate
        Archive: TryArchive AwaitArchive Quiesce LockOut EndSessions Fence AwaitFence FinalBackup Verify DeleteCluster AwaitGone RemoveChildren
        Hard: Quiesce DeleteCluster AwaitGone RemoveChildren Purge Recheck
        Purge: RemoveChildren Purge Recheck
        Unfreeze: Wake
        Restore: ClaimSource FenceSource AwaitSource Recover
        Freeze: Quiesce LockOut EndSessions Hibernate
        ");
    }

    #[test]
    fn names_are_read_back() {
        for step in ALL {
            assert_eq!(Step::parse(&step.to_string()), Some(step));
        }
        assert_eq!(Step::parse("Nothing"), None);
    }

    /// What cannot be undone comes after everything that makes sure of it.
    #[test]
    fn nothing_is_removed_before_the_archive_is_verified() {
        let steps = sequence(OperationKind::Archive);
        let place = |step| steps.iter().position(|other| *other == step);
        assert!(place(Step::Verify) < place(Step::DeleteCluster));
        for step in &steps[..=place(Step::Verify).unwrap()] {
            assert!(step.is_cancellable(), "{step}");
        }
    }
}
