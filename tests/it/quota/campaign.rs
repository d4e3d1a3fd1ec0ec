//! Many at once, and something goes wrong: never more than fit, never fewer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use daap_controller::Surroundings;
use daap_tests::{
    cluster::wait,
    faulty_client::{Asked, Fault, Gate},
};
use futures::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    history::allocated,
    stage::{Controller, Facades, Stage},
};
use crate::world::SOON;

/// How many are asked for, and how many fit.
const ASKED: usize = 201;
const FIT: usize = 50;
/// How many runs `make test` has; `CAMPAIGN_RUNS` says otherwise.
const RUNS: usize = 8;
/// How long the facades wait. Longer than by default: on a slow machine a successor may take a while.
const PATIENCE: Duration = Duration::from_secs(40);

/// What goes wrong in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Nothing,
    LeaderDies,
    TwoLeaders,
    LostReplies,
    HeldWatch,
}

const TROUBLES: [Trouble; 5] = [
    Trouble::Nothing,
    Trouble::LeaderDies,
    Trouble::TwoLeaders,
    Trouble::LostReplies,
    Trouble::HeldWatch,
];

#[tokio::test(flavor = "multi_thread")]
async fn exactly_as_many_are_admitted_as_fit() {
    let mut stage = Stage::start("campaign").await;
    stage.fail_fast_deadline = PATIENCE + Duration::from_secs(5);
    let facades = Facades::start(&stage, 3, PATIENCE).await;
    let runs = std::env::var("CAMPAIGN_RUNS")
        .map_or(RUNS, |count| count.parse().expect("a number of runs"));
    for seed in 0..runs {
        let trouble = TROUBLES[seed % TROUBLES.len()];
        let begin = Instant::now();
        run(&stage, &facades, seed, trouble).await;
        eprintln!("run {seed}, {trouble:?}: {:?}", begin.elapsed());
    }
    facades.stop().await;
}

async fn run(stage: &Stage, facades: &Facades, seed: usize, trouble: Trouble) {
    let tier = format!("run-{seed}");
    // First the quota: the tier must not be without a limit for a moment.
    stage
        .create_quota(&tier, json!({"databases": FIT, "memory": "1Ti"}))
        .await;
    let mut crew = Crew::start(stage, trouble);
    stage.create_tier(&tier, |_| ()).await;
    facades.await_offer(&tier).await;
    crew.complete(stage);

    let asking = shuffled(seed).into_iter().map(|index| {
        let (tier, client) = (&tier, &facades.clients[index % facades.clients.len()]);
        async move {
            if index % 2 == 1 {
                let body = json!({"name": format!("rest-{seed}-{index}"), "tier": tier});
                Some(client.post("/databases", &body).await.unwrap())
            } else {
                stage.ask(&format!("kubectl-{seed}-{index}"), tier).await;
                None
            }
        }
    });
    let released = crew.release(stage, &tier);
    let (answers, ()) = tokio::join!(join_all(asking), released);

    let quota = stage.await_settled(&tier, FIT).await;
    let admitted = stage.admitted(&tier).await;
    assert_eq!(admitted.len(), FIT);
    assert_eq!(
        allocated(&quota),
        stage.history.recount(&tier).await,
        "a recount from scratch gives the same"
    );
    let broken = stage.history.broken_rules(&tier).await;
    assert!(broken.is_empty(), "{trouble:?}: {broken:#?}");

    let mut created = 0;
    for answer in answers.into_iter().flatten() {
        match answer.status {
            StatusCode::CREATED => created += 1,
            StatusCode::UNPROCESSABLE_ENTITY => assert_refusal(&answer.body, &tier),
            StatusCode::SERVICE_UNAVAILABLE
                if matches!(trouble, Trouble::LeaderDies | Trouble::HeldWatch) =>
            {
                assert!(answer.headers.contains_key("retry-after"));
            }
            _ => panic!("{trouble:?}: {answer:?}"),
        }
    }
    let over_rest = admitted
        .iter()
        .filter(|name| name.starts_with("rest-"))
        .count();
    assert_eq!(
        created, over_rest,
        "who was told so is admitted, and nobody else"
    );
    let left = stage.listed(&tier).await.len();
    assert_eq!(
        left,
        ASKED.div_ceil(2) + created,
        "of what was asked for over REST only the admitted are left"
    );
    let gone = format!("/databases?status=deleted&tier={tier}");
    let gone = facades.platform.get(&gone).await.unwrap();
    assert_eq!(gone.body["items"], json!([]), "what was refused never was");
    stage.remove_all(&tier).await;
    crew.stop().await;
}

fn assert_refusal(body: &Value, tier: &str) {
    assert_eq!(body["code"], "quota-exceeded");
    assert_eq!(body["tier"], tier);
    assert_eq!(
        body["exceeded"],
        json!([{"resource": "max_databases", "limit": FIT, "used": FIT, "requested": 1, "remaining": 0}])
    );
}

/// The numbers of all who ask, in an order that follows from the seed.
fn shuffled(seed: usize) -> Vec<usize> {
    let mut state = u64::try_from(seed)
        .unwrap()
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        | 1;
    let mut numbers: Vec<_> = (0..ASKED).collect();
    numbers.sort_by_cached_key(|_| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    });
    numbers
}

/// The controllers of a run.
struct Crew {
    controllers: Vec<Controller>,
    /// The controller that dies.
    doomed: Option<(Controller, watch::Receiver<bool>)>,
    gate: Gate,
}

impl Crew {
    fn start(stage: &Stage, trouble: Trouble) -> Self {
        let gate = Gate::closed();
        let held = gate.clone();
        let (dying, died) = watch::channel(false);
        let mut crew = Self {
            controllers: Vec::new(),
            doomed: None,
            gate,
        };
        let start = |faults: Faults| {
            stage.controller_with(
                "daap-controller",
                move |asked| faults(asked),
                Surroundings::default(),
            )
        };
        match trouble {
            Trouble::Nothing => crew.controllers.push(stage.controller("daap-controller")),
            Trouble::TwoLeaders => {
                crew.controllers.push(stage.controller("one"));
                crew.controllers.push(stage.controller("other"));
            }
            Trouble::LeaderDies => {
                // The first write is the first count, the second admits some, and with the third it dies before it can
                // bind what was admitted.
                let writes = AtomicUsize::new(0);
                let faults: Faults = Arc::new(move |asked| {
                    if asked.writes_quota_status() && writes.fetch_add(1, Ordering::SeqCst) == 2 {
                        dying.send_replace(true);
                        return Fault::Death;
                    }
                    Fault::None
                });
                crew.doomed = Some((start(faults), died));
            }
            Trouble::LostReplies => {
                let writes = AtomicUsize::new(0);
                crew.controllers.push(start(Arc::new(move |asked| {
                    if asked.writes_quota_status() && writes.fetch_add(1, Ordering::SeqCst) % 2 == 1
                    {
                        return Fault::LostReply;
                    }
                    Fault::None
                })));
            }
            Trouble::HeldWatch => crew.controllers.push(start(Arc::new(move |asked| {
                if asked.watches_databases() {
                    return Fault::Held(held.clone());
                }
                Fault::None
            }))),
        }
        crew
    }

    /// Has somebody stand by for the one who will die.
    fn complete(&mut self, stage: &Stage) {
        if self.doomed.is_some() {
            self.controllers.push(stage.controller("daap-controller"));
        }
    }

    /// Ends the trouble when most have asked.
    async fn release(&self, stage: &Stage, tier: &str) {
        wait::until("most having asked", SOON, async || {
            ensure!(stage.listed(tier).await.len() > ASKED / 2);
            Ok(())
        })
        .await
        .unwrap();
        self.gate.open();
    }

    async fn stop(self) {
        if let Some((controller, died)) = self.doomed {
            assert!(*died.borrow(), "it was to die");
            controller.kill().await;
        }
        for controller in self.controllers {
            controller.stop().await;
        }
    }
}

type Faults = Arc<dyn Fn(Asked<'_>) -> Fault + Send + Sync>;
