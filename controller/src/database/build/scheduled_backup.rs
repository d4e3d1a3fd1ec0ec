//! The CloudNativePG ScheduledBackup. Pure.

use daap_crds::{
    cnpg::{
        BARMAN_PLUGIN, LocalObjectReference, PluginConfiguration, ScheduledBackup,
        ScheduledBackupSpec,
    },
    schedule::{Schedule, ScheduleError},
};
use sha2::{Digest as _, Sha256};

use super::{
    super::plan::{Access, Desired},
    metadata,
};

/// When base backups are taken, if the tier has a backup. The first one is taken at once.
pub(super) fn build_scheduled_backup(
    desired: &Desired,
) -> Result<Option<ScheduledBackup>, ScheduleError> {
    let Some(backup) = &desired.template.backup else {
        return Ok(None);
    };
    let identity = &desired.identity;
    let schedule: Schedule = backup.schedule.parse()?;
    let spec = ScheduledBackupSpec {
        cluster: Some(LocalObjectReference {
            name: identity.name.cluster(),
        }),
        schedule: Some(spread(&schedule, &identity.uid)),
        immediate: Some(true),
        suspend: Some(desired.access > Access::Open),
        method: Some("plugin".to_owned()),
        plugin_configuration: Some(PluginConfiguration {
            name: BARMAN_PLUGIN.to_owned(),
        }),
        // Backups outlive the schedule that made them.
        backup_owner_reference: Some("none".to_owned()),
    };
    Ok(Some(ScheduledBackup {
        metadata: metadata(identity, identity.name.scheduled_backup()),
        spec,
        status: None,
    }))
}

/// The schedule, moved by less than an hour so that the databases of a tier do not all start at once.
///
/// Only zeros are moved: who writes another minute or second means it.
fn spread(schedule: &Schedule, uid: &str) -> String {
    let digest = Sha256::digest(uid);
    let own = [digest[0] % 60, digest[1] % 60];
    let fields = schedule.six_fields().split(' ').enumerate();
    let moved = fields.map(|(index, field)| match own.get(index) {
        Some(own) if field == "0" => own.to_string(),
        _ => field.to_owned(),
    });
    moved.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_zeros_only() {
        let spread = |text: &str| {
            spread(
                &text.parse().unwrap(),
                "0b0e7c1e-2d1f-4d0a-9c6e-0a6f1c2d3e4f",
            )
        };
        let daily = spread("0 3 * * *");
        assert!(
            daily.ends_with(" 3 * * *") && daily != "0 0 3 * * *",
            "{daily}"
        );
        assert_eq!(spread("7 30 3 * * 1"), "7 30 3 * * 1");
        assert!(spread("*/15 * * * *").ends_with(" */15 * * * *"));
    }

    #[test]
    fn is_the_same_for_the_same_database_only() {
        let daily: Schedule = "0 3 * * *".parse().unwrap();
        assert_eq!(spread(&daily, "a"), spread(&daily, "a"));
        assert_ne!(spread(&daily, "a"), spread(&daily, "b"));
    }
}
