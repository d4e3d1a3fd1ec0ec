//! How a Cluster is, by what CloudNativePG says and what its pods show. Pure.

use daap_crds::{
    cnpg::{Cluster, ClusterStatus},
    condition::{self, Fact},
    phase::Phase,
    reason::Reason,
    tier::DaapTierSpec,
};
use jiff::{SignedDuration, Timestamp};

use super::{
    super::{
        build::{REJECT_PLAINTEXT, pooler_names},
        observe::{Observed, pooler_is_available},
        plan::{Health, Identity, Trouble},
    },
    symptoms, waiting_for,
};
use crate::settings::Settings;

/// The phase of a Cluster that cannot begin, or of which no instance is alive.
const UNRECOVERABLE: &str = "Cluster is unrecoverable and needs manual intervention";

/// What was found out about a Cluster.
pub(super) struct Diagnosis {
    /// How it is.
    pub health: Health,
    /// Why it is not what was asked for.
    pub trouble: Option<Trouble>,
    /// Whether instances are missing.
    pub degraded: Fact,
    /// When to look again.
    pub look_again: Option<Timestamp>,
}

/// What a phase of CloudNativePG means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// All is as it should be.
    Healthy,
    /// Something is going on. So is everything that has no other meaning, phases of later versions included.
    Progressing,
    /// It may pass by itself, or with help from outside.
    Troubled(Reason),
    /// It will not pass by itself.
    Broken(Reason),
}

/// What a phase of CloudNativePG means.
pub(super) fn meaning(phase: &str) -> Meaning {
    match phase {
        "Cluster in healthy state" => Meaning::Healthy,
        "Invalid cluster definition" => Meaning::Broken(Reason::InvalidDefinition),
        "Not enough disk space" => Meaning::Broken(Reason::DiskFull),
        "Cluster has incomplete or invalid image catalog" => Meaning::Troubled(Reason::ImagePull),
        "Cluster cannot proceed to reconciliation due to an unknown plugin being required"
        | "Cluster cannot proceed to reconciliation due to an error while interacting with plugins" => {
            Meaning::Troubled(Reason::PluginMissing)
        }
        "Waiting for user action"
        // Also seen for a while when no instance is alive.
        | UNRECOVERABLE
        | "Unable to create required cluster objects"
        | "Cluster cannot execute instance online upgrade due to missing architecture binary" => {
            Meaning::Troubled(Reason::NeedsAttention)
        }
        _ => Meaning::Progressing,
    }
}

/// Whether a Cluster may hold data: whether an instance ever was its primary, before which nobody is let in. CloudNativePG
/// keeps the name of the last one. The condition `Initialized` tells less: it is true as soon as there is a volume.
pub(super) fn was_initialised(cluster: &Cluster) -> bool {
    let status = cluster.status.as_ref();
    let primary = status.and_then(|status| status.current_primary.as_deref());
    primary.is_some_and(|name| !name.is_empty())
}

/// Whether CloudNativePG gave up making the first instance: the Job that was to do it has no tries left.
///
/// It says the same of a Cluster with data whose instances are all away; that one may come back.
pub(super) fn has_failed_to_begin(cluster: &Cluster) -> bool {
    let phase = cluster
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    phase == Some(UNRECOVERABLE) && !was_initialised(cluster)
}

/// How a Cluster is.
pub(super) fn diagnose(
    observed: &Observed,
    cluster: &Cluster,
    template: &DaapTierSpec,
    settings: &Settings,
    now: Timestamp,
) -> Diagnosis {
    let status = cluster.status.clone().unwrap_or_default();
    let degraded = degraded(&status, template);
    let diagnosis = |health, trouble| Diagnosis {
        health,
        trouble,
        degraded: degraded.clone(),
        look_again: None,
    };
    let Some(phase) = status.phase.as_deref().filter(|phase| !phase.is_empty()) else {
        return untouched(cluster, degraded, settings, now);
    };
    let meaning = meaning(phase);
    let said = said(phase, status.phase_reason.as_deref());
    let trouble = match meaning {
        Meaning::Healthy | Meaning::Progressing => None,
        Meaning::Troubled(reason) | Meaning::Broken(reason) => Some(Trouble::new(reason, &said)),
    };
    let was_ready = observed
        .database
        .status
        .as_ref()
        .and_then(|status| status.phase)
        == Some(Phase::Ready);
    if primary_answers(&status) && (meaning == Meaning::Healthy || was_ready) {
        return match missing_protection(observed, cluster, &status, template) {
            None => diagnosis(Health::Serving, trouble),
            Some(missing) => diagnosis(
                waiting_for(missing),
                symptoms::cause(&observed.symptoms).or(trouble),
            ),
        };
    }
    match meaning {
        Meaning::Broken(_) => diagnosis(Health::Failed, trouble),
        Meaning::Troubled(_) => diagnosis(
            waiting_for(&said),
            symptoms::cause(&observed.symptoms).or(trouble),
        ),
        Meaning::Healthy => diagnosis(
            waiting_for("a primary that answers"),
            symptoms::cause(&observed.symptoms),
        ),
        Meaning::Progressing => diagnosis(waiting_for(&said), symptoms::cause(&observed.symptoms)),
    }
}

/// What CloudNativePG says of a Cluster.
fn said(phase: &str, reason: Option<&str>) -> String {
    match reason.filter(|reason| !reason.is_empty() && *reason != phase) {
        Some(reason) => format!("CloudNativePG: {phase} ({reason})"),
        None => format!("CloudNativePG: {phase}"),
    }
}

/// A Cluster that CloudNativePG has not touched yet, or will not as nobody is there.
fn untouched(cluster: &Cluster, degraded: Fact, settings: &Settings, now: Timestamp) -> Diagnosis {
    let patience = SignedDuration::try_from(settings.operator_deadline)
        .unwrap_or(SignedDuration::from_mins(1));
    let created = cluster
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or(now, |time| time.0);
    let deadline = created.saturating_add(patience).unwrap_or(created);
    let missing = now >= deadline;
    let message = "CloudNativePG's operator does not take up the Cluster.";
    Diagnosis {
        health: if missing {
            Health::Failed
        } else {
            waiting_for("CloudNativePG to take up its Cluster")
        },
        trouble: missing.then(|| Trouble::new(Reason::OperatorMissing, message)),
        degraded,
        look_again: (!missing).then_some(deadline),
    }
}

/// Whether the primary is there and is to stay it.
fn primary_answers(status: &ClusterStatus) -> bool {
    let primary = status
        .current_primary
        .as_deref()
        .filter(|name| !name.is_empty());
    status.ready_instances.unwrap_or(0) > 0
        && primary.is_some()
        && primary == status.target_primary.as_deref()
}

/// What a database must not be without while it is ready, in words.
fn missing_protection(
    observed: &Observed,
    cluster: &Cluster,
    status: &ClusterStatus,
    template: &DaapTierSpec,
) -> Option<&'static str> {
    let pg_hba = cluster
        .spec
        .postgresql
        .as_ref()
        .and_then(|postgresql| postgresql.pg_hba.as_ref()?.first());
    if pg_hba.map(String::as_str) != Some(REJECT_PLAINTEXT) {
        return Some("connections without TLS to be refused");
    }
    if observed.children.connection_secret.found().is_none() {
        return Some("its connection Secret");
    }
    template.pooling.as_ref()?;
    if !certificate_names_pooler(status, &observed.identity) {
        return Some("a certificate that names its pooler");
    }
    let pooler = observed.children.pooler.found();
    if pooler.is_none() || !pooler_is_available(observed.children.pooler_deployment.found()) {
        return Some("its pooler");
    }
    None
}

fn certificate_names_pooler(status: &ClusterStatus, identity: &Identity) -> bool {
    let known = status
        .certificates
        .as_ref()
        .map_or(&[][..], |certificates| &certificates.server_alt_dns_names);
    pooler_names(identity)
        .iter()
        .all(|name| known.contains(name))
}

fn degraded(status: &ClusterStatus, template: &DaapTierSpec) -> Fact {
    let wanted = template.availability.instances;
    let ready = status.ready_instances.unwrap_or(0);
    let degraded = ready < wanted;
    Fact {
        type_: condition::DEGRADED,
        status: Some(degraded),
        reason: if degraded {
            "InstancesMissing"
        } else {
            "AllInstancesReady"
        }
        .to_owned(),
        message: format!("{ready} of {wanted} instances are ready."),
    }
}
