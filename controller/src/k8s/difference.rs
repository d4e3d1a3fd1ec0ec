//! Whether an object has to be written. Pure.
//!
//! Two questions make it exact without knowing the kind. Is everything that is desired there? The API server and
//! CloudNativePG add defaults, so the desired object need only be a part of the observed one. And is what is
//! there desired *still*? A digest of the last desired object is kept in an annotation, so that a field which is
//! not desired any more is noticed, and taken back by server-side apply.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The annotation with the digest of the desired object.
const DIGEST: &str = "daap.dev/applied";

/// The desired object with its own digest among its annotations.
///
/// The data of a Secret is not part of the digest; [`differs`] compares it whole.
pub fn with_digest(mut desired: Value) -> Value {
    let mut public = desired.clone();
    if let Some(fields) = public.as_object_mut() {
        fields.remove("data");
    }
    let digest = Sha256::digest(public.to_string());
    let text: String = digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    desired["metadata"]["annotations"][DIGEST] = json!(text);
    desired
}

/// Whether `desired`, as made by [`with_digest`], has to be written over `observed`.
pub fn differs(desired: &Value, observed: &Value) -> bool {
    !is_part_of(desired, observed) || desired.get("data") != observed.get("data")
}

/// Whether every field of `part` is in `whole`. Lists match item by item.
fn is_part_of(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => part.iter().all(|(name, value)| {
            whole
                .get(name)
                .is_some_and(|other| is_part_of(value, other))
                || is_empty(value)
        }),
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len()
                && part
                    .iter()
                    .zip(whole)
                    .all(|(one, other)| is_part_of(one, other))
        }
        _ => part == whole,
    }
}

/// Whether the API server may leave the value out when it stores the object.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired() -> Value {
        with_digest(
            json!({"metadata": {"name": "orders"}, "spec": {"instances": 2, "hba": ["reject"], "roles": [{"name": "a"}]}}),
        )
    }

    #[test]
    fn defaults_of_others_are_no_difference() {
        let mut observed = desired();
        observed["spec"]["maxSyncReplicas"] = json!(0);
        observed["spec"]["roles"][0]["ensure"] = json!("present");
        observed["metadata"]["resourceVersion"] = json!("7");
        assert!(!differs(&desired(), &observed));
    }

    #[test]
    fn drift_is_a_difference() {
        for (pointer, value) in [
            ("/spec/instances", json!(1)),
            ("/spec/hba", json!([])),
            ("/spec/hba", json!(["trust", "reject"])),
            ("/spec/roles/0/name", json!("b")),
        ] {
            let mut observed = desired();
            *observed.pointer_mut(pointer).unwrap() = value;
            assert!(differs(&desired(), &observed), "{pointer}");
        }
    }

    #[test]
    fn a_field_not_desired_any_more_is_a_difference() {
        let less = with_digest(json!({"metadata": {"name": "orders"}, "spec": {"instances": 2}}));
        assert!(differs(&less, &desired()));
    }

    #[test]
    fn a_key_too_many_in_a_secret_is_a_difference() {
        let secret = with_digest(json!({"metadata": {"name": "s"}, "data": {"password": "cA=="}}));
        let mut observed = secret.clone();
        assert!(!differs(&secret, &observed));
        observed["data"]["other"] = json!("cA==");
        assert!(differs(&secret, &observed));
    }

    /// The digest must not tell anything about a password, not even whether it changed.
    #[test]
    fn the_digest_ignores_secret_data() {
        let [one, two] = ["cA==", "cQ=="]
            .map(|data| with_digest(json!({"metadata": {}, "data": {"password": data}})));
        assert_eq!(one["metadata"], two["metadata"]);
    }
}
