//! The CloudNativePG Pooler. Pure.

use std::collections::BTreeMap;

use daap_crds::{
    cnpg::{LocalObjectReference, PgBouncer, Pooler, PoolerSpec},
    tier::PoolMode,
};
use k8s_openapi::{
    api::core::v1::{Container, PodSpec, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{
    super::plan::{Access, Desired},
    guaranteed, inherited_labels, metadata,
};

/// The pooler, if the tier pools.
///
/// It serves the Cluster's own server certificate, which names the pooler's Service too.
pub(super) fn build_pooler(desired: &Desired) -> Option<Pooler> {
    let pooling = desired.template.pooling.as_ref()?;
    let identity = &desired.identity;
    let mode = match pooling.mode {
        PoolMode::Session => "session",
        PoolMode::Transaction => "transaction",
    };
    let parameters = [
        ("client_tls_sslmode", "require".to_owned()),
        ("default_pool_size", pooling.default_pool_size.to_string()),
        (
            "max_client_conn",
            pooling.max_client_connections.to_string(),
        ),
    ];
    let container = Container {
        name: "pgbouncer".to_owned(),
        resources: Some(guaranteed(pooling.compute.cpu, pooling.compute.memory)),
        ..Container::default()
    };
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(inherited_labels(identity)),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![container],
            ..PodSpec::default()
        }),
    };
    let spec = PoolerSpec {
        cluster: Some(LocalObjectReference {
            name: identity.name.cluster(),
        }),
        type_: Some("rw".to_owned()),
        instances: Some(if desired.access > Access::Open {
            0
        } else {
            pooling.instances
        }),
        template: Some(template),
        pgbouncer: Some(PgBouncer {
            pool_mode: Some(mode.to_owned()),
            parameters: Some(BTreeMap::from(
                parameters.map(|(name, value)| (name.to_owned(), value)),
            )),
        }),
    };
    Some(Pooler {
        metadata: metadata(identity, identity.name.pooler()),
        spec,
        status: None,
    })
}
