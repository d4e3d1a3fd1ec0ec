//! The mark of an audit intent on a custom resource, by which an effect is recognized when an answer was lost. Pure.

use daap_crds::label;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use uuid::Uuid;

/// Marks a resource as made, or changed last, by this intent.
pub fn mark(metadata: &mut ObjectMeta, intent: Uuid) {
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(label::INTENT.to_owned(), intent.to_string());
}

/// The intent that made a resource, or changed it last.
pub fn of(metadata: &ObjectMeta) -> Option<Uuid> {
    metadata
        .annotations
        .as_ref()?
        .get(label::INTENT)?
        .parse()
        .ok()
}

/// Whether the resource bears the mark of this intent.
pub fn is_marked(metadata: &ObjectMeta, intent: Uuid) -> bool {
    of(metadata) == Some(intent)
}
