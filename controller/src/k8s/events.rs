//! Events: what changed, for people who run `kubectl describe`. Writes Events only.
//!
//! An Event is published with a change of status and never without one, so nothing is repeated. It is a courtesy:
//! a failure to publish is logged and changes nothing else.

use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use super::{FIELD_MANAGER, client::within, error::CallError, lease::Leadership};

/// Something worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whether someone should look.
    pub warning: bool,
    /// A stable code.
    pub reason: String,
    /// What the controller was doing.
    pub action: &'static str,
    /// A sentence.
    pub note: String,
}

/// Publishes Events.
#[derive(Clone)]
pub struct Publisher {
    recorder: Recorder,
    deadline: std::time::Duration,
    leadership: Leadership,
}

impl Publisher {
    /// A publisher that speaks as `identity`.
    pub fn new(
        client: Client,
        identity: &str,
        deadline: std::time::Duration,
        leadership: Leadership,
    ) -> Self {
        let reporter = Reporter {
            controller: FIELD_MANAGER.to_owned(),
            instance: Some(identity.to_owned()),
        };
        Self {
            recorder: Recorder::new(client, reporter),
            deadline,
            leadership,
        }
    }

    /// Publishes an Event about an object.
    pub async fn publish(&self, about: &impl Resource<DynamicType = ()>, notice: Notice) {
        let event = Event {
            type_: if notice.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: notice.reason,
            note: Some(notice.note.chars().take(1000).collect()),
            action: notice.action.to_owned(),
            secondary: None,
        };
        let reference = about.object_ref(&());
        let published = match self.leadership.check() {
            Ok(()) => within(self.deadline, self.recorder.publish(&event, &reference)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = published {
            let error: CallError = error;
            tracing::debug!(
                category = error.category(),
                error = error.chain(),
                "cannot publish an Event"
            );
        }
    }
}
