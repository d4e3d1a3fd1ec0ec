//! Secrets: the passwords given to CloudNativePG, and what an application needs to connect. Pure.

use std::collections::BTreeMap;

use daap_crds::{
    cnpg,
    connection_secret::{AUTHORITY, PASSWORD, POOLER_HOST, POOLER_URI, URI, USERNAME},
};
use k8s_openapi::{ByteString, api::core::v1::Secret};

use super::{
    super::plan::{APPLICATION, Desired, OBSERVER, Password},
    host, metadata,
};

/// What PostgreSQL and the pooler listen on.
const PORT: &str = "5432";

/// The password of the application's role, as CloudNativePG takes it.
pub(super) fn build_application_secret(desired: &Desired) -> Secret {
    let name = desired.identity.name.application_secret();
    build_role_secret(desired, name, APPLICATION, &desired.application_password)
}

/// The password of the observer role, as CloudNativePG takes it.
pub(super) fn build_observer_secret(desired: &Desired) -> Secret {
    let name = desired.identity.name.observer_secret();
    build_role_secret(desired, name, OBSERVER, &desired.observer_password)
}

fn build_role_secret(desired: &Desired, name: String, role: &str, password: &Password) -> Secret {
    let mut metadata = metadata(&desired.identity, name);
    metadata
        .labels
        .get_or_insert_default()
        .insert(cnpg::label::RELOAD.to_owned(), "true".to_owned());
    Secret {
        metadata,
        type_: Some("kubernetes.io/basic-auth".to_owned()),
        data: Some(data([(USERNAME, role), (PASSWORD, password.reveal())])),
        ..Secret::default()
    }
}

/// What an application needs to connect, by the names of the
/// [Service Binding](https://servicebinding.io/spec/core/1.1.0/#well-known-secret-entries) specification.
pub(super) fn build_connection_secret(desired: &Desired) -> Option<Secret> {
    let certificate = desired.certificate_authority.clone()?;
    let identity = &desired.identity;
    let password = desired.application_password.reveal();
    let primary = host(identity, &identity.name.read_write_service());
    let mut data = data([
        ("type", "postgresql"),
        ("provider", "daap"),
        ("host", &primary),
        ("port", PORT),
        ("database", APPLICATION),
        (USERNAME, APPLICATION),
        (PASSWORD, password),
        (URI, &uri(&primary, password)),
    ]);
    if desired.template.pooling.is_some() {
        let pooler = host(identity, &identity.name.pooler());
        data.insert(
            POOLER_URI.to_owned(),
            ByteString(uri(&pooler, password).into_bytes()),
        );
        data.insert(POOLER_HOST.to_owned(), ByteString(pooler.into_bytes()));
    }
    data.insert(AUTHORITY.to_owned(), certificate);
    Some(Secret {
        metadata: metadata(identity, identity.name.connection_secret()),
        type_: Some("servicebinding.io/postgresql".to_owned()),
        data: Some(data),
        ..Secret::default()
    })
}

/// A password has only letters and digits, so nothing has to be escaped.
fn uri(host: &str, password: &str) -> String {
    format!("postgresql://{APPLICATION}:{password}@{host}:{PORT}/{APPLICATION}?sslmode=verify-full")
}

fn data<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, ByteString> {
    entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec())))
        .collect()
}
