//! Schemathesis sends what the contract allows and what it forbids, and finds no answer that the contract does not
//! describe, no mistake of the server, and nothing accepted that should not be. `tests/contract/schemathesis.toml` has
//! what it must not complain about, with the reasons.

use http::StatusCode;
use serde_json::Value;

use super::{CONTRACT, Scene, Workshop, output_of};

const TIER: &str = "standard";
/// How many operations the settings leave out.
const LEFT_OUT: usize = 1;
/// So that the same requests are sent each time.
const SEED: &str = "1";

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_all_kinds_are_answered_as_described() {
    let scene = Scene::without_rate_limits("properties", TIER).await;
    let key = scene.facade.key_of(None).await;
    let workshop = Workshop::with_contract("properties", &["schemathesis.toml"]);
    let mut schemathesis = workshop.python_module("schemathesis.cli");
    schemathesis
        .args(["--config-file=schemathesis.toml", "run", "openapi.json"])
        .args(["--checks=all", "--seed", SEED, "--url", scene.facade.url()])
        .args(["--header", &format!("Authorization: Bearer {key}")])
        .arg("--tls-verify")
        .arg(scene.facade.authority());
    let (output, said) = tokio::task::block_in_place(|| output_of(&mut schemathesis));
    assert!(output.status.success(), "{said}");

    let tested = format!("Tested: {}", operations() - LEFT_OUT);
    assert!(said.contains(&tested), "{tested}: {said}");
    // With a key that did not work any more, everything would have been answered 401, as described.
    let answer = scene.facade.client(&key).get("/databases").await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    scene.stop().await;
}

/// How many operations the contract has.
fn operations() -> usize {
    let contract: Value = serde_json::from_str(CONTRACT).unwrap();
    let paths = contract["paths"].as_object().unwrap();
    paths
        .values()
        .map(|path| path.as_object().unwrap().len())
        .sum()
}
