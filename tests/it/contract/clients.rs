//! Clients that are generated from the contract, in Python and TypeScript: they typecheck under strict settings, and
//! create, list and get databases of a running facade.

use std::{fs, process::Command};

use super::{Scene, Workshop, succeed};

const TIER: &str = "dev";

#[tokio::test(flavor = "multi_thread")]
async fn generated_clients_work() {
    let scene = Scene::with_tier("clients", TIER, |_| ()).await;
    let key = scene.facade.key_of(Some("shop")).await;
    tokio::task::block_in_place(|| {
        python(&scene, &key);
        typescript(&scene, &key);
    });
    scene.stop().await;
}

fn python(scene: &Scene, key: &str) {
    let files = ["openapi-python-client.yaml", "client.py"];
    let workshop = Workshop::with_contract("client-python", &files);
    let mut generate = workshop.python_module("openapi_python_client");
    generate
        .args(["generate", "--path=openapi.json", "--meta=none"])
        .args(["--config=openapi-python-client.yaml", "--fail-on-warning"])
        .arg("--output-path=daap_client");
    succeed(&mut generate);
    let mut check = workshop.python_module("mypy");
    // What is inside of the generated package is its generator's matter; that it is used rightly is ours.
    succeed(check.args(["--strict", "--follow-imports=silent", "client.py"]));
    // The module is the file beside the generated package.
    let mut client = workshop.python_module("client");
    succeed(connected(client.args(["from-python", TIER]), scene, key));
}

fn typescript(scene: &Scene, key: &str) {
    let files = ["client.ts", "tsconfig.json", "package.json"];
    let workshop = Workshop::with_contract("client-typescript", &files);
    let mut generate = workshop.npm_program("openapi-typescript");
    succeed(generate.args(["openapi.json", "--output=daap.ts"]));
    succeed(
        workshop
            .npm_program("tsc")
            .args(["--project", "tsconfig.json"]),
    );
    let mut client = workshop.node();
    succeed(connected(
        client.args(["client.ts", "from-typescript", TIER]),
        scene,
        key,
    ));
}

/// Tells a client where the facade is, and who asks.
fn connected<'a>(client: &'a mut Command, scene: &Scene, key: &str) -> &'a mut Command {
    let authority = scene.facade.authority();
    assert!(fs::exists(&authority).unwrap());
    client
        .env("DAAP_URL", scene.facade.url())
        .env("DAAP_KEY", key)
        .env("DAAP_CA", &authority)
        .env("NODE_EXTRA_CA_CERTS", &authority)
}
