//! The operations about the service itself. None of them needs a key.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::{
    ApiResponse, Enum, Object, OpenApi,
    payload::{Html, Json, PlainText},
    types::Any,
};
use serde_json::Value;

use super::{Group, contract::Contract, docs, problem::problems};
use crate::{domain::failure::Failure, http::metrics::Metrics, service::Service};

/// The operations about the service itself.
pub struct System;

/// Whether the service can do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum ServiceStatus {
    /// All of it.
    Ready,
    /// Reads are answered from the record; changes are refused until everything answers again.
    Degraded,
}

/// Whether something that the service depends on can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum DependencyStatus {
    /// It answers.
    Ready,
    /// It does not answer at the moment.
    Unavailable,
}

/// The process answers.
#[derive(Debug, Object)]
pub struct Health {
    /// Always 'ok'.
    #[oai(validator(max_length = 10))]
    status: String,
}

/// The service can do its work.
#[derive(Debug, Object)]
pub struct Readiness {
    /// Whether all of its dependencies answer.
    status: ServiceStatus,
    /// What it depends on.
    #[oai(validator(max_items = 20))]
    dependencies: Vec<DependencyReadiness>,
}

/// Something that the service depends on.
#[derive(Debug, Object)]
pub struct DependencyReadiness {
    /// Its name.
    #[oai(validator(max_length = 60))]
    name: String,
    /// Whether it answers.
    status: DependencyStatus,
}

/// The service can do its work.
#[derive(ApiResponse)]
pub enum ReadinessAnswer {
    /// Everything that is needed answers.
    #[oai(status = 200)]
    Ready(Json<Readiness>),
}

/// The contract.
#[derive(ApiResponse)]
pub enum ContractAnswer {
    /// The OpenAPI document of this service.
    #[oai(status = 200)]
    Document(Json<Any<Value>>),
}

/// The contract as a page.
#[derive(ApiResponse)]
pub enum DocsAnswer {
    /// The page.
    #[oai(status = 200)]
    Page(
        Html<String>,
        /// What a browser may do with the page.
        #[oai(header = "Content-Security-Policy")]
        String,
    ),
}

/// The metrics of this process.
#[derive(ApiResponse)]
pub enum MetricsAnswer {
    /// Metrics in the text format that Prometheus reads.
    #[oai(status = 200)]
    Text(PlainText<String>),
}

/// The process answers.
#[derive(ApiResponse)]
pub enum HealthAnswer {
    /// The process answers.
    #[oai(status = 200)]
    Alive(Json<Health>),
}

problems! {
    /// How an operation without a key fails.
    SystemProblem: 500
}
problems! {
    /// How the question whether the service can do its work fails.
    ReadinessProblem: 500 503
}

#[OpenApi(tag = "Group::System")]
impl System {
    /// Is the process alive?
    ///
    /// Answers as soon as the process does, whether or not what it depends on can be reached.
    #[oai(path = "/health", method = "get", operation_id = "getHealth")]
    async fn health(&self) -> Result<HealthAnswer, SystemProblem> {
        Ok(HealthAnswer::Alive(Json(Health {
            status: "ok".to_owned(),
        })))
    }

    /// Can the service do its work?
    ///
    /// Names everything that the service depends on. Without the Kubernetes API it is degraded: reads are answered from
    /// the record. When nothing can be answered, the problem document says what is missing.
    #[oai(path = "/ready", method = "get", operation_id = "getReadiness")]
    async fn ready(
        &self,
        service: Data<&Arc<Service>>,
    ) -> Result<ReadinessAnswer, ReadinessProblem> {
        let states = service.ready().await?;
        let status = if states.iter().all(|state| state.answers) {
            ServiceStatus::Ready
        } else {
            ServiceStatus::Degraded
        };
        let dependencies = states.into_iter().map(|state| DependencyReadiness {
            name: state.name.to_owned(),
            status: if state.answers {
                DependencyStatus::Ready
            } else {
                DependencyStatus::Unavailable
            },
        });
        let readiness = Readiness {
            status,
            dependencies: dependencies.collect(),
        };
        Ok(ReadinessAnswer::Ready(Json(readiness)))
    }

    /// This contract
    ///
    /// The OpenAPI document that describes every operation of the service.
    #[oai(path = "/openapi.json", method = "get", operation_id = "getContract")]
    async fn contract(
        &self,
        contract: Data<&Arc<Contract>>,
    ) -> Result<ContractAnswer, SystemProblem> {
        Ok(ContractAnswer::Document(Json(Any(contract
            .document()
            .clone()))))
    }

    /// This contract, for people
    ///
    /// The same as a page to read, without anything that is fetched from elsewhere.
    #[oai(path = "/docs", method = "get", operation_id = "getDocs")]
    async fn docs(&self, contract: Data<&Arc<Contract>>) -> Result<DocsAnswer, SystemProblem> {
        let page = docs::html(contract.document());
        Ok(DocsAnswer::Page(
            Html(page),
            docs::CONTENT_SECURITY_POLICY.to_owned(),
        ))
    }

    /// Metrics
    ///
    /// Counts and durations of requests, for Prometheus.
    #[oai(path = "/metrics", method = "get", operation_id = "getMetrics")]
    async fn metrics(&self, metrics: Data<&Arc<Metrics>>) -> Result<MetricsAnswer, SystemProblem> {
        let text = metrics.text().map_err(Failure::internal)?;
        Ok(MetricsAnswer::Text(PlainText(text)))
    }
}
