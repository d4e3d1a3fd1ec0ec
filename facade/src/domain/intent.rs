//! The mark of an audit intent on a custom resource, by which an effect is recognized when an answer was lost. Pure.

use daap_crds::label;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use uuid::Uuid;

/// Marks a resource as made, or changed last, by this intent.
pub fn mark(metadata: &mut ObjectMeta, intent: Uuid) {
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(label::INTENT.to_owned(), intent.to_string());
}

/// Whether the resource bears the mark of this intent.
pub fn is_marked(metadata: &ObjectMeta, intent: Uuid) -> bool {
    let annotations = metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(label::INTENT))
        .is_some_and(|mark| *mark == intent.to_string())
}
