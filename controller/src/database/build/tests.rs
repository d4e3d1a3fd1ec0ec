use daap_crds::{database::RestoredFrom, object_store::Credentials};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, MicroTime};

use super::{super::plan::Access, *};
use crate::fixtures::{desired, identity, plain_tier_spec, settings, tier_spec};

fn objects(template: daap_crds::DaapTierSpec) -> Objects {
    build(&desired(template), &settings()).unwrap()
}

#[test]
fn everything() {
    let Objects {
        default_deny,
        instance_policy,
        pooler_policy,
        application_secret,
        observer_secret,
        connection_secret,
        store_secret,
        object_store,
        source_store,
        cluster,
        pooler,
        scheduled_backup,
    } = objects(tier_spec());
    assert!(source_store.is_none());
    insta::assert_yaml_snapshot!("default_deny", default_deny);
    insta::assert_yaml_snapshot!("instance_policy", instance_policy);
    insta::assert_yaml_snapshot!("pooler_policy", pooler_policy);
    insta::assert_yaml_snapshot!("application_secret", readable(Some(application_secret)));
    insta::assert_yaml_snapshot!("observer_secret", readable(Some(observer_secret)));
    insta::assert_yaml_snapshot!("connection_secret", readable(connection_secret));
    insta::assert_yaml_snapshot!("store_secret", readable(store_secret));
    insta::assert_yaml_snapshot!("object_store", object_store);
    insta::assert_yaml_snapshot!("cluster", cluster);
    insta::assert_yaml_snapshot!("pooler", pooler);
    insta::assert_yaml_snapshot!("scheduled_backup", scheduled_backup);
}

#[test]
fn the_least() {
    let objects = objects(plain_tier_spec());
    insta::assert_yaml_snapshot!("plain_cluster", objects.cluster);
    insta::assert_yaml_snapshot!("plain_instance_policy", objects.instance_policy);
    insta::assert_yaml_snapshot!(
        "plain_connection_secret",
        readable(objects.connection_secret)
    );
    assert!(objects.pooler_policy.is_none() && objects.pooler.is_none());
    assert!(
        objects.store_secret.is_none()
            && objects.object_store.is_none()
            && objects.scheduled_backup.is_none()
    );
}

fn restored() -> Desired {
    let mut desired = desired(tier_spec());
    desired.incarnation.restored_from = Some(RestoredFrom {
        backup_url: "s3://backups/tenants/shop-prod/66666666-0000-4000-8000-000000000000/".into(),
        server_name: "77777777-0000-4000-8000-000000000000".into(),
        target_time: Some(MicroTime("2026-11-24T12:00:00.1234569Z".parse().unwrap())),
    });
    desired
}

#[test]
fn a_restored_database() {
    let objects = build(&restored(), &settings()).unwrap();
    let spec = objects.cluster.spec;
    insta::assert_yaml_snapshot!(
        "restored_bootstrap",
        (spec.bootstrap, spec.external_clusters)
    );
    insta::assert_yaml_snapshot!("source_store", objects.source_store);
    // It archives for itself, under its own name.
    let archiver = &spec.plugins.unwrap()[0];
    let parameters = archiver.parameters.as_ref().unwrap();
    assert_eq!(
        parameters.server_name.as_deref(),
        Some(crate::fixtures::SERVER_NAME)
    );
}

#[test]
fn how_far_a_database_is_open() {
    let told = [
        Access::Open,
        Access::Quiet,
        Access::LockedOut,
        Access::Asleep,
        Access::Isolated,
    ]
    .map(|access| {
        let mut desired = desired(tier_spec());
        desired.access = access;
        let objects = build(&desired, &settings()).unwrap();
        let hba = objects.cluster.spec.postgresql.unwrap().pg_hba.unwrap();
        format!(
            "{access:?}: suspended {:?}, poolers {:?}, {:?}\n  {}",
            objects.scheduled_backup.unwrap().spec.suspend.unwrap(),
            objects.pooler.unwrap().spec.instances.unwrap(),
            objects.cluster.metadata.annotations.unwrap_or_default(),
            hba.join("\n  "),
        )
    });
    insta::assert_snapshot!("access", told.join("\n"));
}

/// Where instances have a role, they get no key, but the annotations it hangs on and the way to who hands it out.
#[test]
fn instances_with_a_role() {
    let mut desired = desired(tier_spec());
    let store = desired.store.as_mut().unwrap();
    let annotations = [(
        "eks.amazonaws.com/role-arn".to_owned(),
        "arn:aws:iam::111122223333:role/daap-backups".to_owned(),
    )];
    store.spec.credentials = Credentials {
        secret: None,
        inherit_from_iam_role: Some(true),
        service_account_annotations: Some(annotations.into()),
    };
    store.secrets.retain(|key, _| key == KEY_REGION);
    let objects = build(&desired, &settings()).unwrap();
    let credentials = objects.object_store.unwrap().spec.configuration.unwrap();
    let egress = objects.instance_policy.spec.unwrap().egress.unwrap();
    insta::assert_yaml_snapshot!(
        "role",
        (
            objects.cluster.spec.service_account_template,
            credentials.s3_credentials,
            egress.last(),
        )
    );
}

/// While another database is restored from them, no backup expires.
#[test]
fn backups_that_are_read_stay() {
    let mut desired = desired(tier_spec());
    desired.keeps_backups = true;
    let store = build(&desired, &settings()).unwrap().object_store.unwrap();
    assert_eq!(store.spec.retention_policy, None);
}

/// The Secret with its data as text.
fn readable(secret: Option<Secret>) -> serde_json::Value {
    let mut secret = secret.unwrap();
    let data = secret.data.take().unwrap_or_default();
    secret.string_data = Some(
        data.into_iter()
            .map(|(key, value)| (key, String::from_utf8(value.0).unwrap()))
            .collect(),
    );
    serde_json::to_value(secret).unwrap()
}

/// No cascade may ever remove data: only DAAP itself removes what holds it.
#[test]
fn nothing_has_an_owner_reference() {
    let Objects {
        default_deny,
        instance_policy,
        pooler_policy,
        application_secret,
        observer_secret,
        connection_secret,
        store_secret,
        object_store,
        source_store,
        cluster,
        pooler,
        scheduled_backup,
    } = build(&restored(), &settings()).unwrap();
    let owners = [
        default_deny.metadata.owner_references,
        instance_policy.metadata.owner_references,
        pooler_policy.unwrap().metadata.owner_references,
        application_secret.metadata.owner_references,
        observer_secret.metadata.owner_references,
        connection_secret.unwrap().metadata.owner_references,
        store_secret.unwrap().metadata.owner_references,
        object_store.unwrap().metadata.owner_references,
        source_store.unwrap().metadata.owner_references,
        cluster.metadata.owner_references,
        pooler.unwrap().metadata.owner_references,
        scheduled_backup.unwrap().metadata.owner_references,
    ];
    assert!(owners.iter().all(Option::is_none));
}

/// A tier cannot weaken a guarantee, whatever its parameters say.
#[test]
fn guarantees_win_over_parameters() {
    let mut template = tier_spec();
    template
        .postgres
        .parameters
        .insert("ssl_min_protocol_version".into(), "TLSv1".into());
    let parameters = objects(template)
        .cluster
        .spec
        .postgresql
        .unwrap()
        .parameters
        .unwrap();
    assert_eq!(parameters["ssl_min_protocol_version"], "TLSv1.3");
}

#[test]
fn without_a_certificate_there_is_no_connection_secret_yet() {
    let mut desired = desired(tier_spec());
    desired.certificate_authority = None;
    assert!(
        build(&desired, &settings())
            .unwrap()
            .connection_secret
            .is_none()
    );
}

/// In a namespace of its own everything is denied; beside an application only what belongs to databases.
#[test]
fn denies_only_what_is_daaps_own() {
    let dedicated = Identity {
        namespace: "daap-team-checkout".into(),
        ..identity()
    };
    let selector = |identity| {
        network_policy::build_default_deny(identity)
            .spec
            .unwrap()
            .pod_selector
            .unwrap()
    };
    assert_eq!(selector(&dedicated), LabelSelector::default());
    assert_eq!(
        selector(&identity()).match_expressions.unwrap()[0].key,
        label::DATABASE
    );
}

#[test]
fn a_prefix_is_never_the_beginning_of_a_neighbours() {
    let [one, two] = ["uid-1", "uid-10"].map(|uid| database_url("s3://backups/", "shop", uid));
    assert_eq!(one, "s3://backups/shop/uid-1/");
    assert!(!two.starts_with(&one));
}

/// PostgreSQL restarts to change it: an existing Cluster keeps what it was made with, whatever a later version would choose.
#[test]
fn connections_are_kept_free_where_they_were_from_the_beginning() {
    let cluster = |count| {
        let mut desired = desired(tier_spec());
        desired.incarnation.reserved_connections = count;
        build(&desired, &settings()).unwrap().cluster
    };
    let roles = |cluster: &Cluster| {
        let managed = cluster.spec.managed.clone().unwrap();
        managed.roles.unwrap()[0].in_roles.clone().unwrap()
    };
    let (with, without) = (cluster(Some(3)), cluster(None));
    assert_eq!(kept_connections(&with), Some(3));
    assert!(roles(&with).contains(&"pg_use_reserved_connections".to_owned()));
    assert_eq!(kept_connections(&without), None);
    assert_eq!(roles(&without).len(), 2);

    let chosen = |major, most: &str| {
        let mut spec = tier_spec();
        spec.postgres.major = major;
        let parameters = &mut spec.postgres.parameters;
        parameters.insert("max_connections".into(), most.into());
        reserved_connections(&spec)
    };
    assert_eq!(chosen(15, "150"), None, "it cannot");
    assert_eq!(chosen(16, "150"), Some(3));
    assert_eq!(chosen(16, "9"), None, "there would be too few for others");
}
