//! Operations whose controller ends at one of its writes, before or after the write has its effect: each leads to where it
//! leads without a crash, and removes the same things, once.
//!
//! `make test` runs a sample for each operation, `CAMPAIGN_SEED` says which; with `CAMPAIGN_RUNS` all of them are run.

mod expiry;
mod guard;
mod stage;

use std::{
    collections::BTreeSet,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use daap_crds::{DaapDatabase, Phase, cnpg::Cluster};
use daap_tests::{
    cluster::{manifest, wait},
    faults::Side,
};
use http::Method;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use self::stage::{Stage, beginning, full, unable, well};
use crate::{
    mortal::{Doom, Writes},
    world::SOON,
};

/// How many crashes of each operation `make test` runs.
const SAMPLE: usize = 2;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Freeze,
    Unfreeze,
    Archive,
    Hard,
    Restore,
    /// A restore that cannot be done, as is seen late.
    FailedRestore,
    /// Destroying what such a restore left.
    DestroyUnrestored,
    /// Destroying a database that is still being made.
    DestroyBeginning,
    /// Destroying a database that does not come up.
    DestroyIll,
    /// Archiving by force, while nothing is archived any more.
    ForceArchive,
    /// Calling off an archive that waits.
    CancelArchive,
}

impl Act {
    /// The tier whose strategy it is.
    fn tier(self) -> &'static str {
        match self {
            Self::Freeze | Self::Unfreeze => "freeze",
            Self::Hard | Self::DestroyIll => "hard",
            _ => "archive",
        }
    }

    /// What CloudNativePG says of a Cluster.
    fn script(self) -> fn(&Cluster) -> Value {
        match self {
            Self::FailedRestore | Self::DestroyUnrestored => |cluster| {
                if cluster.name_any().ends_with("-again") {
                    unable(cluster)
                } else {
                    well(cluster)
                }
            },
            Self::DestroyBeginning => beginning,
            Self::DestroyIll => full,
            _ => well,
        }
    }

    /// Asks for it, and tells whom it happens to.
    async fn ask(self, stage: &Stage, name: &str) -> String {
        match self {
            Self::Freeze
            | Self::Archive
            | Self::Hard
            | Self::DestroyBeginning
            | Self::DestroyIll => {
                stage.change(name, json!({"state": "Destroyed"})).await;
            }
            Self::DestroyUnrestored => {
                let restored = format!("{name}-again");
                stage.change(&restored, json!({"state": "Destroyed"})).await;
                return restored;
            }
            Self::ForceArchive => {
                let forced = json!({"strategy": "Archive", "reason": "The bucket is gone."});
                let spec = json!({"state": "Destroyed", "destruction": forced});
                stage.change(name, spec).await;
            }
            Self::Unfreeze | Self::CancelArchive => {
                stage.change(name, json!({"state": "Active"})).await;
            }
            Self::Restore | Self::FailedRestore => {
                let restored = format!("{name}-again");
                stage.restore(&restored, name).await;
                return restored;
            }
        }
        name.to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn freezing_survives_crashes() {
    survives_crashes(Act::Freeze).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unfreezing_survives_crashes() {
    survives_crashes(Act::Unfreeze).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archiving_survives_crashes() {
    survives_crashes(Act::Archive).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destroying_survives_crashes() {
    survives_crashes(Act::Hard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restoring_survives_crashes() {
    survives_crashes(Act::Restore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_to_restore_survives_crashes() {
    survives_crashes(Act::FailedRestore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destroying_what_was_not_restored_survives_crashes() {
    survives_crashes(Act::DestroyUnrestored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destroying_what_is_being_made_survives_crashes() {
    survives_crashes(Act::DestroyBeginning).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destroying_what_does_not_come_up_survives_crashes() {
    survives_crashes(Act::DestroyIll).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archiving_by_force_survives_crashes() {
    survives_crashes(Act::ForceArchive).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calling_an_archive_off_survives_crashes() {
    survives_crashes(Act::CancelArchive).await;
}

/// Refuses every change of a Cluster, as CloudNativePG's webhook refuses some.
const REFUSAL: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: refusal}
spec:
  matchConstraints:
    resourceRules:
      - {apiGroups: [postgresql.cnpg.io], apiVersions: ["*"], operations: [UPDATE], resources: [clusters]}
  validations: [{expression: "false", message: too odd}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: refusal}
spec: {policyName: refusal, validationActions: [Deny]}
"#;

/// A lockout that CloudNativePG does not take is none, even if a login is refused: nothing goes on from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_not_tried_on_what_is_refused() {
    let stage = Stage::start("refused-step", well).await;
    let world = &stage.world;
    stage.prepare(&["orders".to_owned()], "freeze").await;
    let policy = manifest::parse(REFUSAL).unwrap();
    manifest::apply(&world.client, policy).await.unwrap();
    wait::until("changes being refused", SOON, async || -> Result<()> {
        let (odd, rehearsed) = (
            json!({"spec": {"instances": 2}}),
            PatchParams::default().dry_run(),
        );
        let patched = stage
            .api::<Cluster>()
            .patch("orders", &rehearsed, &Patch::Merge(odd))
            .await;
        ensure!(patched.is_err());
        Ok(())
    })
    .await
    .unwrap();
    let controller = stage.controller(None);
    Act::Freeze.ask(&stage, "orders").await;
    let waits = |database: &DaapDatabase| {
        let status = database.status.clone().unwrap_or_default();
        let message = status.operation.and_then(|operation| {
            let waits = operation.step == "LockOut";
            operation.message.filter(|_| waits)
        });
        message.is_some_and(|message| message.contains("its objects take over"))
            && status
                .problem
                .is_some_and(|problem| problem.message.contains("too odd"))
    };
    world
        .await_database("orders", "waiting to be locked", waits)
        .await;
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(world.client.clone());
    bindings
        .delete("refusal", &DeleteParams::default())
        .await
        .unwrap();
    world.await_phase("orders", Phase::Frozen).await;
    controller.end().await;
}

/// What became of a database, and what was removed on the way.
struct Outcome {
    state: String,
    /// The paths of what was deleted.
    deleted: BTreeSet<String>,
    /// How many things went from the object store.
    purged: usize,
}

async fn survives_crashes(act: Act) {
    let name = format!("{act:?}").to_lowercase();
    let mut stage = Stage::start(&name, act.script()).await;
    if act == Act::ForceArchive {
        stage.settings = |settings| settings.operation_patience = Duration::from_secs(2);
    }
    let (expected, writes) = without_crash(&stage, act).await;
    eprintln!(
        "{act:?}: {} writes, ends as\n{}",
        writes.len(),
        expected.state
    );
    insta::assert_snapshot!(name, expected.state);
    let cases = cases(writes.len());
    let names: Vec<_> = cases.iter().map(|doom| name_of(*doom)).collect();
    prepare(&stage, act, &names).await;
    for (doom, name) in cases.into_iter().zip(names) {
        let begin = Instant::now();
        with_crash(&stage, act, &name, doom, &expected).await;
        eprintln!("{act:?}, {doom:?}: {:?}", begin.elapsed());
    }
    stage.guard.assert_nothing_seen();
}

fn name_of(doom: Doom) -> String {
    format!("{:?}-{}", doom.side, doom.nth).to_lowercase()
}

/// The crashes that are run: all, or some that are spread over the operation.
fn cases(writes: usize) -> Vec<Doom> {
    let all: Vec<_> = (0..writes)
        .flat_map(|nth| [Side::Before, Side::After].map(|side| Doom { nth, side }))
        .collect();
    if std::env::var("CAMPAIGN_RUNS").is_ok() {
        return all;
    }
    let seed: usize = std::env::var("CAMPAIGN_SEED").map_or(0, |seed| seed.parse().unwrap());
    let chosen: BTreeSet<_> = (0..SAMPLE)
        .map(|index| (seed + 1 + index * all.len() / SAMPLE) % all.len())
        .collect();
    chosen.into_iter().map(|index| all[index]).collect()
}

/// Brings databases to where the operation begins.
async fn prepare(stage: &Stage, act: Act, names: &[String]) {
    match act {
        Act::DestroyBeginning => {
            let phase = Phase::Provisioning;
            return stage.prepare_ill(names, act.tier(), phase).await;
        }
        Act::DestroyIll => return stage.prepare_ill(names, act.tier(), Phase::Error).await,
        _ => stage.prepare(names, act.tier()).await,
    }
    let archives = &stage.archives;
    archives
        .loses_segments
        .store(act == Act::ForceArchive, Ordering::SeqCst);
    archives
        .loses_backups
        .store(act == Act::CancelArchive, Ordering::SeqCst);
    let before = match act {
        Act::Unfreeze => Act::Freeze,
        Act::DestroyUnrestored => Act::FailedRestore,
        Act::CancelArchive => Act::Archive,
        _ => return,
    };
    let controller = stage.controller(None);
    for name in names {
        let subject = before.ask(stage, name).await;
        // An archive waits there.
        if act == Act::CancelArchive {
            stage.await_step(&subject, "Verify").await;
        } else {
            stage.await_end(&subject).await;
        }
    }
    controller.end().await;
}

async fn without_crash(stage: &Stage, act: Act) -> (Outcome, Writes) {
    let name = "undisturbed".to_owned();
    prepare(stage, act, std::slice::from_ref(&name)).await;
    let purged = stage.archives.removed();
    let subject = act.ask(stage, &name).await;
    let controller = stage.controller(None);
    stage.await_end(&subject).await;
    let state = stage.settled_state(&subject).await;
    stage.await_charges(act.tier()).await;
    let writes = controller.end().await;
    let outcome = Outcome {
        state,
        deleted: deleted(&writes, &subject),
        purged: stage.archives.removed() - purged,
    };
    (outcome, writes)
}

async fn with_crash(stage: &Stage, act: Act, name: &str, doom: Doom, expected: &Outcome) {
    let purged = stage.archives.removed();
    let subject = act.ask(stage, name).await;
    let controller = stage.controller(Some(doom));
    tokio::select! {
        () = controller.death() => (),
        // It may need a write less than the one before.
        () = stage.await_end(&subject) => (),
    }
    let mut writes = controller.end().await;
    let successor = stage.controller(None);
    let mut last = String::new();
    let what = format!("{act:?} with {doom:?} ending as without");
    let ended = wait::until(&what, 2 * SOON, async || -> Result<()> {
        last = stage.state(&subject).await?;
        ensure!(last == expected.state);
        Ok(())
    })
    .await;
    if let Err(error) = ended {
        panic!("{error:#}\n{last}\nin place of\n{}", expected.state);
    }
    stage.await_charges(act.tier()).await;
    writes.extend(successor.end().await);
    assert_eq!(
        deleted(&writes, &subject),
        expected.deleted,
        "{act:?} with {doom:?}"
    );
    assert_eq!(
        stage.archives.removed() - purged,
        expected.purged,
        "{act:?} with {doom:?}"
    );
}

/// What was deleted, without the name of whom it happened to.
fn deleted(writes: &Writes, subject: &str) -> BTreeSet<String> {
    let deletions = writes.iter().filter(|(method, _)| method == Method::DELETE);
    deletions.map(|(_, path)| generic(path, subject)).collect()
}

/// A path without names that differ from one database to the next.
fn generic(path: &str, subject: &str) -> String {
    let path = path.replace(subject, "NAME");
    match path.split_once("-last-") {
        Some((begin, _)) => format!("{begin}-last"),
        None => path,
    }
}
