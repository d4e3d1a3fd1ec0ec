//! The same table, judged by the real API server.

use daap_tests::cluster::control_plane::ControlPlane;
use http::{Method, Request};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

use super::{Prepared, prepared};

fn api(client: &Client, case: &Prepared) -> Api<DynamicObject> {
    let resource =
        ApiResource::from_gvk(&GroupVersionKind::gvk("daap.dev", "v1alpha1", &case.kind));
    match case
        .new
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
    {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// Writes as `kubectl` does: with strict field validation, which the client library cannot ask for.
async fn write(
    client: &Client,
    method: Method,
    url: String,
    object: &Value,
) -> Result<DynamicObject, kube::Error> {
    let request = Request::builder()
        .method(method)
        .uri(format!("{url}?fieldValidation=Strict"))
        .header("Content-Type", "application/json")
        .body(object.to_string().into_bytes())
        .unwrap();
    client.request(request).await
}

/// The field that the API server names first, as a JSON pointer; `None` when it accepts.
fn verdict(result: Result<DynamicObject, kube::Error>) -> Option<String> {
    let status = match result {
        Ok(_) => return None,
        Err(kube::Error::Api(status)) => status,
        Err(other) => panic!("not a verdict: {other}"),
    };
    let causes = status
        .details
        .as_ref()
        .map(|details| details.causes.clone())
        .unwrap_or_default();
    let field = causes
        .first()
        .map(|cause| cause.field.clone())
        .unwrap_or_default();
    let pointer = field
        .split(['.', '[', ']'])
        .filter(|part| !part.is_empty())
        .map(|part| format!("/{part}"))
        .collect();
    Some(match field.as_str() {
        "" => status.message.clone(),
        // What Kubernetes says for a rule at the root, which can only be about the name.
        "<nil>" => "/metadata/name".to_owned(),
        _ => pointer,
    })
}

/// Creates what the case needs, asks for its verdict, and cleans up.
async fn judge(client: &Client, case: &Prepared) -> Option<String> {
    let api = api(client, case);
    let verdict = match &case.old {
        None => verdict(
            write(
                client,
                Method::POST,
                api.resource_url().to_owned(),
                &case.new,
            )
            .await,
        ),
        Some(old) => {
            let mut created = write(client, Method::POST, api.resource_url().to_owned(), old)
                .await
                .unwrap();
            let name = created.metadata.name.clone().unwrap();
            if let Some(status) = &case.status {
                let patch = json!({"status": status});
                created = api
                    .patch_status(&name, &PatchParams::default(), &Patch::Merge(patch))
                    .await
                    .unwrap();
            }
            let mut new = case.new.clone();
            new["metadata"] = serde_json::to_value(created.metadata).unwrap();
            verdict(
                write(
                    client,
                    Method::PUT,
                    format!("{}/{name}", api.resource_url()),
                    &new,
                )
                .await,
            )
        }
    };
    let name = case
        .new
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap();
    match api.delete(name, &DeleteParams::default()).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(other) => panic!("{}: cannot clean up: {other}", case.label),
    }
    verdict
}

/// Whether the server's answer fits the table. The server names the missing or unknown field itself where the table,
/// like JSON Schema, names the object; and a strict decoding error has no field, only a message.
fn agrees(stated: Option<&str>, got: Option<&str>) -> bool {
    match (stated, got) {
        (None, None) => true,
        (Some(stated), Some(got)) => {
            got.starts_with(stated) || got.contains("strict decoding error")
        }
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_gives_the_tables_verdicts() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let control_plane = ControlPlane::start("rules").await.unwrap();
    let mut wrong = Vec::new();
    for case in prepared() {
        let got = judge(&control_plane.client(), &case).await;
        if !agrees(case.rejected_at.as_deref(), got.as_deref()) {
            wrong.push(format!(
                "{}\n  stated {:?}\n  got {got:?}",
                case.label, case.rejected_at
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
