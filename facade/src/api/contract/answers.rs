//! What every operation answers alike, so that none has to say it: problems, headers, limits. Pure.
//!
//! An operation declares what is its own ([`problems!`](crate::api::problem::problems)); the rest follows from whether
//! it needs a key and whether it takes a body. Answers that are the same in several operations become components.

use serde_json::{Map, Value, json};

use super::walk::{elements, entries_mut, operations_mut};
use crate::{
    api::{pattern, problem},
    domain::policy::{Verdict, rule_of},
};

const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// What an operation may answer whatever it does.
const ALWAYS: &[u16] = &[400, 500];
/// What an operation that needs a key may answer beside.
const WITH_KEY: &[u16] = &[401, 429, 503];
/// What an operation may answer beside when there is somebody who may not do it.
const WITH_REFUSAL: &[u16] = &[403];
/// What an operation that takes a body may answer beside.
const WITH_BODY: &[u16] = &[408, 413, 415];

/// What an operation may answer beside when it can be repeated.
const WITH_REPETITION: &[u16] = &[409, 422];

/// States the common answers of every operation.
pub fn state(document: &mut Value) {
    offer_repetition(document);
    let mut shared = Map::new();
    for operation in operations_mut(document) {
        let secured = needs_key(operation);
        if !secured {
            operation["security"] = json!([]);
        }
        add_problems(operation, secured);
        for (status, response) in entries_mut(&mut operation["responses"]) {
            add_headers(response, status, secured);
            if let Some(content) = response.pointer_mut("/content/application~1problem+json") {
                let example = status.parse().ok().and_then(problem::example);
                content["example"] = example.unwrap_or_default();
                share(response, status, secured, &mut shared);
            }
        }
    }
    document["components"]["responses"] = Value::Object(shared);
    document["components"]["headers"] = headers();
}

fn needs_key(operation: &Value) -> bool {
    elements(&operation["security"]).next().is_some()
}

/// Every POST that needs a key may be repeated: the server sees to it before the operation runs.
fn offer_repetition(document: &mut Value) {
    let paths = document.get_mut("paths").into_iter().flat_map(entries_mut);
    let posts = paths.filter_map(|(_, item)| item.get_mut("post"));
    for post in posts.filter(|post| needs_key(post)) {
        let parameter = json!({
            "name": IDEMPOTENCY_KEY,
            "in": "header",
            "required": false,
            "description": "Makes the request safe to repeat: for 24 hours, the same key with the same body is answered the \
                same, with 'Idempotency-Replayed: true', and has no second effect. With another body it is refused (422); \
                while the first one runs, too (409). What is shown only once is not shown again.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        });
        match post["parameters"].as_array_mut() {
            Some(parameters) => parameters.push(parameter),
            None => post["parameters"] = json!([parameter]),
        }
    }
}

fn add_problems(operation: &mut Value, secured: bool) {
    let takes_body = operation.get("requestBody").is_some();
    let repeatable =
        elements(&operation["parameters"]).any(|parameter| parameter["name"] == IDEMPOTENCY_KEY);
    let refuses = operation["operationId"].as_str().is_some_and(refuses);
    let statuses = [
        (true, ALWAYS),
        (secured, WITH_KEY),
        (refuses, WITH_REFUSAL),
        (takes_body, WITH_BODY),
        (repeatable, WITH_REPETITION),
    ];
    let responses = operation["responses"].as_object_mut();
    let Some(responses) = responses else { return };
    for status in statuses
        .iter()
        .filter(|(applies, _)| *applies)
        .flat_map(|(_, statuses)| *statuses)
    {
        responses
            .entry(status.to_string())
            .or_insert_with(|| problem::response(*status));
    }
}

/// Whether the policy forbids the operation to somebody, openly.
fn refuses(operation: &str) -> bool {
    rule_of(operation).is_some_and(|rule| {
        [rule.product_own, rule.product_foreign, rule.platform].contains(&Verdict::Forbid)
    })
}

fn add_headers(response: &mut Value, status: &str, secured: bool) {
    let reference = |name: &str| json!({"$ref": format!("#/components/headers/{name}")});
    response["headers"]["X-Request-Id"] = reference("RequestId");
    if secured && status.starts_with(['2', '3', '4']) {
        response["headers"]["RateLimit"] = reference("RateLimit");
        response["headers"]["RateLimit-Policy"] = reference("RateLimitPolicy");
    }
}

/// Makes a component of a problem answer, or refers to the one that there is.
fn share(response: &mut Value, status: &str, secured: bool, shared: &mut Map<String, Value>) {
    let code = http::StatusCode::from_bytes(status.as_bytes()).unwrap_or_default();
    let reason = code.canonical_reason().unwrap_or(status).replace(' ', "");
    let name = if secured || status.starts_with('5') {
        reason
    } else {
        format!("Public{reason}")
    };
    let component = shared
        .entry(name.clone())
        .or_insert_with(|| response.clone());
    if component == response {
        *response = json!({"$ref": format!("#/components/responses/{name}")});
    }
}

fn headers() -> Value {
    let text = |description: &str, required: bool, length: u32, pattern: &str, example: &str| {
        json!({
            "description": description,
            "required": required,
            "schema": {"type": "string", "maxLength": length, "pattern": pattern},
            "example": example
        })
    };
    json!({
        "RequestId": text(
            "Identifies the request in the logs of the service: the id that the request came with, or a new one.",
            true,
            128,
            pattern::REQUEST_ID,
            "0198f3a2-5b7c-7d10-9a44-3f0f6f0b6c11",
        ),
        "RateLimit": text(
            "How many requests the key has left (r), and in how many seconds it has all of them again (t). Absent when no \
             valid key was sent.",
            false,
            100,
            pattern::TEXT,
            "\"key\";r=199;t=1",
        ),
        "RateLimitPolicy": text(
            "How many requests a key may send (q) in how many seconds (w). Absent when no valid key was sent.",
            false,
            100,
            pattern::TEXT,
            "\"key\";q=200;w=10",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(operation: Value) -> Value {
        let mut document = json!({"paths": {"/a": {"get": operation}}, "components": {}});
        state(&mut document);
        document["paths"]["/a"]["get"].clone()
    }

    fn statuses(operation: &Value) -> Vec<&str> {
        let responses = operation["responses"].as_object().unwrap();
        responses.keys().map(String::as_str).collect()
    }

    #[test]
    fn an_operation_answers_what_follows_from_what_it_takes() {
        let open = stated(json!({"responses": {"200": {}}}));
        assert_eq!(statuses(&open), ["200", "400", "500"]);
        assert_eq!(open["security"], json!([]));
        let secured = stated(json!({"security": [{"apiKey": []}], "responses": {"200": {}}}));
        assert_eq!(
            statuses(&secured),
            ["200", "400", "401", "429", "500", "503"]
        );
        let body =
            json!({"security": [{"apiKey": []}], "requestBody": {}, "responses": {"201": {}}});
        assert!(statuses(&stated(body)).ends_with(&["408", "413", "415", "429", "500", "503"]));
    }

    #[test]
    fn an_answer_of_its_own_stays() {
        let mut own = problem::response(400);
        own["description"] = json!("Only here.");
        let operations = json!({"get": {"responses": {}}, "put": {"responses": {"400": own}}});
        let mut document = json!({"paths": {"/a": operations}, "components": {}});
        state(&mut document);
        let responses = |method: &str| document["paths"]["/a"][method]["responses"]["400"].clone();
        assert_eq!(
            responses("get"),
            json!({"$ref": "#/components/responses/PublicBadRequest"})
        );
        assert_eq!(responses("put")["description"], "Only here.");
    }
}
