//! `Idempotency-Key`: a POST that is repeated has one effect, and one answer
//! ([draft-ietf-httpapi-idempotency-key-header](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/)).
//! Reads and writes through a port.
//!
//! The key is taken after the audit intent of the try is committed. The first try's intent marks the effect; a later
//! try, after a crash or a failure of ours, goes on under the same mark and so recognizes what the first one made.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::answer::Answer;
use crate::{
    domain::{
        actor::Actor,
        failure::{Code, Failure},
    },
    service::ports::{Begun, Idempotency, RepeatableRequest, StoredAnswer},
};

/// The header that carries the key.
pub const HEADER: &str = "idempotency-key";
/// On an answer that was given before.
const REPLAYED: &str = "idempotency-replayed";
const MAX_LENGTH: usize = 255;
/// Headers that belong to what was done rather than to this exchange.
const KEPT_HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::LOCATION, header::ETAG];
/// Members of an answer that are shown once and never again: a new API key.
const SHOWN_ONCE: [&str; 1] = ["key"];

/// A try, and what it may do.
pub enum Try {
    /// Bring the effect about, marked with this intent, and then tell how it ended.
    Run(Attempt),
    /// Answer this.
    Answer(Answer),
}

/// A try that holds its key, or has none.
pub struct Attempt {
    /// Marks the effect.
    pub intent: Uuid,
    held: Option<(Uuid, Arc<dyn Idempotency>)>,
}

/// Begins a try. `intent` is its own audit intent, already committed.
pub async fn begin(
    store: &Arc<dyn Idempotency>,
    parts: &Parts,
    actor: &Actor,
    body: &[u8],
    intent: Uuid,
) -> Result<Try, Failure> {
    let Some(key) = key_of(&parts.headers)? else {
        return Ok(Try::Run(Attempt { intent, held: None }));
    };
    let request = RepeatableRequest {
        team: actor.team.to_string(),
        target: format!("{} {}", parts.method, parts.uri.path()),
        key,
        fingerprint: fingerprint(parts.uri.query(), body),
        attempt: intent,
    };
    match store.begin(&request).await? {
        Begun::Run { intent: first } => Ok(Try::Run(Attempt {
            intent: first,
            held: Some((intent, store.clone())),
        })),
        Begun::Answered(answer) => replay(answer).map(Try::Answer),
        Begun::Running => Err(Failure {
            retry_after: Some(std::time::Duration::from_secs(2)),
            ..Failure::new(
                Code::RequestRunning,
                "A request with this Idempotency-Key is being worked on. Repeat it in a moment.",
            )
        }),
        Begun::OtherRequest => Err(Failure::new(
            Code::IdempotencyKeyReused,
            "This Idempotency-Key was used for another request. Take a new key for a new request.",
        )),
    }
}

impl Attempt {
    /// Keeps the answer when it holds, so that a repetition is answered the same.
    pub async fn finish(self, answer: &Answer) -> Result<(), Failure> {
        let Some((attempt, store)) = self.held else {
            return Ok(());
        };
        if holds(answer.status()) {
            store.finish(attempt, &stored(answer).await?).await
        } else {
            store.release(attempt).await
        }
    }
}

/// Whether a repetition would be answered the same: not after a failure of ours, nor one that passes.
fn holds(status: StatusCode) -> bool {
    !status.is_server_error()
        && !matches!(
            status,
            StatusCode::UNAUTHORIZED | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        )
}

fn key_of(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    let usable = (1..=MAX_LENGTH).contains(&text.len()) && values.next().is_none();
    if usable && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Some(text.to_owned()));
    }
    Err(Failure::header(
        "Idempotency-Key",
        format!("must be one value of 1 to {MAX_LENGTH} visible ASCII characters, such as a UUID"),
    ))
}

/// The same for bodies that mean the same.
fn fingerprint(query: Option<&str>, body: &[u8]) -> [u8; 32] {
    let meaning = serde_json::from_slice::<Value>(body).map(|value| value.to_string());
    let mut digest = Sha256::new();
    digest.update(query.unwrap_or_default());
    digest.update([0]);
    match meaning {
        Ok(text) => digest.update(text),
        Err(_) => digest.update(body),
    }
    digest.finalize().into()
}

async fn stored(answer: &Answer) -> Result<StoredAnswer, Failure> {
    let headers = KEPT_HEADERS.iter().filter_map(|name| {
        let value = answer.headers().get(name)?.to_str().ok()?;
        Some((name.to_string(), value.to_owned()))
    });
    let body = answer.body().clone().collect().await;
    let body = body.map_err(Failure::internal)?.to_bytes();
    Ok(StoredAnswer {
        status: answer.status().as_u16(),
        headers: headers.collect(),
        body: without_secrets(&body),
    })
}

fn without_secrets(body: &[u8]) -> Vec<u8> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(mut members))
            if SHOWN_ONCE.iter().any(|name| members.contains_key(*name)) =>
        {
            members.retain(|name, _| !SHOWN_ONCE.contains(&name.as_str()));
            Value::Object(members).to_string().into_bytes()
        }
        _ => body.to_vec(),
    }
}

fn replay(stored: StoredAnswer) -> Result<Answer, Failure> {
    let mut answer = Response::new(Full::new(Bytes::from(stored.body)));
    *answer.status_mut() = StatusCode::from_u16(stored.status).map_err(Failure::internal)?;
    for (name, value) in stored.headers {
        let name = HeaderName::try_from(name).map_err(Failure::internal)?;
        let value = HeaderValue::try_from(value).map_err(Failure::internal)?;
        answer.headers_mut().insert(name, value);
    }
    answer
        .headers_mut()
        .insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_that_mean_the_same_are_the_same() {
        let one = fingerprint(None, br#"{"name": "orders", "tier": "dev"}"#);
        assert_eq!(one, fingerprint(None, br#"{"tier":"dev","name":"orders"}"#));
        assert_ne!(one, fingerprint(None, br#"{"tier":"dev","name":"order"}"#));
        assert_ne!(
            one,
            fingerprint(
                Some("dry_run=true"),
                br#"{"name": "orders", "tier": "dev"}"#
            )
        );
    }

    #[test]
    fn a_key_is_one_short_visible_text() {
        let key = |values: &[&'static str]| {
            let headers = values.iter().map(|value| {
                (
                    HeaderName::from_static(HEADER),
                    HeaderValue::from_static(value),
                )
            });
            key_of(&HeaderMap::from_iter(headers)).map_err(|failure| failure.code)
        };
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(key(&["order-1"]), Ok(Some("order-1".to_owned())));
        assert_eq!(key(&[""]), Err(Code::InvalidParameter));
        assert_eq!(key(&["a b"]), Err(Code::InvalidParameter));
        let mut twice = HeaderMap::new();
        twice.append(HEADER, HeaderValue::from_static("a"));
        twice.append(HEADER, HeaderValue::from_static("b"));
        assert!(key_of(&twice).is_err());
    }

    #[tokio::test]
    async fn what_is_shown_once_is_not_kept() {
        let mut answer = Response::new(Full::new(Bytes::from(
            r#"{"id": "1", "key": "daap_secret"}"#,
        )));
        *answer.status_mut() = StatusCode::CREATED;
        answer
            .headers_mut()
            .insert(header::LOCATION, HeaderValue::from_static("/api-keys/1"));
        let kept = stored(&answer).await.unwrap();
        assert_eq!(kept.body, br#"{"id":"1"}"#);
        let replayed = replay(kept).unwrap();
        assert_eq!(replayed.headers()["location"], "/api-keys/1");
        assert_eq!(replayed.headers()[REPLAYED], "true");
    }
}
