//! The finalizer of what others use. Pure.

use daap_crds::label;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The finalizers that are to be written, if they change. Ours is there from the beginning, and goes when the object is
/// being deleted and is free: somebody may be about to use what nobody uses yet.
pub fn in_use(meta: &ObjectMeta, is_free: bool) -> Option<Vec<String>> {
    let present = meta.finalizers.as_deref().unwrap_or_default();
    let is_ours = |finalizer: &&String| *finalizer == label::IN_USE_FINALIZER;
    let has_ours = present.iter().any(|finalizer| is_ours(&finalizer));
    if meta.deletion_timestamp.is_none() {
        let ours = [label::IN_USE_FINALIZER.to_owned()];
        return (!has_ours).then(|| present.iter().cloned().chain(ours).collect());
    }
    (is_free && has_ours).then(|| {
        let others = present.iter().filter(|finalizer| !is_ours(finalizer));
        others.cloned().collect()
    })
}
