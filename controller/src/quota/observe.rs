//! What there is of a quota. Reads the cluster, live; the only reader of the quota controller.
//!
//! In: the name of a DaapQuota, which is that of its tier. Out: [`Observed`].

use std::collections::BTreeSet;

use daap_crds::{
    DaapDatabase, DaapQuota, DaapTier, DaapTierRevision, Phase,
    database::{Admission, AdmissionStatus, State, Verdict},
    quota::Reservation,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt as _, api::ListParams, core::DeserializeGuard};
use serde::Deserialize;
use serde_json::Value;

use crate::k8s::{
    client::{Lookup, Reader},
    error::CallError,
};

/// What there is of a quota.
pub struct Observed {
    /// The quota, read before everything else.
    pub quota: DaapQuota,
    /// Its tier.
    pub tier: Lookup<DaapTier>,
    /// The revisions of the tier.
    pub revisions: Vec<DaapTierRevision>,
    /// The databases that name the tier, bound or not.
    pub databases: Vec<Entry>,
    /// The uids of reserved databases that are not among them and still exist.
    pub elsewhere: BTreeSet<String>,
}

/// A database, as far as its quota is concerned.
///
/// It has those fields only that the API server's own checks leave no doubt about, so that a database with something
/// unreadable in any other field is counted like every other.
#[derive(Resource, Deserialize, Clone, Debug)]
#[resource(inherit = DaapDatabase)]
pub struct Entry {
    /// The metadata.
    pub metadata: ObjectMeta,
    /// What was asked for.
    #[serde(default)]
    pub spec: EntrySpec,
    /// Everything that is known about the database, to be written back unchanged but for the verdict.
    #[serde(default)]
    pub status: Value,
}

/// What was asked for, as far as the quota is concerned.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub struct EntrySpec {
    /// The revision it is bound to.
    #[serde(default)]
    pub tier_revision: Option<String>,
    /// What happens when there is no room.
    #[serde(default)]
    pub admission: Admission,
    /// Whether it is wanted.
    #[serde(default)]
    pub state: State,
    /// What it is restored from.
    #[serde(default)]
    pub restore: Option<EntryRestore>,
}

/// What a database is restored from.
#[derive(Deserialize, Clone, Debug)]
pub struct EntryRestore {
    /// The database it is restored from.
    pub source: EntrySource,
}

/// The database that another is restored from.
#[derive(Deserialize, Clone, Debug)]
pub struct EntrySource {
    /// Its uid.
    pub uid: String,
}

impl Entry {
    /// The uid.
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// When it was made.
    pub fn created_at(&self) -> Timestamp {
        self.metadata
            .creation_timestamp
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0)
    }

    /// The public status.
    pub fn phase(&self) -> Phase {
        serde_json::from_value(self.status["phase"].clone()).unwrap_or_default()
    }

    /// Whether its restore failed for good, and nothing of it is left. It stays so.
    pub fn is_abandoned(&self) -> bool {
        !self.status["abandonedAt"].is_null()
    }

    /// What was said about its admission before.
    pub fn admission(&self) -> Option<AdmissionStatus> {
        serde_json::from_value(self.status["admission"].clone()).ok()
    }

    /// Whether it may still be admitted: it is wanted, and was neither admitted nor refused.
    pub fn is_undecided(&self) -> bool {
        let refused = self
            .admission()
            .is_some_and(|said| said.verdict == Verdict::Refused);
        self.spec.tier_revision.is_none()
            && self.spec.state == State::Active
            && self.metadata.deletion_timestamp.is_none()
            && !refused
    }

    /// Its place in the queue: by the time of its creation, which is told in whole seconds, and by the version that
    /// the API server gave it then.
    pub fn place(&self) -> (Timestamp, i64, &str) {
        let queued = self.admission().and_then(|said| said.queued);
        (
            self.created_at(),
            queued.unwrap_or_else(|| self.version()),
            self.uid(),
        )
    }

    /// The version of the API server, which grows with every write.
    pub fn version(&self) -> i64 {
        let version = self.metadata.resource_version.as_deref();
        version
            .and_then(|text| text.parse().ok())
            .unwrap_or(i64::MAX)
    }
}

/// What there is of a quota; nothing, when it is gone.
///
/// # Errors
/// When the API server does not answer.
pub async fn observe(reader: &Reader, name: &str) -> Result<Option<Observed>, CallError> {
    // First the quota: see the head of the module above.
    let Lookup::Found(quota) = reader.get::<DaapQuota>(name).await? else {
        return Ok(None);
    };
    let of_tier = ListParams::default().fields(&format!("spec.tier={name}"));
    let (tier, revisions, databases) = tokio::try_join!(
        reader.get::<DeserializeGuard<DaapTier>>(name),
        reader.list_all::<DeserializeGuard<DaapTierRevision>>(&of_tier),
        reader.list_all::<Entry>(&of_tier),
    )?;
    let elsewhere = observe_unlisted(reader, &quota, &databases).await?;
    Ok(Some(Observed {
        quota,
        tier: match tier {
            Lookup::Found(DeserializeGuard(Ok(tier))) => Lookup::Found(tier),
            Lookup::Found(_) | Lookup::Absent => Lookup::Absent,
            Lookup::KindMissing => Lookup::KindMissing,
        },
        revisions: revisions
            .into_iter()
            .filter_map(|revision| revision.0.ok())
            .collect(),
        databases,
        elsewhere,
    }))
}

/// Asks for each reserved database by itself that is not in the list: only then it is known to be gone.
async fn observe_unlisted(
    reader: &Reader,
    quota: &DaapQuota,
    listed: &[Entry],
) -> Result<BTreeSet<String>, CallError> {
    let listed: BTreeSet<&str> = listed.iter().map(Entry::uid).collect();
    let status = quota.status.as_ref();
    let reservations = status.map_or(&[][..], |status| &status.reservations);
    let mut elsewhere = BTreeSet::new();
    for reserved in reservations {
        if !listed.contains(&*reserved.uid) && still_there(reader, reserved).await? {
            elsewhere.insert(reserved.uid.clone());
        }
    }
    Ok(elsewhere)
}

async fn still_there(reader: &Reader, reserved: &Reservation) -> Result<bool, CallError> {
    let found = reader
        .get_in::<Entry>(&reserved.namespace, &reserved.name)
        .await?;
    Ok(found
        .found()
        .is_some_and(|entry| entry.uid() == reserved.uid))
}

/// The name of a database for people.
pub fn label(entry: &Entry) -> String {
    format!(
        "{}/{}",
        entry.namespace().unwrap_or_default(),
        entry.name_any()
    )
}
