//! What every request goes through, in this order: request id, trace → operation (404, 405) → key (401) → rate (429) →
//! role (403) → query parameters (400) → body (408, 413) → when something is to change: audit intent, idempotency key →
//! operation → audit outcome → answer, and a line in the log.
//!
//! Nothing can be registered past it, so no operation can forget a step. A request runs in a task of its own: it goes
//! on when the client hangs up, and a panic ends this one request only.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
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
    limit::{self, Buckets},
    metrics::Metrics,
    routes::{Route, Routes},
    trace::{Span, TRACEPARENT},
    upload,
};
use crate::{
    api::caller::Caller,
    domain::{
        actor::Actor,
        audit::field_names,
        failure::{Code, Failure},
        policy::Rule,
    },
    service::{
        Service, access,
        ports::{AuditLog, AuditedCall, Idempotency},
    },
};

/// Identifies a request, in and out.
pub const REQUEST_ID: &str = "x-request-id";
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
    /// How often each key may ask.
    pub keys: Buckets<Uuid>,
    /// How often one may ask in vain from an address.
    pub failures: Buckets<IpAddr>,
    /// The tasks of requests, awaited when the server ends.
    pub tasks: TaskTracker,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
}

/// A request, before anything is known about it.
struct Call {
    request_id: String,
    span: Span,
    peer: IpAddr,
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
        let call = Arc::new(Call {
            request_id: request_id(&parts.headers),
            span: Span::of(&parts.headers),
            peer: peer.ip().to_canonical(),
            parts,
        });
        let (gate, work) = (self.clone(), call.clone());
        let task = self
            .tasks
            .spawn(async move { gate.process(&work, body).await });
        let mut answer = task
            .await
            .unwrap_or_else(|error| self.refuse(&call, &Failure::internal(error)));
        for (name, value) in [
            (REQUEST_ID, &call.request_id),
            (TRACEPARENT, &call.span.to_string()),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                answer.headers_mut().insert(name, value);
            }
        }
        self.tell(&call, &answer, begin.elapsed());
        answer
    }

    async fn process(&self, call: &Call, mut body: Incoming) -> Answer {
        let result = self.perform(call, &mut body).await;
        // A client that waits to be asked for its body is answered instead.
        if !call.parts.headers.contains_key(header::EXPECT) {
            upload::discard(body).await;
        }
        result.unwrap_or_else(|failure| self.refuse(call, &failure))
    }

    async fn perform(&self, call: &Call, body: &mut Incoming) -> Result<Answer, Failure> {
        let (route, id) = self
            .routes
            .find(call.parts.method.as_str(), call.parts.uri.path())?;
        let Some(rule) = route.rule else {
            route.check_parameters(call.parts.uri.query())?;
            return self.run(call, None, Bytes::new()).await;
        };
        let actor = self.authenticate(call).await?;
        let allowance = self.keys.take(actor.key_id, Instant::now());
        let mut audited = AuditedCall {
            intent: Uuid::now_v7(),
            is_intended: false,
            request_id: call.request_id.clone(),
            actor,
            operation: rule.operation,
            source: call.peer.to_string(),
            resource_kind: rule.resource,
            resource_id: id.map(str::to_owned),
            changed_fields: Vec::new(),
        };
        let admitted = match limit::refusal(&allowance) {
            Some(failure) => Err(failure),
            None => self.admit(&audited, call, route, rule, body).await,
        };
        let result = match admitted {
            Ok(bytes) if rule.changes => {
                audited.changed_fields = field_names(&bytes);
                // What cannot be recorded does not happen, and there is no outcome to record either.
                self.audit.intent(&audited).await?;
                audited.is_intended = true;
                self.change(&audited, call, bytes).await
            }
            Ok(bytes) => {
                let caller = audited.caller(audited.intent);
                self.run(call, Some(caller), bytes).await
            }
            Err(failure) => Err(failure),
        };
        let mut answer = result.unwrap_or_else(|failure| self.refuse(call, &failure));
        let resource_id = audited
            .resource_id
            .clone()
            .or_else(|| created_id(answer.headers()));
        self.audit
            .outcome(&audited, answer.status().as_u16(), resource_id.as_deref())
            .await?;
        limit::set_headers(answer.headers_mut(), &allowance);
        answer.extensions_mut().insert(audited.actor);
        Ok(private(answer))
    }

    /// Who asks. An address from which too many do so in vain is told to wait.
    async fn authenticate(&self, call: &Call) -> Result<Actor, Failure> {
        let authorization = call
            .parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let source = call.peer.to_string();
        let actor = self.service.authenticate(authorization, &source).await;
        match actor {
            Err(failure) if failure.code == Code::Unauthenticated => {
                let allowance = self.failures.take(neighbourhood(call.peer), Instant::now());
                Err(limit::refusal(&allowance).unwrap_or(failure))
            }
            other => other,
        }
    }

    /// Refuses what can be refused before the operation is looked at, and reads the body.
    async fn admit(
        &self,
        audited: &AuditedCall,
        call: &Call,
        route: &Route,
        rule: &Rule,
        body: &mut Incoming,
    ) -> Result<Bytes, Failure> {
        access::permit_role(audited.actor.role, rule.action)?;
        route.check_parameters(call.parts.uri.query())?;
        if !route.operation.takes_body {
            return Ok(Bytes::new());
        }
        upload::read(body, self.body_timeout).await
    }

    /// Something is to change, and its intent is committed. A repetition has no second effect.
    async fn change(
        &self,
        audited: &AuditedCall,
        call: &Call,
        body: Bytes,
    ) -> Result<Answer, Failure> {
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
            tracing::error!(
                request.id = call.request_id,
                trace.id = call.span.trace_id,
                http.method = call.parts.method.as_str(),
                http.path = call.parts.uri.path(),
                problem.code = failure.code.as_str(),
                error.message = cause,
                "a request failed"
            );
        }
        answer
    }

    /// One line in the log, and one more in the counts. What needs no key is asked for all the time.
    fn tell(&self, call: &Call, answer: &Answer, duration: Duration) {
        let found = self
            .routes
            .find(call.parts.method.as_str(), call.parts.uri.path());
        let route = found.as_ref().ok().map(|(route, _)| route);
        let operation = route.map_or("none", |route| route.operation.id.as_str());
        let status = answer.status().as_u16();
        self.metrics.answered(operation, status, duration);
        let actor = answer.extensions().get::<Actor>();
        let is_quiet = route.is_some_and(|route| route.rule.is_none()) && status < 500;
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    request.id = call.request_id,
                    trace.id = call.span.trace_id,
                    span.id = call.span.span_id,
                    span.parent_id = call.span.parent_id,
                    http.method = call.parts.method.as_str(),
                    http.path = call.parts.uri.path(),
                    http.status = status,
                    http.operation = operation,
                    http.duration_ms = duration.as_micros() as f64 / 1000.0,
                    client.address = %call.peer,
                    key.id = actor.map(|actor| tracing::field::display(actor.key_id)),
                    key.team = actor.map(|actor| actor.team.as_str()),
                    "answered"
                )
            };
        }
        if is_quiet {
            line!(debug);
        } else {
            line!(info);
        }
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

/// What counts as one address: with IPv6, a client has a whole network of them.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
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
