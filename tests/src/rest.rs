//! DAAP's REST API as a client sees it. Sends requests, keeps nothing.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::{
    Method, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use reqwest::{Request, Response};
use serde_json::Value;

/// How long one request may take: longer than a facade waits for an admission in a race, with every call beside that.
const LIMIT: Duration = Duration::from_secs(120);

/// How long a connection is tried for that was asked for: what stands between may still be about to lead somewhere.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(60);

/// The pause between two tries.
const CONNECTION_PAUSE: Duration = Duration::from_millis(500);

/// A client that speaks with one key, and trusts one certificate authority and no other.
#[derive(Debug, Clone)]
pub struct RestClient {
    url: String,
    key: String,
    headers: HeaderMap,
    http: reqwest::Client,
    connection_patience: Duration,
}

/// What the API answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null when there is none, or when it is no JSON.
    pub body: Value,
}

impl RestClient {
    /// A client for the API at `url`, whose certificate `authority` (PEM) has signed.
    pub fn new(url: &str, authority: &str, key: &str) -> Result<Self> {
        let authority = reqwest::Certificate::from_pem(authority.as_bytes());
        let authority = authority.context("understanding a certificate authority")?;
        let http = reqwest::Client::builder()
            .tls_certs_only([authority])
            .timeout(LIMIT)
            .build();
        Ok(Self {
            url: url.to_owned(),
            key: key.to_owned(),
            headers: HeaderMap::new(),
            http: http.context("making an HTTP client")?,
            connection_patience: Duration::ZERO,
        })
    }

    /// The same client, which connects again when it could not for a while. Nothing was asked by then, so nothing is asked
    /// twice.
    #[must_use]
    pub fn patient(self) -> Self {
        Self {
            connection_patience: CONNECTION_PATIENCE,
            ..self
        }
    }

    /// The same client with another key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self {
            key: key.to_owned(),
            ..self.clone()
        }
    }

    /// The same client without any key.
    #[must_use]
    pub fn without_key(&self) -> Self {
        self.with_key("")
    }

    /// The same client, which sends one more header with every request.
    #[must_use]
    pub fn with_header(&self, name: HeaderName, value: &str) -> Self {
        let mut client = self.clone();
        if let Ok(value) = HeaderValue::from_str(value) {
            client.headers.insert(name, value);
        }
        client
    }

    /// The same client for an API elsewhere.
    #[must_use]
    pub fn at(&self, url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ..self.clone()
        }
    }

    /// Sends a request, with a JSON body unless it is null.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Answer> {
        let what = format!("{method} {path}");
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if !self.key.is_empty() {
            request = request.bearer_auth(&self.key);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        let request = request.headers(self.headers.clone()).build();
        let request = request.with_context(|| what.clone())?;
        let response = self.execute(request).await.with_context(|| what.clone())?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.with_context(|| what)?;
        Ok(Answer {
            status,
            headers,
            body: serde_json::from_str(&text).unwrap_or_default(),
        })
    }

    async fn execute(&self, request: Request) -> Result<Response> {
        let deadline = Instant::now() + self.connection_patience;
        loop {
            // A body of JSON can always be had again.
            let again = request.try_clone().context("a request that goes once")?;
            match self.http.execute(again).await {
                Err(error) if error.is_connect() && Instant::now() < deadline => {
                    tokio::time::sleep(CONNECTION_PAUSE).await;
                }
                outcome => return Ok(outcome?),
            }
        }
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, &Value::Null).await
    }

    /// Changes.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::PATCH, path, body).await
    }

    /// Removes.
    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.send(Method::DELETE, path, &Value::Null).await
    }

    /// Makes.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::POST, path, body).await
    }
}

impl Answer {
    /// The body of an answer with this status; every other answer is an error that says what was answered.
    pub fn expect(self, status: StatusCode) -> Result<Value> {
        ensure!(
            self.status == status,
            "answered {}: {}",
            self.status,
            self.body
        );
        Ok(self.body)
    }
}
