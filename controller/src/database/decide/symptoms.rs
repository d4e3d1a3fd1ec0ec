//! Why a Cluster is not healthy, by its pods and volumes. Pure.
//!
//! A cause is told without what changes from one minute to the next (counters, back-off times, whether the kubelet
//! is just trying or just waiting), so that it is written once and not again for each try.

use daap_crds::reason::Reason;
use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;

use super::super::{observe::Symptoms, plan::Trouble};

/// After how many restarts a container that is not ready counts as crashing.
const RESTARTS: i32 = 3;

/// The most telling cause.
pub(super) fn cause(symptoms: &Symptoms) -> Option<Trouble> {
    let mut pods: Vec<_> = symptoms.pods.iter().collect();
    pods.sort_by_key(|pod| pod.name_any());
    let in_pods = |find: fn(&Pod) -> Option<Trouble>| pods.iter().find_map(|pod| find(pod));
    in_pods(image)
        .or_else(|| volume(symptoms))
        .or_else(|| in_pods(unschedulable))
        .or_else(|| in_pods(crashing))
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_ref());
    let main = status.and_then(|status| status.container_statuses.as_ref());
    init.into_iter().chain(main).flatten()
}

fn waiting_reason(container: &ContainerStatus) -> Option<&str> {
    container
        .state
        .as_ref()?
        .waiting
        .as_ref()?
        .reason
        .as_deref()
}

fn image(pod: &Pod) -> Option<Trouble> {
    containers(pod).find_map(|container| {
        let why = match waiting_reason(container)? {
            "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" => "it cannot be pulled",
            "ErrImageNeverPull" => "it is not on the node and may not be pulled",
            "InvalidImageName" => "its name is invalid",
            "ImageInspectError" => "it cannot be inspected",
            _ => return None,
        };
        let message = format!(
            "Pod '{}' has no image '{}': {why}.",
            pod.name_any(),
            container.image
        );
        Some(Trouble::new(Reason::ImagePull, message))
    })
}

fn unschedulable(pod: &Pod) -> Option<Trouble> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let scheduled = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled")?;
    if scheduled.status != "False" || scheduled.reason.as_deref() != Some("Unschedulable") {
        return None;
    }
    // What follows the first sentence tells of preemption, and changes with every try.
    let message = scheduled.message.as_deref().unwrap_or_default();
    let cause = message
        .split(". ")
        .next()
        .unwrap_or_default()
        .trim_end_matches('.');
    let reason =
        if cause.contains("PersistentVolumeClaim") || cause.contains("persistentvolumeclaim") {
            Reason::Storage
        } else {
            Reason::Unschedulable
        };
    Some(Trouble::new(
        reason,
        format!("Pod '{}' cannot be scheduled: {cause}.", pod.name_any()),
    ))
}

fn volume(symptoms: &Symptoms) -> Option<Trouble> {
    let is_pending = |volume: &&PersistentVolumeClaim| {
        volume
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref())
            == Some("Pending")
    };
    let mut warnings: Vec<_> = symptoms
        .volumes
        .iter()
        .filter(is_pending)
        .flat_map(|volume| {
            let about = |name: Option<&str>| name == volume.metadata.name.as_deref();
            let warnings = symptoms.volume_warnings.iter();
            warnings.filter(move |event| about(event.involved_object.name.as_deref()))
        })
        .map(|event| (event.involved_object.name.clone(), event.message.clone()))
        .collect();
    warnings.sort();
    let (name, message) = warnings.into_iter().next()?;
    let message = format!(
        "Volume '{}': {}",
        name.unwrap_or_default(),
        message.unwrap_or_default()
    );
    Some(Trouble::new(Reason::Storage, message))
}

fn crashing(pod: &Pod) -> Option<Trouble> {
    let container = containers(pod).find(|container| {
        let crashed = waiting_reason(container) == Some("CrashLoopBackOff");
        crashed
            || (container.restart_count >= RESTARTS
                && !container.ready
                && container.started != Some(true))
    });
    if let Some(container) = container {
        let message = format!(
            "Container '{}' of pod '{}' keeps crashing.",
            container.name,
            pod.name_any()
        );
        return Some(Trouble::new(Reason::InstanceCrashing, message));
    }
    // The pods of a Job have random names, and a new one with every try.
    let job = pod.labels().get("cnpg.io/jobRole")?;
    let failed = pod.status.as_ref()?.phase.as_deref() == Some("Failed");
    failed.then(|| {
        Trouble::new(
            Reason::InstanceCrashing,
            format!("The Job that prepares an instance ('{job}') fails."),
        )
    })
}
