//! One CloudNativePG Backup. Pure.

use daap_crds::cnpg::{
    self, BARMAN_PLUGIN, Backup, BackupSpec, LocalObjectReference, PluginConfiguration,
};

use super::{super::plan::Identity, metadata};

/// A base backup that is taken now. It belongs to no object, so that it is not collected with one.
pub fn build_backup(identity: &Identity, name: String) -> Backup {
    let mut metadata = metadata(identity, name);
    let cluster = identity.name.cluster();
    // CloudNativePG labels the backups of schedules only; all of them are looked for by this label.
    metadata
        .labels
        .get_or_insert_default()
        .insert(cnpg::label::CLUSTER.to_owned(), cluster.clone());
    Backup {
        metadata,
        spec: BackupSpec {
            cluster: Some(LocalObjectReference { name: cluster }),
            method: Some("plugin".to_owned()),
            plugin_configuration: Some(PluginConfiguration {
                name: BARMAN_PLUGIN.to_owned(),
            }),
        },
        status: None,
    }
}
