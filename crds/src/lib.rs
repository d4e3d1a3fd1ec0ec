//! The custom resources of DAAP, and every rule that can be stated without a cluster.
//!
//! Pure: no runtime, no client, no clock. The resource types are the single source of the CRDs in
//! `manifests/crds/` (written by the `crdgen` binary of this crate), and [`validation`] runs those same
//! schemas and CEL rules before anything is written, so that a person hears of a mistake by field.
//!
//! | module | subject |
//! |---|---|
//! | [`tier`], [`tier_revision`], [`quota`], [`object_store`], [`database`] | the five kinds of `daap.dev/v1alpha1` |
//! | [`cnpg`] | the fields of CloudNativePG and Barman Cloud objects that DAAP owns or reads |
//! | [`name`] | what things are called, and how long a name may be |
//! | [`quantity`] | exact CPU and byte quantities |
//! | [`cost`] | what a database costs, and whether a quota has room for it |
//! | [`retention`], [`schedule`] | periods and cron schedules |
//! | [`phase`], [`condition`], [`reason`] | the vocabulary of status |
//! | [`manifest`] | the CRDs as files |
//! | [`acceptance`] | the rules of tiers that are too rich for a CRD |
//! | [`validation`] | the CRDs' own rules, run without an API server |

pub mod acceptance;
pub mod cnpg;
pub mod condition;
pub mod connection_secret;
pub mod cost;
pub mod database;
pub mod kind;
pub mod label;
pub mod manifest;
pub mod name;
pub mod object_store;
pub mod phase;
pub mod quantity;
pub mod quota;
pub mod reason;
pub mod retention;
pub mod schedule;
pub mod tier;
pub mod tier_revision;
pub mod validation;

/// Names, versions and uids of resources.
pub use kube::ResourceExt;

pub use database::{DaapDatabase, DaapDatabaseSpec, DaapDatabaseStatus};
pub use object_store::{DaapObjectStore, DaapObjectStoreSpec, DaapObjectStoreStatus};
pub use phase::Phase;
pub use quota::{DaapQuota, DaapQuotaSpec, DaapQuotaStatus};
pub use tier::{DaapTier, DaapTierSpec, DaapTierStatus};
pub use tier_revision::{DaapTierRevision, DaapTierRevisionSpec, DaapTierRevisionStatus};

/// The API group of DAAP's own resources.
pub const GROUP: &str = "daap.dev";

/// The version of DAAP's own resources.
pub const VERSION: &str = "v1alpha1";

/// Every CRD of DAAP, in the order in which they are written and installed.
pub fn all_crds()
-> Vec<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>
{
    use kube::CustomResourceExt as _;
    vec![
        DaapDatabase::crd(),
        DaapObjectStore::crd(),
        DaapQuota::crd(),
        DaapTier::crd(),
        DaapTierRevision::crd(),
    ]
}
