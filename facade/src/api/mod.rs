//! The operations of the contract and what they carry. poem-openapi lives here: it parses what comes in, writes what
//! goes out and generates the contract. No decision is made here: every operation calls one use case.
//!
//! | module | subject |
//! |---|---|
//! | [`contract`] | the OpenAPI document, and what the server reads from it |
//! | [`databases`], [`destruction`], [`backups`], [`restore`], [`operations`], [`history`] | the operations about databases |
//! | [`tiers`], [`quotas`], [`keys`], [`audit`], [`system`] | the other ones |
//! | [`docs`] | the contract as a page for people |
//! | [`list`] | the parameters of a slice |
//! | [`caller`] | who asks, as an argument of an operation |
//! | [`body`], [`merge_patch`] | a JSON body, judged by the contract |
//! | [`patch_schema`] | the schemas of merge patches |
//! | [`problem`] | the answer of everything that fails |
//! | [`entity_tag`] | `ETag`, `If-Match`, `If-None-Match` |
//! | [`staleness`] | `Daap-Stale-Seconds` |
//! | [`amount`], [`date_time`], [`pattern`] | values |

pub mod amount;
pub mod audit;
pub mod backups;
pub mod body;
pub mod caller;
pub mod contract;
pub mod databases;
pub mod date_time;
pub mod destruction;
pub mod docs;
pub mod entity_tag;
pub mod history;
pub mod keys;
pub mod list;
pub mod merge_patch;
pub mod operations;
pub mod patch_schema;
pub mod pattern;
pub mod problem;
pub mod quotas;
pub mod restore;
pub mod staleness;
pub mod system;
pub mod tiers;

use std::sync::Arc;

use poem::{EndpointExt as _, IntoEndpoint as _, endpoint::BoxEndpoint};

use self::contract::Contract;
use crate::{http::metrics::Metrics, service::Service};

/// Groups of operations.
#[derive(poem_openapi::Tags)]
pub enum Group {
    /// PostgreSQL databases: ask for one, see what became of it, learn how to connect.
    Databases,
    /// The menu of guarantees that platform teams define and product teams choose from.
    Tiers,
    /// What all databases of a tier may cost together.
    Quotas,
    /// API keys: who may call, as which team.
    #[oai(rename = "API keys")]
    ApiKeys,
    /// What was called by whom, and the proof that nobody changed it since.
    #[oai(rename = "Audit log")]
    Audit,
    /// The service itself.
    System,
}

/// Every operation, as an endpoint.
pub fn endpoint(
    service: Arc<Service>,
    contract: Arc<Contract>,
    metrics: Arc<Metrics>,
) -> BoxEndpoint<'static> {
    contract::openapi_service()
        .into_endpoint()
        .data(service)
        .data(contract)
        .data(metrics)
        .boxed()
}
