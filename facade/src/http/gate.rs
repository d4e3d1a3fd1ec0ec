//! What every request goes through, in this order: request id → operation (404, 405) → key (401) → role (403) → query
//! parameters (400) → body (408, 413) → when something is to change: audit intent, idempotency key → operation → audit outcome → answer.
//!
//! Nothing can be registered past it, so no operation can forget a step. A request runs in a task of its own: it goes
//! on when the client hangs up, and a panic ends this one request only.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, header, request::Parts, uri::Scheme};
use hyper::body::Incoming;
use poem::{
    Endpoint as _, RequestParts,
    endpoint::BoxEndpoint,
    web::{LocalAddr, RemoteAddr},
};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{
    answer::{self, Answer},
    idempotency::{self, Try},
    metrics::Metrics,
    routes::{Route, Routes},
    upload,
};
use crate::{
    api::caller::Caller,
    domain::failure::{Code, Failure},
    domain::policy::Rule,
    service::{
        Service, access,
        ports::{AuditLog, AuditedCall, Idempotency},
    },
};

const REQUEST_ID: &str = "x-request-id";
const MAX_REQUEST_ID: usize = 128;

/// What a request goes through.
pub struct Gate {
    /// The operations.
    pub routes: Routes,
    /// The use cases, for who asks.
    pub service: Arc<Service>,
    /// The audit log.
    pub audit: Arc<dyn AuditLog>,
    /// What was answered to requests that may be repeated.
    pub idempotency: Arc<dyn Idempotency>,
    /// The operations as poem runs them.
    pub endpoint: BoxEndpoint<'static>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// The tasks of requests, awaited when the server ends.
    pub tasks: TaskTracker,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
}

/// A request, before anything is known about it.
struct Call {
    request_id: String,
    source: String,
    parts: Parts,
}

impl AuditedCall {
    fn caller(&self, intent: Uuid) -> Caller {
        Caller {
            actor: self.actor.clone(),
            intent,
        }
    }
}

impl Gate {
    /// The answer to a request.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: SocketAddr) -> Answer {
        let begin = Instant::now();
        let (parts, body) = request.into_parts();
        let call = Call {
            request_id: request_id(&parts.headers),
            source: peer.ip().to_string(),
            parts,
        };
        let request_id = call.request_id.clone();
        let operation = self.operation_name(&call);
        let gate = self.clone();
        let task = self
            .tasks
            .spawn(async move { gate.process(call, body).await });
        let mut answer = task.await.unwrap_or_else(|error| {
            tracing::error!(request.id = request_id, error.message = %error, "a request ended its task");
            answer::from_failure(&Failure::internal(error), &request_id)
        });
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            answer.headers_mut().insert(REQUEST_ID, value);
        }
        self.metrics
            .answered(&operation, answer.status().as_u16(), begin.elapsed());
        answer
    }

    async fn process(&self, call: Call, mut body: Incoming) -> Answer {
        let result = self.perform(&call, &mut body).await;
        // A client that waits to be asked for its body is answered instead.
        if !call.parts.headers.contains_key(header::EXPECT) {
            upload::discard(body).await;
        }
        result.unwrap_or_else(|failure| self.refuse(&call, &failure))
    }

    async fn perform(&self, call: &Call, body: &mut Incoming) -> Result<Answer, Failure> {
        let (route, id) = self
            .routes
            .find(call.parts.method.as_str(), call.parts.uri.path())?;
        let Some(rule) = route.rule else {
            route.check_parameters(call.parts.uri.query())?;
            return self.run(call, None, Bytes::new()).await;
        };
        let authorization = call
            .parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let audited = AuditedCall {
            intent: Uuid::now_v7(),
            request_id: call.request_id.clone(),
            actor: self.service.authenticate(authorization).await?,
            operation: rule.operation,
            source: call.source.clone(),
            resource_kind: rule.resource,
            resource_id: id.map(str::to_owned),
        };
        let result = self.perform_as(&audited, call, route, rule, body).await;
        let answer = result.unwrap_or_else(|failure| self.refuse(call, &failure));
        let resource_id = audited
            .resource_id
            .clone()
            .or_else(|| created_id(answer.headers()));
        self.audit
            .outcome(&audited, answer.status().as_u16(), resource_id.as_deref())
            .await?;
        Ok(private(answer))
    }

    /// The part of a request that is audited: it is known who asks.
    async fn perform_as(
        &self,
        audited: &AuditedCall,
        call: &Call,
        route: &Route,
        rule: &Rule,
        body: &mut Incoming,
    ) -> Result<Answer, Failure> {
        access::permit_role(audited.actor.role, rule.action)?;
        route.check_parameters(call.parts.uri.query())?;
        let bytes = if route.operation.takes_body {
            upload::read(body, self.body_timeout).await?
        } else {
            Bytes::new()
        };
        if rule.changes {
            return self.change(audited, call, bytes).await;
        }
        self.run(call, Some(audited.caller(audited.intent)), bytes)
            .await
    }

    /// Something is to change: the intent is committed before, and a repetition has no second effect.
    async fn change(
        &self,
        audited: &AuditedCall,
        call: &Call,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        self.audit.intent(audited).await?;
        if call.parts.method != Method::POST {
            let caller = audited.caller(audited.intent);
            return self.run(call, Some(caller), body).await;
        }
        let (actor, intent) = (&audited.actor, audited.intent);
        let attempt =
            match idempotency::begin(&self.idempotency, &call.parts, actor, &body, intent).await? {
                Try::Answer(answer) => return Ok(answer),
                Try::Run(attempt) => attempt,
            };
        let caller = audited.caller(attempt.intent);
        let result = self.run(call, Some(caller), body).await;
        let answer = result.unwrap_or_else(|failure| self.refuse(call, &failure));
        attempt.finish(&answer).await?;
        Ok(answer)
    }

    /// Runs the operation.
    async fn run(
        &self,
        call: &Call,
        caller: Option<Caller>,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let addresses = (LocalAddr::default(), RemoteAddr::default(), Scheme::HTTPS);
        let parts = RequestParts::from((call.parts.clone(), addresses.0, addresses.1, addresses.2));
        let mut request = poem::Request::from_parts(parts, body.into());
        if let Some(caller) = caller {
            request.set_data(caller);
        }
        match self.endpoint.call(request).await {
            Ok(response) => answer::from_poem(response).await,
            Err(error) => Err(answer::failure_of(error)),
        }
    }

    /// The answer to a failure; the one place where failures are logged.
    fn refuse(&self, call: &Call, failure: &Failure) -> Answer {
        let mut answer = private(answer::from_failure(failure, &call.request_id));
        if failure.code == Code::MethodNotAllowed
            && let Ok(methods) = HeaderValue::from_str(&self.routes.methods(call.parts.uri.path()))
        {
            answer.headers_mut().insert(header::ALLOW, methods);
        }
        if failure.code == Code::BodyTooLarge {
            answer
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(cause) = failure.cause_text() {
            let (id, method, path) = (
                &call.request_id,
                call.parts.method.as_str(),
                call.parts.uri.path(),
            );
            tracing::error!(
                request.id = id,
                request.method = method,
                request.path = path,
                problem.code = failure.code.as_str(),
                error.message = cause,
                "a request failed"
            );
        }
        answer
    }

    fn operation_name(&self, call: &Call) -> String {
        let found = self
            .routes
            .find(call.parts.method.as_str(), call.parts.uri.path());
        found.map_or_else(
            |_| "none".to_owned(),
            |(route, _)| route.operation.id.clone(),
        )
    }
}

/// The client's own request id when it is a harmless one, and a new one otherwise.
fn request_id(headers: &HeaderMap) -> String {
    let harmless = |id: &&str| {
        (1..=MAX_REQUEST_ID).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let given = headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(harmless);
    given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// An answer to somebody in particular, which nothing on the way keeps.
fn private(mut answer: Answer) -> Answer {
    answer
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// The id of what was created, from the end of its path.
fn created_id(headers: &HeaderMap) -> Option<String> {
    let location = headers.get(header::LOCATION)?.to_str().ok()?;
    location.rsplit('/').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_request_ids_are_kept() {
        let id_of = |text: &'static str| {
            let headers: HeaderMap = [(
                header::HeaderName::from_static(REQUEST_ID),
                HeaderValue::from_static(text),
            )]
            .into_iter()
            .collect();
            request_id(&headers)
        };
        assert_eq!(id_of("order-1.retry_2"), "order-1.retry_2");
        for harmful in ["", "a b", "\"quoted\"", "a\tb"] {
            assert_ne!(id_of(harmful), harmful);
        }
    }
}
