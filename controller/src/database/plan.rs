//! What is to be done with a database: the words between deciding, building, applying and reporting. Pure.

use std::fmt;

use daap_crds::{
    DaapDatabase, Phase,
    cnpg::{Backup, Cluster, ObjectStore, Pooler, ScheduledBackup},
    condition::Fact,
    database::{AdmissionStatus, BackupStatus, Incarnation, Operation, Removal},
    label,
    name::{DatabaseName, TeamName},
    reason::Reason,
    tier::DaapTierSpec,
};
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::{core::v1::Secret, networking::v1::NetworkPolicy},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};

use crate::tenant_sql::Tenant;

pub use crate::archive::Store;

/// The name of the application's database and of the role that owns it.
pub const APPLICATION: &str = "app";
/// The role with which the controller looks into databases.
pub const OBSERVER: &str = "daap_observer";

/// What is to be done with a database.
pub enum Plan {
    /// It holds nothing and is not wanted any more: let it go.
    Release,
    /// It is deleted, and that was written down: the object goes too.
    Bury,
    /// Nobody is restored from it any more, and its mark is taken away.
    Unmark,
    /// The quota has not decided on it yet, which takes a moment: until this time nothing is said that would be
    /// outdated at once.
    Await(Timestamp),
    /// First the finalizer; everything else follows in the next run.
    Claim(Claim),
    /// Bring the children to what is desired, if anything is, and report.
    Converge(Box<Converge>),
}

/// What is written to the database itself before anything is made for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// All finalizers, ours among them.
    pub finalizers: Vec<String>,
}

/// What there should be, what its operation does next, and what to say about what there is.
pub struct Converge {
    /// What there should be. Absent: nothing is touched.
    pub desired: Option<Desired>,
    /// What is done about base backups.
    pub backups: BackupWork,
    /// What its operation does, after the children are as they should be.
    pub deed: Option<Deed>,
    /// What there is.
    pub assessment: Assessment,
}

impl Converge {
    /// Nothing is touched, and something is said.
    pub fn say(assessment: Assessment) -> Self {
        Self {
            desired: None,
            backups: BackupWork::default(),
            deed: None,
            assessment,
        }
    }
}

/// How far a database is open. Each is narrower than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Access {
    /// Applications connect, backups are taken.
    #[default]
    Open,
    /// No pooler runs, and no scheduled backup is begun.
    Quiet,
    /// Nobody logs in but the observer.
    LockedOut,
    /// Hibernated: no instance runs.
    Asleep,
    /// Hibernated, and fenced for as long as it is too ill to hibernate: PostgreSQL does not run.
    Isolated,
}

/// What an operation does in one run.
pub enum Deed {
    /// Nothing: it waits for this.
    Wait(String),
    /// It goes on as soon as the children are as desired.
    Settle,
    /// It goes on.
    Proceed,
    /// It cannot go on, for this reason.
    GiveUp(Trouble),
    /// Commits a fence.
    Fence(Tenant),
    /// Looks whether a segment is in the archive.
    FindSegment(Archive, String),
    /// Shows that the application cannot log in.
    TryLogin(Tenant),
    /// Ends the sessions there are.
    EndSessions(Tenant),
    /// Makes a base backup.
    Back(Box<Backup>),
    /// Shows that everything committed before the fence can be restored.
    Verify(Archive, String),
    /// Writes down what is about to be removed, so that a receipt names it whatever happens then.
    List(Vec<Removal>),
    /// Removes objects.
    Remove(Vec<Child>),
    /// Removes what is in the archive, as much as one run may take.
    Purge(Box<Store>),
    /// Marks the source of a restore as being read.
    Claim(Box<Claimed>),
}

/// A database that another is to be restored from.
pub struct Claimed {
    /// The source.
    pub source: DaapDatabase,
    /// The uid of the database that is restored.
    pub reader: String,
}

/// The archive of one incarnation.
pub struct Archive {
    /// Where it is.
    pub store: Box<Store>,
    /// The name under which the incarnation archives.
    pub server_name: String,
}

/// An object that is removed.
pub enum Child {
    /// PostgreSQL, with its pods and volumes.
    Cluster(Box<Cluster>),
    /// PgBouncer.
    Pooler(Box<Pooler>),
    /// When base backups are taken.
    ScheduledBackup(Box<ScheduledBackup>),
    /// A base backup's object; the backup itself is in the object store.
    Backup(Box<Backup>),
    /// Where instances archive to, or restore from.
    ObjectStore(Box<ObjectStore>),
    /// A Secret.
    Secret(Box<Secret>),
    /// A network policy.
    NetworkPolicy(Box<NetworkPolicy>),
}

/// What is done about base backups.
#[derive(Debug, Default)]
pub struct BackupWork {
    /// One that somebody asked for, and that was not made yet.
    pub requested: Option<Backup>,
    /// Failed ones, more than anybody wants to look at.
    pub surplus: Vec<Backup>,
}

/// Everything that the children follow from.
pub struct Desired {
    /// Who the database is.
    pub identity: Identity,
    /// What it is made of: the spec of its revision.
    pub template: DaapTierSpec,
    /// Which Cluster holds its data.
    pub incarnation: Incarnation,
    /// The password of the application's role.
    pub application_password: Password,
    /// The password of the observer role.
    pub observer_password: Password,
    /// The certificate that verifies the server's, once CloudNativePG made it.
    pub certificate_authority: Option<ByteString>,
    /// Where backups go, if the tier has a backup.
    pub store: Option<Store>,
    /// How far it is open.
    pub access: Access,
    /// Whether no backup expires, because another database is being restored from them.
    pub keeps_backups: bool,
}

/// Who a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name, from which all children's names follow.
    pub name: DatabaseName,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// The team that owns it.
    pub team: TeamName,
    /// Its tier.
    pub tier: String,
}

impl Identity {
    /// Whether an object was made for this database.
    pub fn owns(&self, meta: &ObjectMeta) -> bool {
        let labels = meta.labels.as_ref();
        labels.and_then(|labels| labels.get(label::DATABASE_UID)) == Some(&self.uid)
    }

    /// Whether the namespace is for databases only, so that everything in it can be denied by default.
    ///
    /// The namespaces in which the facade places databases are. A database made with kubectl may live beside an
    /// application, whose traffic is not DAAP's to forbid.
    pub fn namespace_is_dedicated(&self) -> bool {
        self.namespace
            .starts_with(daap_crds::name::TEAM_NAMESPACE_PREFIX)
    }
}

/// A password. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// A password as it is.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the Secret it goes to and nowhere else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password")
    }
}

/// What there is.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// Whether the quota admitted it.
    pub admission: Option<AdmissionStatus>,
    /// How it is.
    pub health: Health,
    /// Why it is not what was asked for.
    pub trouble: Option<Trouble>,
    /// Conditions beside `Ready`.
    pub facts: Vec<Fact>,
    /// Every Cluster that held its data.
    pub incarnations: Vec<Incarnation>,
    /// Whether its connection Secret is complete and can be named.
    pub connectable: bool,
    /// Whether applications connect through a pooler.
    pub pooled: bool,
    /// Its backups.
    pub backup: Option<BackupStatus>,
    /// What is going on, or was last.
    pub operation: Option<Operation>,
    /// When it is purged, once it is archived.
    pub archived_until: Option<Time>,
    /// When nothing was left of it after its restore had failed.
    pub abandoned_at: Option<Time>,
    /// When to look again, although nothing may have happened.
    pub look_again: Option<Timestamp>,
}

/// How a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It answers, and everything that protects it is in place.
    Serving,
    /// It does not, but may yet.
    Progressing {
        /// What it waits for, in words.
        waiting_for: String,
    },
    /// It does not, because an operation is under way; its phase is the operation's to say.
    Operating {
        /// What is done with it, in words.
        doing: String,
    },
    /// An operation brought it to this phase.
    Resting(Phase),
    /// It does not, and will not without help.
    Failed,
}

/// Why a database is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// A stable code.
    pub reason: Reason,
    /// The cause.
    pub message: String,
}

impl Trouble {
    /// A trouble, its message cut to a length that fits everywhere.
    pub fn new(reason: Reason, message: impl AsRef<str>) -> Self {
        Self {
            reason,
            message: shortened(message.as_ref()),
        }
    }
}

impl Trouble {
    /// This trouble, with what is to be said besides.
    pub fn and(self, other: &Self) -> Self {
        Self {
            message: format!("{} {}", self.message, other.message),
            ..self
        }
    }
}

/// A text of someone else, cut to a length that fits everywhere.
pub fn shortened(text: &str) -> String {
    const LONGEST: usize = 400;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
