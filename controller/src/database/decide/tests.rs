use daap_crds::{DaapTier, DaapTierSpec, Phase, cnpg::ClusterStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    super::{
        observe::{Children, StoreLookup},
        plan::{Access, Deed},
    },
    health::Meaning,
    *,
};
use crate::fixtures::{
    CLUSTER_UID, SERVER_NAME, UID, at, chance, database, from_yaml, observed, plain_tier_spec,
    settings, settled, tier, tier_spec, with_cluster,
};
use crate::k8s::client::Lookup;

fn converge(observed: &Observed) -> Converge {
    match decide(observed, &settings(), &chance(), at(0)) {
        Plan::Converge(converge) => *converge,
        Plan::Claim(claim) => panic!("{claim:?}"),
        Plan::Await(time) => panic!("awaits {time}"),
        Plan::Release => panic!("released"),
        Plan::Bury => panic!("buried"),
        Plan::Unmark => panic!("unmarked"),
    }
}

fn reason(observed: &Observed) -> Option<Reason> {
    converge(observed)
        .assessment
        .trouble
        .map(|trouble| trouble.reason)
}

/// A database that is not bound yet.
fn unbound() -> Observed {
    let mut observed = observed(plain_tier_spec());
    observed.database = database();
    observed.database.spec.tier_revision = None;
    observed.database.metadata.finalizers = None;
    let mut tier = tier();
    tier.status = Some(from_yaml(
        "
        observedGeneration: 4
        currentRevision: gold-0123456789
        conditions:
        - {type: Accepted, status: 'True', reason: Accepted, message: m, lastTransitionTime: '2026-01-01T00:00:00Z'}
        ",
    ));
    observed.tier = Lookup::Found(tier);
    observed
}

/// The quota decides in a moment; only when it does not, there is something to say.
#[test]
fn leaves_the_binding_to_the_quota() {
    let mut observed = unbound();
    observed.database.metadata.creation_timestamp = Some(Time(at(-1)));
    let plan = decide(&observed, &settings(), &chance(), at(0));
    assert!(matches!(plan, Plan::Await(until) if until == at(2)));
    let Plan::Converge(late) = decide(&observed, &settings(), &chance(), at(2)) else {
        panic!("nothing is said")
    };
    assert!(late.desired.is_none());
    assert_eq!(late.assessment.facts[0].reason, "Undecided");
}

#[test]
fn tells_that_the_quota_has_no_room() {
    let mut observed = unbound();
    observed.database.status = Some(from_yaml(
        "admission: {verdict: Waiting, message: There is no room., queued: 7}",
    ));
    let plan = converge(&observed);
    assert!(plan.desired.is_none());
    let trouble = plan.assessment.trouble.unwrap();
    assert_eq!(
        (trouble.reason, &*trouble.message),
        (Reason::QuotaExceeded, "There is no room.")
    );
    assert_eq!(plan.assessment.facts[0].status, Some(false));
    assert_eq!(
        plan.assessment.admission.unwrap().queued,
        Some(7),
        "its place in the queue is kept"
    );
}

#[test]
fn records_what_an_admitted_database_costs() {
    let admission = converge(&observed(tier_spec()))
        .assessment
        .admission
        .unwrap();
    assert_eq!(admission.verdict, database::Verdict::Admitted);
    assert_eq!(admission.cost.unwrap().cpu.to_string(), "4900m");
    let mut orphaned = observed(tier_spec());
    orphaned.revision = Lookup::Absent;
    orphaned.database.status = Some(from_yaml(
        "admission: {verdict: Admitted, cost: {databases: 1, cpu: '7', memory: 1Gi, storage: 1Gi}}",
    ));
    let kept = converge(&orphaned).assessment.admission.unwrap();
    assert_eq!(kept.cost.unwrap().cpu.to_string(), "7");
}

/// A database whose tier is different.
fn with_tier(change: impl FnOnce(&mut DaapTier)) -> Observed {
    let mut observed = unbound();
    if let Lookup::Found(tier) = &mut observed.tier {
        change(tier);
    }
    observed
}

#[test]
fn binds_to_no_tier_that_is_not_as_accepted() {
    let refused =
        with_tier(|tier| tier.status.as_mut().unwrap().conditions[0].status = "False".into());
    assert_eq!(reason(&refused), Some(Reason::TierNotAccepted));
    let leaving = with_tier(|tier| {
        tier.metadata.deletion_timestamp = Some(Time(at(0)));
    });
    assert_eq!(reason(&leaving), Some(Reason::TierNotAccepted));
    let mut missing = unbound();
    missing.tier = Lookup::Absent;
    assert_eq!(reason(&missing), Some(Reason::TierNotFound));
}

/// A tier that was just made or changed is nobody's fault.
#[test]
fn waits_for_a_tier_that_was_not_looked_at_yet() {
    let new = with_tier(|tier| tier.status = None);
    let changed = with_tier(|tier| tier.metadata.generation = Some(5));
    let mut unmade = unbound();
    unmade.revision = Lookup::Absent;
    for observed in [new, changed, unmade] {
        assert_eq!(reason(&observed), None);
    }
}

#[test]
fn writes_the_incarnation_down_before_anything_is_made() {
    let plan = converge(&observed(tier_spec()));
    assert!(plan.desired.is_none());
    let [incarnation] = &plan.assessment.incarnations[..] else {
        panic!("one incarnation")
    };
    assert_eq!(incarnation.server_name, chance().server_name);
    assert_eq!(
        incarnation.backup_url.as_deref(),
        Some(&*format!("s3://backups/tenants/shop-prod/{UID}/"))
    );
    assert_eq!(incarnation.cluster_uid, None);
    assert_eq!(incarnation.reserved_connections, Some(3));
}

#[test]
fn makes_the_cluster_of_the_incarnation_written_down() {
    let mut observed = settled(tier_spec());
    observed.children = Children::default();
    observed.database.status.as_mut().unwrap().incarnations[0].cluster_uid = None;
    let desired = converge(&observed).desired.unwrap();
    assert_eq!(desired.incarnation.server_name, SERVER_NAME);
    assert_eq!(desired.application_password, chance().application_password);
}

#[test]
fn never_makes_a_vanished_cluster_again() {
    let mut observed = settled(tier_spec());
    observed.children.cluster = Lookup::Absent;
    let plan = converge(&observed);
    assert!(plan.desired.is_none());
    assert_eq!(plan.assessment.health, Health::Failed);
    assert_eq!(
        plan.assessment.trouble.unwrap().reason,
        Reason::ClusterVanished
    );
}

#[test]
fn another_cluster_of_the_same_name_is_a_vanished_one() {
    let replaced = with_cluster(settled(tier_spec()), |cluster| {
        cluster.metadata.uid = Some("another".into())
    });
    assert_eq!(reason(&replaced), Some(Reason::ClusterVanished));
    let relabelled = with_cluster(settled(tier_spec()), |cluster| {
        cluster
            .labels_mut()
            .insert(label::INCARNATION.into(), "another".into());
    });
    assert_eq!(reason(&relabelled), Some(Reason::ClusterVanished));
    let foreign = with_cluster(settled(tier_spec()), |cluster| {
        cluster.labels_mut().remove(label::DATABASE_UID);
    });
    assert_eq!(reason(&foreign), Some(Reason::NameConflict));
    for observed in [replaced, relabelled, foreign] {
        assert!(converge(&observed).desired.is_none());
    }
}

#[test]
fn adopts_its_own_cluster_when_the_status_was_lost() {
    let mut observed = settled(tier_spec());
    observed.database.status = None;
    // Whatever is wanted, and also where it was restored: nothing is removed or restored before that is written down.
    for wish in [
        "{}",
        "{state: Destroyed}",
        "{restore: {source: {name: ledger, uid: some-uid}}}",
    ] {
        let mut spec = serde_json::to_value(&observed.database.spec).unwrap();
        let wish: serde_json::Value = from_yaml(wish);
        spec.as_object_mut()
            .unwrap()
            .extend(wish.as_object().unwrap().clone());
        observed.database.spec = serde_json::from_value(spec).unwrap();
        let plan = converge(&observed);
        let [incarnation] = &plan.assessment.incarnations[..] else {
            panic!("one incarnation")
        };
        assert_eq!(incarnation.server_name, SERVER_NAME);
        assert_eq!(incarnation.cluster_uid.as_deref(), Some(CLUSTER_UID));
        assert_eq!(plan.assessment.operation, None);
        assert_eq!(incarnation.reserved_connections, Some(3));
    }
    // It was made by a version that kept none free, and PostgreSQL restarts to change that.
    observed = with_cluster(observed, |cluster| {
        let postgresql = cluster.spec.postgresql.as_mut().unwrap();
        let parameters = postgresql.parameters.as_mut().unwrap();
        parameters.remove("reserved_connections").unwrap();
    });
    let adopted = converge(&observed).assessment.incarnations.remove(0);
    assert_eq!(adopted.reserved_connections, None);
}

/// A restored database whose Cluster is at `phase`, as CloudNativePG says, and this instance its primary.
fn recovering(phase: &str, primary: &str) -> Observed {
    let mut observed = with_cluster(settled(tier_spec()), |cluster| {
        cluster.status = Some(from_yaml(&format!(
            "
            phase: {phase}
            currentPrimary: '{primary}'
            "
        )));
    });
    observed.database.spec.restore = Some(from_yaml("source: {name: ledger, uid: some-uid}"));
    let status = observed.database.status.as_mut().unwrap();
    status.operation = Some(from_yaml(
        "
        {id: some-id, kind: Restore, step: Recover, since: '2027-01-15T08:00:00Z', startedAt: '2027-01-15T08:00:00Z',
         steps: [{name: Recover, startedAt: '2027-01-15T08:00:00Z'}]}
        ",
    ));
    observed
}

/// What will never be is removed at once, with its reason; what may still become something is waited for, to its deadline.
#[test]
fn a_restore_that_failed_for_good_is_taken_down() {
    const UNABLE: &str = "Cluster is unrecoverable and needs manual intervention";
    let step = |observed: &Observed, second| {
        let Plan::Converge(plan) = decide(observed, &settings(), &chance(), at(second)) else {
            panic!("not converged")
        };
        let Assessment {
            operation,
            health,
            trouble,
            abandoned_at,
            ..
        } = plan.assessment;
        assert_eq!(abandoned_at, None, "there is still something");
        let operation = operation.unwrap();
        assert_eq!(operation.result, None);
        (
            operation.step,
            health == Health::Failed,
            trouble.map(|trouble| trouble.reason),
        )
    };
    let taken_down = |reason| ("DeleteCluster".to_owned(), true, Some(reason));
    assert_eq!(
        step(&recovering(UNABLE, ""), 0),
        taken_down(Reason::RestoreFailed)
    );
    assert_eq!(
        step(&recovering("Not enough disk space", ""), 0),
        taken_down(Reason::DiskFull)
    );
    // All its instances are away, and may come back.
    let away = recovering(UNABLE, "orders-1");
    assert_eq!(step(&away, 0).0, "Recover");
    let deadline = i64::try_from(settings().restore_deadline.as_secs()).unwrap();
    assert_eq!(step(&away, deadline - 1).0, "Recover");
    assert_eq!(step(&away, deadline), taken_down(Reason::RestoreFailed));
    let slow = recovering("Setting up primary", "");
    assert_eq!(step(&slow, deadline - 1).0, "Recover");
    assert_eq!(step(&slow, deadline), taken_down(Reason::RestoreFailed));
}

/// The mark goes when nobody reads any more: while it is there, no backup expires.
#[test]
fn a_mark_of_readers_goes_with_the_last_of_them() {
    let mut observed = settled(tier_spec());
    let annotations = observed.database.annotations_mut();
    annotations.insert(label::READERS.into(), "some-uid".into());
    observed.readers = vec!["copy".to_owned()];
    let desired = converge(&observed).desired.unwrap();
    assert!(desired.keeps_backups);
    observed.readers.clear();
    assert!(matches!(
        decide(&observed, &settings(), &chance(), at(0)),
        Plan::Unmark
    ));
    observed.database.annotations_mut().remove(label::READERS);
    assert!(!converge(&observed).desired.unwrap().keeps_backups);
}

/// While what it had begun is removed, a restore that failed still says why, for its receipt and for who asked for it.
#[test]
fn a_restore_that_is_taken_down_says_why() {
    let mut observed = recovering("Setting up primary", "");
    let status = observed.database.status.as_mut().unwrap();
    status.operation.as_mut().unwrap().step = "DeleteCluster".to_owned();
    status.problem = Some(from_yaml(
        "{reason: DiskFull, message: The disk is full., hint: h}",
    ));
    let plan = converge(&observed);
    assert_eq!(plan.assessment.health, Health::Failed);
    let told = plan.assessment.trouble.unwrap();
    assert_eq!(
        (told.reason, &*told.message),
        (Reason::DiskFull, "The disk is full.")
    );
}

/// What could not be hibernated stays fenced for as long as it is frozen.
#[test]
fn what_was_isolated_stays_so() {
    let frozen = |steps: &str| {
        let mut observed = settled(freezing());
        observed.database.spec.state = State::Destroyed;
        let status = observed.database.status.as_mut().unwrap();
        status.phase = Some(Phase::Frozen);
        status.operation = Some(from_yaml(&format!(
            "
            {{id: some-id, kind: Freeze, step: Hibernate, result: Succeeded, steps: [{steps}],
              since: '2027-01-15T08:00:00Z', startedAt: '2027-01-15T08:00:00Z'}}
            "
        )));
        converge(&observed).desired.unwrap().access
    };
    assert_eq!(frozen(""), Access::Asleep);
    assert_eq!(
        frozen("{name: Isolate, startedAt: '2027-01-15T08:00:00Z'}"),
        Access::Isolated
    );
}

/// A Cluster is not made where its backups could not go. One that is there goes on.
#[test]
fn a_store_that_is_not_reachable_keeps_new_databases_waiting() {
    let trouble = Some("The object store 'vault' is not reachable: no route".to_owned());
    let mut new = observed(tier_spec());
    new.store_trouble.clone_from(&trouble);
    let plan = converge(&new);
    assert!(plan.desired.is_none() && plan.assessment.incarnations.is_empty());
    let told = plan.assessment.trouble.unwrap();
    assert_eq!(told.reason, Reason::ObjectStoreUnavailable);
    assert!(told.message.contains("no route"), "{}", told.message);
    new.database.status = settled(tier_spec()).database.status;
    new.database.status.as_mut().unwrap().incarnations[0].cluster_uid = None;
    assert!(
        converge(&new).desired.is_none(),
        "also when it is only promised"
    );
    let mut settled = settled(tier_spec());
    settled.store_trouble = trouble;
    assert!(converge(&settled).desired.is_some());
}

/// A step that closes a database waits while it cannot be closed, and does not pass as if it were.
#[test]
fn nothing_is_taken_for_closed_that_is_not() {
    let at_step = |kind: &str| {
        let mut observed = settled(tier_spec());
        observed.database.spec.state = State::Destroyed;
        observed.database.spec.destruction =
            Some(from_yaml(&format!("{{strategy: {kind}, reason: why}}")));
        let status = observed.database.status.as_mut().unwrap();
        status.operation = Some(from_yaml(&format!(
            "
            {{id: some-id, kind: {kind}, step: Quiesce, reason: why, cancellable: true,
              since: '2027-01-15T08:00:00Z', startedAt: '2027-01-15T08:00:00Z'}}
            "
        )));
        observed.store =
            StoreLookup::Unavailable("The object store 'vault' does not exist.".into());
        converge(&observed).deed.unwrap()
    };
    for kind in ["Freeze", "Archive"] {
        let Deed::Wait(message) = at_step(kind) else {
            panic!("{kind} waits")
        };
        assert!(message.contains("vault"), "{message}");
    }
    assert!(matches!(at_step("Hard"), Deed::Settle));
}

#[test]
fn keeps_passwords_and_heals_a_lost_secret() {
    let mut observed = settled(tier_spec());
    let kept = converge(&observed).desired.unwrap();
    assert_eq!(
        kept.application_password,
        Password::new("application-password".into())
    );
    assert_eq!(
        kept.observer_password,
        Password::new("observer-password".into())
    );
    observed.children.application_secret = Lookup::Absent;
    let healed = converge(&observed).desired.unwrap();
    assert_eq!(
        healed.application_password,
        Password::new("application-password".into())
    );
}

/// A tier whose databases are never destroyed by deleting an object.
fn freezing() -> DaapTierSpec {
    let mut spec = tier_spec();
    spec.destruction.strategy = Strategy::Freeze;
    spec.destruction.archive_retention = None;
    spec
}

#[test]
fn a_live_database_is_not_let_go() {
    let mut observed = settled(freezing());
    observed.database.metadata.deletion_timestamp = Some(Time(at(0)));
    let plan = converge(&observed);
    assert_eq!(plan.assessment.trouble.unwrap().reason, Reason::Unsupported);
    assert_eq!(plan.assessment.health, Health::Serving);
    assert!(plan.desired.is_some());
    // Not even when its Cluster is gone: its backups are not.
    observed.children.cluster = Lookup::Absent;
    assert!(matches!(
        decide(&observed, &settings(), &chance(), at(0)),
        Plan::Converge(_)
    ));
    // What could not be restored has nothing that a tier would keep.
    let status = observed.database.status.as_mut().unwrap();
    status.abandoned_at = Some(Time(at(0)));
    assert_eq!(reason(&observed), None);
    // Only when nothing was ever made.
    observed.database.status = None;
    assert!(matches!(
        decide(&observed, &settings(), &chance(), at(0)),
        Plan::Release
    ));
}

/// Why it stays is told beside what ails it.
#[test]
fn an_ailing_database_says_why_it_stays() {
    let mut observed = settled(freezing());
    observed.children.cluster = Lookup::Absent;
    observed.database.metadata.deletion_timestamp = Some(Time(at(0)));
    let trouble = converge(&observed).assessment.trouble.unwrap();
    assert_eq!(trouble.reason, Reason::ClusterVanished);
    assert!(
        trouble.message.contains("Deleting the object"),
        "{}",
        trouble.message
    );
}

/// A destruction begins with what can still be taken back.
#[test]
fn a_wish_to_destroy_begins_an_operation() {
    let mut observed = settled(tier_spec());
    observed.database.spec.state = State::Destroyed;
    let plan = converge(&observed);
    let operation = plan.assessment.operation.unwrap();
    assert_eq!(
        (&*operation.step, operation.cancellable),
        ("TryArchive", true)
    );
    assert!(matches!(plan.deed, Some(Deed::Fence(_))));
    assert_eq!(plan.desired.unwrap().access, Access::Open);
}

/// Nothing is made for, and nothing removed from, what was never admitted.
#[test]
fn what_was_never_admitted_is_deleted_at_once() {
    let mut observed = unbound();
    observed.database.spec.state = State::Destroyed;
    let plan = converge(&observed);
    assert_eq!(plan.assessment.health, Health::Resting(Phase::Deleted));
    assert!(plan.desired.is_none() && plan.deed.is_none());
    let again = converge(&observed).assessment.operation;
    assert_eq!(plan.assessment.operation, again);
}

/// The object of a deleted database stays until its record was written down, or for a day.
#[test]
fn a_deleted_database_stays_until_it_is_recorded() {
    let mut observed = settled(tier_spec());
    let status = observed.database.status.as_mut().unwrap();
    status.phase = Some(Phase::Deleted);
    observed.children = Children::default();
    let plan = |observed: &Observed, second| decide(observed, &settings(), &chance(), at(second));
    assert!(matches!(plan(&observed, 0), Plan::Converge(_)));
    observed
        .database
        .annotations_mut()
        .insert(label::RECORDED.into(), "true".into());
    assert!(matches!(plan(&observed, 0), Plan::Bury));
    observed.database.metadata.deletion_timestamp = Some(Time(at(0)));
    assert!(matches!(plan(&observed, 0), Plan::Release));
}

#[test]
fn what_is_missing_beforehand() {
    let mut no_operator = observed(plain_tier_spec());
    no_operator.children.cluster = Lookup::KindMissing;
    assert_eq!(reason(&no_operator), Some(Reason::OperatorMissing));
    let mut no_plugin = observed(tier_spec());
    no_plugin.children.object_store = Lookup::KindMissing;
    assert_eq!(reason(&no_plugin), Some(Reason::PluginMissing));
    let mut no_store = observed(tier_spec());
    no_store.store = StoreLookup::Unavailable("No.".into());
    assert_eq!(reason(&no_store), Some(Reason::ObjectStoreUnavailable));
    let mut no_revision = observed(plain_tier_spec());
    no_revision.revision = Lookup::Absent;
    assert_eq!(reason(&no_revision), Some(Reason::RevisionNotFound));
    for observed in [no_operator, no_plugin, no_store, no_revision] {
        let plan = converge(&observed);
        assert!(plan.desired.is_none() && plan.assessment.incarnations.is_empty());
    }
}

/// A database that serves goes on serving when the object store's credentials go.
#[test]
fn a_missing_object_store_does_not_make_a_serving_database_worse() {
    let mut observed = settled(tier_spec());
    observed.store = StoreLookup::Unavailable("Gone.".into());
    let plan = converge(&observed);
    assert_eq!(plan.assessment.health, Health::Serving);
    assert_eq!(
        plan.assessment.trouble.unwrap().reason,
        Reason::ObjectStoreUnavailable
    );
}

/// Every phase that CloudNativePG 1.30 knows, and one that it does not.
#[test]
fn phases() {
    use Meaning::{Broken, Healthy, Progressing, Troubled};
    let table = [
        ("Cluster in healthy state", Healthy),
        ("Setting up primary", Progressing),
        ("Creating a new replica", Progressing),
        ("Waiting for the instances to become active", Progressing),
        ("Applying configuration", Progressing),
        ("Upgrading cluster", Progressing),
        ("Online upgrade in progress", Progressing),
        ("Upgrading Postgres major version", Progressing),
        ("Cluster upgrade delayed", Progressing),
        ("Primary instance is being restarted in-place", Progressing),
        (
            "Primary instance is being restarted without a switchover",
            Progressing,
        ),
        ("Promoting to primary cluster", Progressing),
        ("Switchover in progress", Progressing),
        ("Failing over", Progressing),
        (
            "Instance Status Extraction Error: HTTP communication issue",
            Progressing,
        ),
        ("Waiting for user action", Troubled(Reason::NeedsAttention)),
        (
            "Cluster is unrecoverable and needs manual intervention",
            Troubled(Reason::NeedsAttention),
        ),
        (
            "Unable to create required cluster objects",
            Troubled(Reason::NeedsAttention),
        ),
        (
            "Cluster has incomplete or invalid image catalog",
            Troubled(Reason::ImagePull),
        ),
        (
            "Cluster cannot proceed to reconciliation due to an unknown plugin being required",
            Troubled(Reason::PluginMissing),
        ),
        (
            "Cluster cannot proceed to reconciliation due to an error while interacting with plugins",
            Troubled(Reason::PluginMissing),
        ),
        (
            "Cluster cannot execute instance online upgrade due to missing architecture binary",
            Troubled(Reason::NeedsAttention),
        ),
        (
            "Invalid cluster definition",
            Broken(Reason::InvalidDefinition),
        ),
        ("Not enough disk space", Broken(Reason::DiskFull)),
        ("A phase of the year 2030", Progressing),
    ];
    for (phase, meaning) in table {
        assert_eq!(health::meaning(phase), meaning, "{phase}");
    }
}

fn with_status(change: impl FnOnce(&mut ClusterStatus)) -> Observed {
    with_cluster(settled(tier_spec()), |cluster| {
        change(cluster.status.as_mut().unwrap())
    })
}

#[test]
fn serves_when_everything_is_in_place() {
    let plan = converge(&settled(tier_spec()));
    assert_eq!(plan.assessment.health, Health::Serving);
    assert_eq!(plan.assessment.trouble, None);
}

#[test]
fn does_not_serve_without_protection() {
    let no_pg_hba = with_cluster(settled(tier_spec()), |cluster| {
        cluster.spec.postgresql.as_mut().unwrap().pg_hba =
            Some(vec!["host all all all trust".into()]);
    });
    let no_name = with_status(|status| {
        status
            .certificates
            .as_mut()
            .unwrap()
            .server_alt_dns_names
            .truncate(1)
    });
    let mut no_pooler = settled(tier_spec());
    no_pooler.children.pooler_deployment = Lookup::Found(from_yaml("status: {readyReplicas: 0}"));
    let mut no_secret = settled(tier_spec());
    no_secret.children.connection_secret = Lookup::Absent;
    let no_primary = with_status(|status| status.current_primary = Some(String::new()));
    let switching = with_status(|status| status.target_primary = Some("orders-2".into()));
    let hibernated = with_status(|status| status.ready_instances = Some(0));
    for observed in [
        no_pg_hba, no_name, no_pooler, no_secret, no_primary, switching, hibernated,
    ] {
        assert!(matches!(
            converge(&observed).assessment.health,
            Health::Progressing { .. }
        ));
    }
}

/// Once ready, a database goes on serving through what CloudNativePG does to it, as long as its primary is there.
#[test]
fn goes_on_serving_while_the_primary_answers() {
    let mut observed = with_status(|status| {
        status.phase = Some("Creating a new replica".into());
        status.ready_instances = Some(1);
    });
    assert!(matches!(
        converge(&observed).assessment.health,
        Health::Progressing { .. }
    ));
    observed.database.status.as_mut().unwrap().phase = Some(Phase::Ready);
    let assessment = converge(&observed).assessment;
    assert_eq!(assessment.health, Health::Serving);
    let degraded = assessment
        .facts
        .iter()
        .find(|fact| fact.type_ == condition::DEGRADED)
        .unwrap();
    assert_eq!(
        (degraded.status, degraded.message.as_str()),
        (Some(true), "1 of 3 instances are ready.")
    );
}

#[test]
fn a_cluster_nobody_takes_up_means_that_the_operator_is_missing() {
    let mut observed = with_cluster(settled(tier_spec()), |cluster| {
        cluster.status = None;
        cluster.metadata.creation_timestamp = Some(Time(at(0)));
    });
    observed.children.connection_secret = Lookup::Absent;
    let at_second = |second| match decide(&observed, &settings(), &chance(), at(second)) {
        Plan::Converge(converge) => converge.assessment,
        Plan::Await(_) | Plan::Claim(_) | Plan::Release | Plan::Bury | Plan::Unmark => {
            unreachable!()
        }
    };
    assert_eq!(at_second(59).trouble, None);
    assert_eq!(at_second(59).look_again, Some(at(60)));
    assert_eq!(
        at_second(60).trouble.unwrap().reason,
        Reason::OperatorMissing
    );
    assert_eq!(at_second(60).look_again, None);
}

/// What the pods show while CloudNativePG is setting up.
#[test]
fn causes() {
    let pod = |status: &str| format!("metadata: {{name: orders-1}}\nstatus: {status}");
    let container = |state: &str| {
        pod(&format!(
            "{{containerStatuses: [{{name: postgres, image: 'registry.example/postgresql:17.6', imageID: '', \
             ready: false, restartCount: 0, state: {state}}}]}}"
        ))
    };
    let scheduled = |message: &str| {
        pod(&format!(
            "{{conditions: [{{type: PodScheduled, status: 'False', reason: Unschedulable, message: '{message}'}}]}}"
        ))
    };
    let table = [
        (
            container("{waiting: {reason: ErrImagePull}}"),
            Some(Reason::ImagePull),
        ),
        (
            container("{waiting: {reason: ImagePullBackOff}}"),
            Some(Reason::ImagePull),
        ),
        (
            container("{waiting: {reason: ErrImageNeverPull}}"),
            Some(Reason::ImagePull),
        ),
        (
            container("{waiting: {reason: InvalidImageName}}"),
            Some(Reason::ImagePull),
        ),
        (
            container("{waiting: {reason: CrashLoopBackOff}}"),
            Some(Reason::InstanceCrashing),
        ),
        (container("{waiting: {reason: PodInitializing}}"), None),
        (
            scheduled("0/1 nodes are available: 1 Insufficient memory. preemption: none."),
            Some(Reason::Unschedulable),
        ),
        (
            scheduled("pod has unbound immediate PersistentVolumeClaims. not found"),
            Some(Reason::Storage),
        ),
        (pod("{}"), None),
    ];
    for (yaml, expected) in table {
        let mut observed = with_status(|status| {
            status.phase = Some("Setting up primary".into());
            status.ready_instances = None;
        });
        observed.symptoms.pods = vec![from_yaml(&yaml)];
        assert_eq!(reason(&observed), expected, "{yaml}");
    }
}

/// Trying and waiting for the next try are told in the same words, so that a status is not written for each.
#[test]
fn a_cause_is_told_in_the_same_words_all_the_time() {
    let message = |waiting: &str| {
        let mut observed = with_status(|status| status.phase = Some("Setting up primary".into()));
        observed.symptoms.pods = vec![from_yaml(&format!(
            "metadata: {{name: orders-1}}\nstatus: {{containerStatuses: [{{name: p, image: i, imageID: '', ready: false, \
             restartCount: 0, state: {{waiting: {{reason: {waiting}, message: 'tried {waiting}'}}}}}}]}}"
        ))];
        converge(&observed).assessment.trouble.unwrap().message
    };
    assert_eq!(message("ErrImagePull"), message("ImagePullBackOff"));
}
