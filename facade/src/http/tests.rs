//! The accept loop and the gate as a client meets them: real sockets, with keys, audit log and cluster in memory.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use daap_crds::{
    DaapDatabase, DaapQuota, DaapQuotaSpec, DaapQuotaStatus, DaapTier, DaapTierSpec, Phase,
    cost::Cost, tier_revision::revision_name,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::server;
use crate::{
    domain::{
        actor::Role,
        api_key::{ApiKey, KeyDigest, KeyFilter, KeyRecord, NewKey},
        audit::{Entry, EntryFilter},
        audit_chain::{Anchor, Link, Seal, Start},
        database::{Database, DatabaseFilter, NewDatabase},
        entity_tag::{EntityTag, EntityTags},
        failure::Failure,
        history::Recorded,
        operation::Kept,
        page::{Page, Position},
        quota::Refusal,
        tier::{Deletion, Tier},
    },
    service::{
        Ports, Service,
        freshness::Freshness,
        ports::{
            Anchors, AuditLog, AuditTrail, AuditedCall, Begun, DatabaseDirectory, Dependency,
            Idempotency, Keys, LiveDatabases, LiveQuotas, LiveTiers, Menu, Moved, Rejections,
            RepeatableRequest, Resources, Revocation, Sealing, StoredAnswer,
        },
    },
    settings::Limits,
    start,
};

/// How long a call to the cluster takes here: long enough to hang up meanwhile.
const CLUSTER_PAUSE: Duration = Duration::from_millis(200);

/// Keys, audit log and cluster.
#[derive(Default)]
struct World {
    audit_fails: Mutex<bool>,
    audit: Mutex<Vec<String>>,
    databases: Mutex<Vec<Database>>,
    answers: Mutex<HashMap<String, StoredAnswer>>,
    replacements: Mutex<usize>,
    limits: Mutex<DaapQuotaSpec>,
}

fn key(role: Role) -> ApiKey {
    ApiKey::from_random(role, &[1; 32])
}

#[async_trait]
impl Keys for World {
    async fn by_digest(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, Failure> {
        let role = Role::ALL
            .into_iter()
            .find(|role| key(*role).digest() == *digest);
        let stored = |role| KeyRecord {
            id: Uuid::nil(),
            name: "test".to_owned(),
            team: "shop".to_owned(),
            role,
            created_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        };
        Ok(role.map(stored))
    }

    async fn insert(&self, _: &ApiKey, _: &NewKey, _: Uuid) -> Result<KeyRecord, Failure> {
        elsewhere()
    }

    async fn find(&self, _: Uuid) -> Result<Option<KeyRecord>, Failure> {
        elsewhere()
    }

    async fn list(
        &self,
        _: &KeyFilter,
        _: Option<Position>,
        _: usize,
    ) -> Result<Page<KeyRecord>, Failure> {
        elsewhere()
    }

    async fn revoke(&self, _: Uuid) -> Result<Revocation, Failure> {
        elsewhere()
    }

    async fn used(&self, _: &[Uuid]) -> Result<(), Failure> {
        elsewhere()
    }
}

/// What only the tests with a real metadata database ask for.
fn elsewhere<T>() -> Result<T, Failure> {
    Err(Failure::internal("not part of this world"))
}

#[async_trait]
impl AuditTrail for World {
    async fn rejected(&self, _: &[Rejections]) -> Result<(), Failure> {
        elsewhere()
    }

    async fn entries(
        &self,
        _: &EntryFilter,
        _: Option<Position>,
        _: usize,
    ) -> Result<Page<Entry>, Failure> {
        elsewhere()
    }

    async fn start(&self) -> Result<Start, Failure> {
        elsewhere()
    }

    async fn head(&self) -> Result<(Link, bool), Failure> {
        elsewhere()
    }

    async fn seals_after(&self, _: i64, _: usize) -> Result<Vec<Seal>, Failure> {
        elsewhere()
    }

    async fn entries_between(&self, _: i64, _: i64) -> Result<Vec<Entry>, Failure> {
        elsewhere()
    }

    async fn count_after(&self, _: i64) -> Result<u64, Failure> {
        elsewhere()
    }

    async fn seal(&self, _: Option<&Anchor>) -> Result<Sealing, Failure> {
        elsewhere()
    }

    async fn complete_interrupted(&self, _: Duration) -> Result<u64, Failure> {
        elsewhere()
    }

    async fn make_months(&self) -> Result<(), Failure> {
        elsewhere()
    }

    async fn expired(&self, _: Timestamp) -> Result<Option<Start>, Failure> {
        elsewhere()
    }

    async fn drop_expired(&self, _: &Start) -> Result<(), Failure> {
        elsewhere()
    }
}

#[async_trait]
impl Anchors for World {
    async fn read(&self) -> Result<Option<(Anchor, String)>, Failure> {
        elsewhere()
    }

    async fn write(&self, _: &Anchor, _: Option<&str>) -> Result<bool, Failure> {
        elsewhere()
    }
}

#[async_trait]
impl AuditLog for World {
    async fn intent(&self, call: &AuditedCall) -> Result<(), Failure> {
        self.audit
            .lock()
            .unwrap()
            .push(format!("intent {}", call.operation));
        Ok(())
    }

    async fn outcome(
        &self,
        call: &AuditedCall,
        status: u16,
        _: Option<&str>,
    ) -> Result<(), Failure> {
        if *self.audit_fails.lock().unwrap() {
            return Err(Failure::unavailable(
                "The metadata database",
                "out of space",
            ));
        }
        self.audit
            .lock()
            .unwrap()
            .push(format!("outcome {} {status}", call.operation));
        Ok(())
    }
}

#[async_trait]
impl DatabaseDirectory for World {
    async fn find(&self, team: Option<&str>, id: Uuid) -> Result<Option<Database>, Failure> {
        let databases = self.databases.lock().unwrap();
        Ok(databases
            .iter()
            .find(|one| one.id == id && team.is_none_or(|team| team == one.owner_team))
            .cloned())
    }

    async fn list(
        &self,
        filter: &DatabaseFilter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page<Database>, Failure> {
        let mut matching = self.databases.lock().unwrap().clone();
        matching.retain(|database| {
            filter
                .owner_team
                .as_ref()
                .is_none_or(|team| *team == database.owner_team)
        });
        Ok(Page::cut(
            matching,
            |one| Position {
                created_at: one.created_at,
                id: one.id,
            },
            after,
            limit,
        ))
    }

    async fn history(&self, _: Uuid, _: Option<i64>, _: usize) -> Result<Vec<Recorded>, Failure> {
        Ok(Vec::new())
    }

    async fn operation(&self, _: Option<&str>, _: &str) -> Result<Option<Kept>, Failure> {
        elsewhere()
    }

    async fn keep(&self, resource: &DaapDatabase) -> Result<(), Failure> {
        let database = Database::from_resource(resource.clone()).unwrap();
        self.databases.lock().unwrap().push(database);
        Ok(())
    }

    async fn age(&self) -> Result<Option<Duration>, Failure> {
        Ok(Some(Duration::ZERO))
    }
}

#[async_trait]
impl Resources for World {
    async fn create_database(
        &self,
        new: &NewDatabase,
        intent: Uuid,
    ) -> Result<DaapDatabase, Failure> {
        assert_eq!(
            *self.audit.lock().unwrap(),
            ["intent createDatabase"],
            "the intent comes before the effect"
        );
        tokio::time::sleep(CLUSTER_PAUSE).await;
        assert_ne!(new.name.as_str(), "panic");
        if new.name.as_str() == "one-too-many" {
            let limits = DaapQuotaSpec {
                databases: Some(3),
                ..DaapQuotaSpec::default()
            };
            let used = Cost {
                databases: 3,
                ..Cost::ZERO
            };
            let one = Cost {
                databases: 1,
                ..Cost::ZERO
            };
            return Err(Failure::quota_exceeded(Refusal {
                tier: new.tier.clone(),
                exceeded: limits.exceeded_by(&used, &one),
            }));
        }
        let mut resource = new.resource(intent);
        resource.metadata.uid = Some(Uuid::from_u128(7).to_string());
        resource.metadata.generation = Some(1);
        resource.metadata.resource_version = Some("7".to_owned());
        resource.metadata.creation_timestamp = Some(
            k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH),
        );
        Ok(resource)
    }

    async fn rehearse_database(&self, _: &NewDatabase) -> Result<DaapDatabase, Failure> {
        unreachable!("tested with a real API server")
    }
}

#[async_trait]
impl Menu for World {
    async fn tiers(&self) -> Result<Vec<Tier>, Failure> {
        let spec = json!({
            "description": "Small.", "postgres": {"major": 17, "image": "postgresql:17"},
            "compute": {"cpu": "1", "memory": "1Gi"}, "storage": {"size": "1Gi"}, "destruction": {"strategy": "Hard"}
        });
        let tier = |name: &str, accepted| {
            let spec: DaapTierSpec = serde_json::from_value(spec.clone()).unwrap();
            Tier {
                name: name.to_owned(),
                tag: Some(EntityTag {
                    generation: 1,
                    resource_version: "7".to_owned(),
                }),
                current_revision: revision_name(name, &spec).ok(),
                spec,
                accepted,
                message: None,
                in_use: 0,
            }
        };
        Ok(vec![tier("broken", false), tier("dev", true)])
    }

    async fn tier(&self, name: &str) -> Result<Option<Tier>, Failure> {
        Ok(self
            .tiers()
            .await?
            .into_iter()
            .find(|tier| tier.name == name))
    }

    async fn keep_tier(&self, _: &DaapTier) -> Result<(), Failure> {
        Ok(())
    }

    async fn forget_tier(&self, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    async fn quota(&self, name: &str) -> Result<Option<DaapQuota>, Failure> {
        LiveQuotas::live(self, name).await
    }

    async fn keep_quota(&self, _: &DaapQuota) -> Result<(), Failure> {
        Ok(())
    }
}

/// Keys are used, and never held by somebody else.
#[async_trait]
impl Idempotency for World {
    async fn begin(&self, request: &RepeatableRequest) -> Result<Begun, Failure> {
        let answers = self.answers.lock().unwrap();
        let known = answers.get(&request.key).cloned();
        Ok(known.map_or(
            Begun::Run {
                intent: request.attempt,
            },
            Begun::Answered,
        ))
    }

    async fn finish(&self, _: Uuid, answer: &StoredAnswer) -> Result<(), Failure> {
        let mut answers = self.answers.lock().unwrap();
        answers.insert("once".to_owned(), answer.clone());
        Ok(())
    }

    async fn release(&self, _: Uuid) -> Result<(), Failure> {
        Ok(())
    }
}

#[async_trait]
impl LiveDatabases for World {
    async fn live(&self, _: &str, _: &str) -> Result<Option<DaapDatabase>, Failure> {
        unreachable!("tested with a real API server")
    }

    async fn template(&self, _: &str) -> Result<Option<DaapTierSpec>, Failure> {
        unreachable!("tested with a real API server")
    }

    async fn replace(
        &self,
        _: &DaapDatabase,
        _: Uuid,
        _: bool,
    ) -> Result<Result<DaapDatabase, Moved>, Failure> {
        unreachable!("tested with a real API server")
    }
}

/// There is one tier, `dev`, which never keeps still, and one object store, `main`.
#[async_trait]
impl LiveTiers for World {
    async fn live(&self, name: &str) -> Result<Option<DaapTier>, Failure> {
        let found = self.tier(name).await?;
        Ok(found.map(|tier| {
            let mut resource = DaapTier::new(&tier.name, tier.spec);
            let verdict = if tier.accepted { "True" } else { "False" };
            let status = json!({"currentRevision": tier.current_revision, "conditions": [{
                "type": "Accepted", "status": verdict, "reason": "Test", "message": "",
                "lastTransitionTime": "2026-01-02T03:04:05Z",
            }]});
            resource.status = serde_json::from_value(status).unwrap();
            resource.metadata.generation = Some(1);
            resource.metadata.resource_version = Some("7".to_owned());
            resource
        }))
    }

    async fn create(&self, tier: &DaapTier, _: Uuid, _: bool) -> Result<DaapTier, Failure> {
        Ok(tier.clone())
    }

    async fn replace(
        &self,
        _: &DaapTier,
        _: Uuid,
        _: bool,
    ) -> Result<Result<DaapTier, Moved>, Failure> {
        *self.replacements.lock().unwrap() += 1;
        Ok(Err(Moved))
    }

    async fn delete(&self, _: &DaapTier, _: bool) -> Result<Result<Deletion, Moved>, Failure> {
        Ok(Err(Moved))
    }

    async fn phases_on(&self, _: &str) -> Result<Vec<Phase>, Failure> {
        Ok(vec![Phase::Ready, Phase::Deleted, Phase::Frozen])
    }

    async fn object_store_exists(&self, name: &str) -> Result<bool, Failure> {
        Ok(name == "main")
    }
}

#[async_trait]
impl LiveQuotas for World {
    async fn live(&self, name: &str) -> Result<Option<DaapQuota>, Failure> {
        let tier = Menu::tier(self, name).await?;
        Ok(tier.map(|tier| {
            let mut quota = DaapQuota::new(name, self.limits.lock().unwrap().clone());
            quota.metadata.generation = Some(1);
            quota.metadata.resource_version = Some("7".to_owned());
            quota.status = Some(DaapQuotaStatus {
                allocated: Cost::of(&tier.spec).unwrap(),
                ..DaapQuotaStatus::default()
            });
            quota
        }))
    }

    async fn set(
        &self,
        name: &str,
        limits: &DaapQuotaSpec,
        _: Option<&EntityTags>,
        _: Uuid,
    ) -> Result<DaapQuota, Failure> {
        *self.limits.lock().unwrap() = limits.clone();
        let quota = LiveQuotas::live(self, name).await?;
        quota.ok_or_else(|| Failure::not_found("quota"))
    }
}

#[async_trait]
impl Dependency for World {
    fn name(&self) -> &'static str {
        "world"
    }

    async fn check(&self) -> Result<(), Failure> {
        Ok(())
    }
}

fn heard_now() -> Arc<Freshness> {
    let freshness = Freshness::default();
    freshness.set(Some(Duration::ZERO));
    Arc::new(freshness)
}

/// A server over the world, with short deadlines.
struct Server {
    address: SocketAddr,
    world: Arc<World>,
    shutdown: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let world = Arc::new(World::default());
        let service = Service::new(Ports {
            keys: world.clone(),
            directory: world.clone(),
            menu: world.clone(),
            freshness: heard_now(),
            resources: world.clone(),
            live_databases: world.clone(),
            live_tiers: world.clone(),
            audit_trail: world.clone(),
            anchors: world.clone(),
            live_quotas: world.clone(),
            dependencies: vec![world.clone()],
        })
        .unwrap();
        let limits = Limits {
            header_timeout_seconds: 0.3,
            body_timeout_seconds: 0.3,
            idle_timeout_seconds: 0.6,
            drain_timeout_seconds: 3.0,
            ..Limits::default()
        };
        let context = start::context(
            Arc::new(service),
            world.clone(),
            world.clone(),
            None,
            &limits,
        )
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let ended = tokio::spawn(server::run(listener, context, shutdown.clone()));
        Self {
            address,
            world,
            shutdown,
            ended,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes as they are and reads one answer.
    async fn send(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read_answer(&mut stream).await
    }

    async fn request(&self, line: &str, headers: &str, body: &str) -> Answer {
        self.send(request(line, headers, body).as_bytes()).await
    }

    async fn post(&self, role: Role, body: &str) -> Answer {
        let headers = format!(
            "Authorization: Bearer {}\r\nContent-Type: application/json\r\n",
            key(role).reveal()
        );
        self.request("POST /databases", &headers, body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.request(
            &format!("GET {path}"),
            &format!("Authorization: Bearer {}\r\n", key(Role::Product).reveal()),
            "",
        )
        .await
    }
}

fn request(line: &str, headers: &str, body: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: daap\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

struct Answer {
    status: u16,
    headers: String,
    body: Value,
}

impl Answer {
    /// Its code, after making sure that it is a whole problem document.
    fn problem(&self) -> &str {
        assert!(
            self.headers
                .contains("content-type: application/problem+json"),
            "{}",
            self.headers
        );
        assert_eq!(self.body["status"], self.status);
        assert!(self.headers.contains(&format!(
            "x-request-id: {}",
            self.body["request_id"].as_str().unwrap()
        )));
        assert_eq!(
            self.body["type"],
            format!("/problems/{}", self.body["code"].as_str().unwrap())
        );
        self.body["code"].as_str().unwrap()
    }

    fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        errors
            .iter()
            .filter_map(|error| error["pointer"].as_str())
            .collect()
    }
}

async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let header_end = loop {
        if let Some(position) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break position + 4;
        }
        assert_ne!(
            stream.read_buf(&mut bytes).await.unwrap(),
            0,
            "closed without an answer"
        );
    };
    let headers = String::from_utf8(bytes[..header_end].to_vec())
        .unwrap()
        .to_lowercase();
    // A 304 has no body, and no length of one.
    let length = headers
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.lines().next())
        .map_or(0, |length| length.parse::<usize>().unwrap());
    while bytes.len() < header_end + length {
        assert_ne!(
            stream.read_buf(&mut bytes).await.unwrap(),
            0,
            "closed within an answer"
        );
    }
    let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        headers,
        body: serde_json::from_slice(&bytes[header_end..]).unwrap_or_default(),
    }
}

#[tokio::test]
async fn every_refusal_is_a_problem_document() {
    let server = Server::start().await;
    let refused = async |line: &str, headers: &str, body: &str| {
        let answer = server.request(line, headers, body).await;
        (answer.status, answer.problem().to_owned())
    };
    let is = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(refused("GET /nowhere", "", "").await, is(404, "not-found"));
    assert_eq!(
        refused("PUT /databases", "", "").await,
        is(405, "method-not-allowed")
    );
    assert_eq!(
        refused("GET /databases", "", "").await,
        is(401, "unauthenticated")
    );
    assert_eq!(
        refused("GET /databases", "Authorization: Bearer daap_t_x\r\n", "").await,
        is(401, "unauthenticated")
    );

    let with_key = format!("Authorization: Bearer {}\r\n", key(Role::Product).reveal());
    let xml = format!("{with_key}Content-Type: application/xml\r\n");
    let json = format!("{with_key}Content-Type: application/json\r\n");
    assert_eq!(
        refused("POST /databases", &xml, "<a/>").await,
        is(415, "unsupported-media-type")
    );
    assert_eq!(
        refused("POST /databases", &with_key, "{}").await,
        is(415, "unsupported-media-type")
    );
    assert_eq!(
        refused("POST /databases", &json, "{").await,
        is(400, "malformed-body")
    );
    assert_eq!(
        refused("GET /databases?sort=name", &with_key, "").await,
        is(400, "invalid-parameter")
    );
    for bad in [
        "limit=0",
        "limit=201",
        "limit=x",
        "status=gone",
        "cursor=00",
        "tier=A",
    ] {
        assert_eq!(
            refused(&format!("GET /databases?{bad}"), &with_key, "").await,
            is(400, "invalid-parameter"),
            "{bad}"
        );
    }
    assert_eq!(
        refused(&format!("GET /databases/{}", Uuid::nil()), &with_key, "").await,
        is(404, "not-found")
    );
    assert_eq!(
        refused("GET /databases/no-id", &with_key, "").await,
        is(404, "not-found")
    );
    assert_eq!(
        refused("GET /tiers/absent", &with_key, "").await,
        is(404, "not-found")
    );

    let wrong_method = server.request("DELETE /tiers", "", "").await;
    assert!(
        wrong_method.headers.contains("allow: get, post\r\n"),
        "{}",
        wrong_method.headers
    );
    let unauthenticated = server
        .request("GET /tiers", "X-Request-Id: mine-1\r\n", "")
        .await;
    assert!(unauthenticated.headers.contains("www-authenticate: bearer"));
    assert!(unauthenticated.headers.contains("x-request-id: mine-1\r\n"));
}

/// Also what never becomes a request, whatever came before it on the connection.
#[tokio::test]
async fn what_is_no_request_is_told_so() {
    let server = Server::start().await;
    let many = "X-Filler: 1\r\n".repeat(101);
    // Without an end, so that the server leaves nothing unread, for which the connection would be reset.
    let large = format!(
        "GET /health HTTP/1.1\r\nX-Filler: {}",
        "x".repeat(50 * 1024)
    );
    for (bytes, status, code) in [
        (request("GET /health", &many, ""), 431, "header-too-large"),
        (large, 431, "header-too-large"),
        (
            request("GET /health", "no header\r\n", ""),
            400,
            "malformed-request",
        ),
        ("hello\r\n\r\n".to_owned(), 400, "malformed-request"),
    ] {
        let first = server.send(bytes.as_bytes()).await;
        assert_eq!((first.status, first.problem()), (status, code));
        let mut stream = server.connect().await;
        let good = request("GET /health", "", "");
        stream.write_all(good.as_bytes()).await.unwrap();
        assert_eq!(read_answer(&mut stream).await.status, 200);
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let later = read_answer(&mut stream).await;
        assert_eq!((later.status, later.problem()), (status, code));
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest).await;
        assert!(end.is_err() || rest.is_empty(), "{rest:?}");
    }
}

#[tokio::test]
async fn oversized_bodies_are_refused_however_they_come() {
    let server = Server::start().await;
    let headers = format!(
        "Authorization: Bearer {}\r\nContent-Type: application/json\r\n",
        key(Role::Product).reveal()
    );
    let large = "x".repeat(super::upload::MAX_BODY + 1);
    let declared = server.request("POST /databases", &headers, &large).await;
    assert_eq!(
        (declared.status, declared.problem()),
        (413, "body-too-large")
    );

    let mut chunked = format!(
        "POST /databases HTTP/1.1\r\nHost: daap\r\n{headers}Transfer-Encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for chunk in large.as_bytes().chunks(64 * 1024) {
        chunked.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        chunked.extend(chunk);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    let undeclared = server.send(&chunked).await;
    assert_eq!(
        (undeclared.status, undeclared.problem()),
        (413, "body-too-large")
    );
}

#[tokio::test]
async fn a_database_is_created_and_found_again() {
    let server = Server::start().await;
    let created = server
        .post(
            Role::Product,
            r#"{"name": "orders", "tier": "dev", "purpose": "Orders."}"#,
        )
        .await;
    assert_eq!(created.status, 201, "{}", created.body);
    assert!(created.headers.contains("cache-control: no-store"));
    let id = created.body["id"].as_str().unwrap();
    assert!(
        created
            .headers
            .contains(&format!("location: /databases/{id}\r\n"))
    );
    assert_eq!(created.body["owner_team"], "shop");
    assert_eq!(created.body["status"], "provisioning");
    assert_eq!(
        server.get(&format!("/databases/{id}")).await.body,
        created.body
    );
    assert_eq!(
        server.get("/databases").await.body,
        json!({"items": [created.body]})
    );
    assert_eq!(
        server.get("/databases?owner_team=other").await.body,
        json!({"items": []})
    );
    let audit = server.world.audit.lock().unwrap().clone();
    assert_eq!(
        audit[..2],
        ["intent createDatabase", "outcome createDatabase 201"]
    );
}

#[tokio::test]
async fn what_the_caller_has_already_is_not_sent_again() {
    let server = Server::start().await;
    let get = async |condition: &str| {
        let key = key(Role::Product);
        let headers = format!("Authorization: Bearer {}\r\n{condition}", key.reveal());
        server.request("GET /tiers/dev", &headers, "").await
    };
    let first = get("").await;
    assert_eq!(first.status, 200);
    assert!(
        first.headers.contains("etag: \"1-7\"\r\n"),
        "{}",
        first.headers
    );
    let same = get("If-None-Match: \"1-7\"\r\n").await;
    assert_eq!((same.status, same.body), (304, Value::Null));
    assert!(
        same.headers.contains("etag: \"1-7\"\r\n"),
        "{}",
        same.headers
    );
    assert_eq!(get("If-None-Match: \"1-6\"\r\n").await.status, 200);
    let unquoted = get("If-None-Match: 1-7\r\n").await;
    assert_eq!(
        (unquoted.status, unquoted.problem()),
        (400, "invalid-parameter")
    );
    assert_eq!(unquoted.pointers(), ["If-None-Match"]);
}

#[tokio::test]
async fn mistakes_are_told_by_field() {
    let server = Server::start().await;
    let bad_values = server
        .post(
            Role::Product,
            r#"{"name": "Orders", "tier": "dev", "owner_team": "shop"}"#,
        )
        .await;
    assert_eq!(
        (bad_values.status, bad_values.pointers()),
        (422, vec!["/name"])
    );
    let bad_shape = server
        .post(Role::Product, r#"{"name": "orders", "size": 3}"#)
        .await;
    assert_eq!(bad_shape.status, 400);
    assert_eq!(bad_shape.pointers().len(), 2, "{}", bad_shape.body);
    let no_owner = server
        .post(Role::Platform, r#"{"name": "orders", "tier": "dev"}"#)
        .await;
    assert_eq!(
        (no_owner.status, no_owner.pointers()),
        (422, vec!["/owner_team"])
    );
    let reserved = server
        .post(Role::Product, r#"{"name": "orders-pooler", "tier": "dev"}"#)
        .await;
    assert_eq!((reserved.status, reserved.pointers()), (422, vec!["/name"]));
    for tier in ["absent", "broken"] {
        let answer = server
            .post(
                Role::Product,
                &format!(r#"{{"name": "orders", "tier": "{tier}"}}"#),
            )
            .await;
        assert_eq!((answer.status, answer.pointers()), (422, vec!["/tier"]));
        assert!(
            answer.body["errors"][0]["detail"]
                .as_str()
                .unwrap()
                .ends_with("available: dev")
        );
    }
    let foreign = server
        .post(
            Role::Product,
            r#"{"name": "orders", "tier": "dev", "owner_team": "other"}"#,
        )
        .await;
    assert_eq!((foreign.status, foreign.problem()), (403, "forbidden"));
}

/// What a tier is made of, all of it within the rules.
fn new_tier() -> Value {
    json!({
        "name": "standard", "description": "For most.", "definition": {
            "postgres": {"major": 17, "image": "postgresql:17"},
            "compute": {"cpu": "1", "memory": "1Gi"}, "storage": {"size": "1Gi"},
            "backup": {"schedule": "0 3 * * *", "retention": "7d", "object_store": "main"},
            "destruction": {"strategy": "archive"},
        }
    })
}

#[tokio::test]
async fn a_tier_that_breaks_a_rule_is_refused_by_field() {
    let server = Server::start().await;
    let post = async |role: Role, tier: &Value| {
        let key = key(role);
        let headers = format!(
            "Authorization: Bearer {}\r\nContent-Type: application/json\r\n",
            key.reveal()
        );
        server
            .request("POST /tiers", &headers, &tier.to_string())
            .await
    };
    let created = post(Role::Platform, &new_tier()).await;
    assert_eq!(created.status, 201, "{}", created.body);
    assert!(created.headers.contains("location: /tiers/standard\r\n"));
    assert_eq!(
        created.body["definition"]["backup"]["archive_timeout"],
        "5min"
    );
    let product = post(Role::Product, &new_tier()).await;
    assert_eq!((product.status, product.problem()), (403, "forbidden"));
    for (pointer, value, status, told) in [
        // The shape.
        (
            "/definition/storage/walSize",
            json!("1Gi"),
            400,
            "/definition/storage/walSize",
        ),
        (
            "/definition/compute/cpu",
            json!(1),
            400,
            "/definition/compute/cpu",
        ),
        // The contract.
        (
            "/definition/compute/cpu",
            json!("1.5"),
            422,
            "/definition/compute/cpu",
        ),
        ("/name", json!("Standard"), 422, "/name"),
        // The schema and the CEL rules of the resource.
        (
            "/definition/postgres/parameters",
            json!({"ssl": "off"}),
            422,
            "/definition/postgres/parameters",
        ),
        (
            "/definition/postgres/catalog",
            json!("blessed"),
            422,
            "/definition/postgres",
        ),
        (
            "/definition/postgres/image",
            json!("postgresql:16"),
            422,
            "/definition/postgres/image",
        ),
        (
            "/definition/backup",
            Value::Null,
            422,
            "/definition/destruction/strategy",
        ),
        (
            "/definition/availability",
            json!({"synchronous": {"number": 1}}),
            422,
            "/definition/availability/synchronous",
        ),
        // What the controller would not accept.
        ("/definition/backup/retention", json!("1d"), 201, ""),
        ("/definition/backup/schedule", json!("0 3 * * 1-5"), 201, ""),
        (
            "/definition/backup/schedule",
            json!("0 3 1 * *"),
            422,
            "/definition/backup/retention",
        ),
        (
            "/definition/backup/schedule",
            json!("61 3 * * *"),
            422,
            "/definition/backup/schedule",
        ),
        (
            "/definition/backup/object_store",
            json!("other"),
            422,
            "/definition/backup/object_store",
        ),
        (
            "/definition/postgres/parameters",
            json!({"shared_buffers": "64GB"}),
            422,
            "/definition/compute/memory",
        ),
    ] {
        let mut tier = new_tier();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = if parent.is_empty() {
            &mut tier
        } else {
            tier.pointer_mut(parent).unwrap()
        };
        parent[name] = value.clone();
        let answer = post(Role::Platform, &tier).await;
        assert_eq!(answer.status, status, "{pointer} {value}: {}", answer.body);
        if status != 201 {
            assert_eq!(
                answer.pointers(),
                [told],
                "{pointer} {value}: {}",
                answer.body
            );
            answer.problem();
        }
    }
}

#[tokio::test]
async fn a_tier_is_changed_as_asked_or_not_at_all() {
    let server = Server::start().await;
    let send = async |line: &str, condition: &str, body: &str| {
        let key = key(Role::Platform);
        let headers = format!(
            "Authorization: Bearer {}\r\nContent-Type: application/merge-patch+json\r\n{condition}",
            key.reveal()
        );
        server.request(line, &headers, body).await
    };
    let same = send("PATCH /tiers/dev", "", r#"{"description": "Small."}"#).await;
    assert_eq!(
        (same.status, &same.body["description"]),
        (200, &json!("Small."))
    );
    assert_eq!(
        *server.world.replacements.lock().unwrap(),
        0,
        "no change, no write"
    );
    let changed = r#"{"description": "Smaller."}"#;
    let stale = send("PATCH /tiers/dev", "If-Match: \"2-7\"\r\n", changed).await;
    assert_eq!(
        (stale.status, stale.problem()),
        (412, "precondition-failed")
    );
    assert_eq!(*server.world.replacements.lock().unwrap(), 0);
    let restless = send("PATCH /tiers/dev", "If-Match: \"1-3\"\r\n", changed).await;
    assert_eq!((restless.status, restless.problem()), (503, "unavailable"));
    assert!(
        *server.world.replacements.lock().unwrap() > 1,
        "it was tried again"
    );
    let unknown = send("PATCH /tiers/absent", "", changed).await;
    assert_eq!((unknown.status, unknown.problem()), (404, "not-found"));

    let used = send("DELETE /tiers/dev", "", "").await;
    assert_eq!((used.status, used.problem()), (409, "tier-in-use"));
    assert_eq!(
        used.body["databases"],
        json!([{"status": "ready", "count": 1}, {"status": "frozen", "count": 1}])
    );
}

#[tokio::test]
async fn what_cannot_be_audited_is_not_answered() {
    let server = Server::start().await;
    *server.world.audit_fails.lock().unwrap() = true;
    let answer = server.get("/tiers").await;
    assert_eq!((answer.status, answer.problem()), (503, "unavailable"));
    assert!(answer.headers.contains("retry-after: "));
    assert!(!answer.body.to_string().contains("space"));
}

#[tokio::test]
async fn a_creation_finishes_when_its_client_hangs_up() {
    let server = Server::start().await;
    let headers = format!(
        "Authorization: Bearer {}\r\nContent-Type: application/json\r\n",
        key(Role::Product).reveal()
    );
    let mut stream = server.connect().await;
    stream
        .write_all(
            request(
                "POST /databases",
                &headers,
                r#"{"name": "orders", "tier": "dev"}"#,
            )
            .as_bytes(),
        )
        .await
        .unwrap();
    tokio::time::sleep(CLUSTER_PAUSE / 2).await;
    drop(stream);
    tokio::time::sleep(CLUSTER_PAUSE * 2).await;
    assert_eq!(
        *server.world.audit.lock().unwrap(),
        ["intent createDatabase", "outcome createDatabase 201"]
    );
}

#[tokio::test]
async fn a_panic_ends_one_request_only() {
    let server = Server::start().await;
    let answer = server
        .post(Role::Product, r#"{"name": "panic", "tier": "dev"}"#)
        .await;
    assert_eq!((answer.status, answer.problem()), (500, "internal"));
    assert_eq!(server.get("/tiers").await.status, 200);
}

/// How long the server keeps a connection after these bytes.
async fn time_until_closed(server: &Server, bytes: &[u8]) -> Duration {
    let begin = Instant::now();
    let mut stream = server.connect().await;
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // An error closes as well as an end does.
    let _ = stream.read_to_end(&mut answer).await;
    begin.elapsed()
}

#[tokio::test]
async fn slow_and_idle_clients_are_let_go() {
    let server = Server::start().await;
    let within = async |name: &str, bytes: &[u8], least: u64, most: u64| {
        let time = time_until_closed(&server, bytes).await;
        assert!(
            time >= Duration::from_millis(least) && time < Duration::from_millis(most),
            "{name}: {time:?}"
        );
    };
    within("silent", b"", 250, 2500).await;
    within("half a line", b"GET /hea", 250, 2500).await;
    within(
        "half a header",
        b"GET /health HTTP/1.1\r\nHost: da",
        250,
        2500,
    )
    .await;
    within("idle", request("GET /health", "", "").as_bytes(), 250, 2500).await;
}

#[tokio::test]
async fn a_slow_body_is_answered() {
    let server = Server::start().await;
    let headers = format!(
        "Authorization: Bearer {}\r\nContent-Type: application/json\r\n",
        key(Role::Product).reveal()
    );
    let answer = server
        .send(
            format!(
                "POST /databases HTTP/1.1\r\nHost: daap\r\n{headers}Content-Length: 9\r\n\r\n{{"
            )
            .as_bytes(),
        )
        .await;
    assert_eq!((answer.status, answer.problem()), (408, "body-timeout"));
}

#[tokio::test]
async fn a_shutdown_waits_for_what_is_under_way() {
    let server = Server::start().await;
    let idle = server.connect().await;
    let headers = format!(
        "Authorization: Bearer {}\r\nContent-Type: application/json\r\n",
        key(Role::Product).reveal()
    );
    let mut stream = server.connect().await;
    stream
        .write_all(
            request(
                "POST /databases",
                &headers,
                r#"{"name": "orders", "tier": "dev"}"#,
            )
            .as_bytes(),
        )
        .await
        .unwrap();
    tokio::time::sleep(CLUSTER_PAUSE / 2).await;
    server.shutdown.cancel();
    assert_eq!(read_answer(&mut stream).await.status, 201);
    tokio::time::timeout(Duration::from_secs(2), server.ended)
        .await
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
    drop(idle);
}

#[tokio::test]
async fn the_open_operations_need_no_key() {
    let server = Server::start().await;
    assert_eq!(
        server.request("GET /health", "", "").await.body,
        json!({"status": "ok"})
    );
    let ready = server.request("GET /ready", "", "").await;
    assert_eq!(
        ready.body,
        json!({"status": "ready", "dependencies": [{"name": "world", "status": "ready"}]})
    );
    let contract = server.request("GET /openapi.json", "", "").await;
    assert_eq!(
        contract.body,
        serde_json::from_str::<Value>(&crate::contract().unwrap()).unwrap()
    );
    assert_eq!(server.request("GET /metrics", "", "").await.status, 200);
    assert_eq!(server.request("GET /docs", "", "").await.status, 200);
    assert!(
        server.world.audit.lock().unwrap().is_empty(),
        "the open operations are not audited"
    );
}

/// What is logged, as one reads it in production.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// The lines with this message.
    fn with_message(&self, message: &str) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .filter(|line: &Value| line["message"] == message)
            .collect()
    }
}

#[tokio::test]
async fn each_request_is_one_line_in_the_log_and_a_step_in_its_trace() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let server = Server::start().await;
    let headers = format!(
        "Authorization: Bearer {}\r\nX-Request-Id: mine-1\r\ntraceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n",
        key(Role::Product).reveal()
    );
    let answer = server
        .request("GET /databases?tier=dev", &headers, "")
        .await;
    assert!(
        answer
            .headers
            .contains(&format!("traceparent: 00-{TRACE}-")),
        "{}",
        answer.headers
    );
    *server.world.audit_fails.lock().unwrap() = true;
    assert_eq!(server.request("GET /tiers", &headers, "").await.status, 503);
    server.request("GET /health", "", "").await;

    let answered = lines.with_message("answered");
    assert_eq!(
        answered.len(),
        2,
        "each request once, and probes not at all"
    );
    let line = &answered[0];
    assert_eq!(line["http.operation"], "listDatabases");
    assert_eq!(line["http.path"], "/databases");
    assert_eq!(line["http.status"], 200);
    assert_eq!(line["request.id"], "mine-1");
    assert_eq!(line["trace.id"], TRACE);
    assert_eq!(line["span.parent_id"], "00f067aa0ba902b7");
    assert_eq!(line["key.team"], "shop");
    assert!(line["http.duration_ms"].is_number() && line["key.id"].is_string());
    let failed = lines.with_message("a request failed");
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0]["trace.id"], TRACE);
    assert_eq!(failed[0]["problem.code"], "unavailable");
    let all = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(
        !all.contains(&key(Role::Product).reveal()[10..]),
        "no key is logged"
    );
}

#[tokio::test]
async fn a_refusal_of_the_quota_tells_its_numbers() {
    let server = Server::start().await;
    let refused = server
        .post(Role::Product, r#"{"name": "one-too-many", "tier": "dev"}"#)
        .await;
    assert_eq!((refused.status, refused.problem()), (422, "quota-exceeded"));
    assert_eq!(refused.body["tier"], "dev");
    assert_eq!(
        refused.body["exceeded"],
        json!([{"resource": "max_databases", "limit": 3, "used": 3, "requested": 1, "remaining": 0}])
    );
}

#[tokio::test]
async fn a_quota_is_seen_by_all_and_set_by_the_platform() {
    let server = Server::start().await;
    let put = async |role: Role, body: &str| {
        let headers = format!(
            "Authorization: Bearer {}\r\nContent-Type: application/json\r\n",
            key(role).reveal()
        );
        server.request("PUT /tiers/dev/quota", &headers, body).await
    };
    let body = r#"{"max_databases": 0, "cpu_cores": 1.5, "memory_gib": 0.5}"#;
    assert_eq!(put(Role::Product, body).await.problem(), "forbidden");
    let set = put(Role::Platform, body).await;
    assert_eq!(set.status, 200, "{}", set.body);
    let message = set.body["message"].as_str().unwrap();
    assert!(
        message.contains("max_databases 1 of 0, memory_gib 1 of 0.5."),
        "{message}"
    );
    let seen = server.get("/tiers/dev/quota").await;
    assert_eq!(seen.body, set.body);
    assert_eq!(
        seen.body["limits"],
        json!({"max_databases": 0, "cpu_cores": 1.5, "memory_gib": 0.5})
    );
    assert_eq!(
        seen.body["allocated"],
        json!({"max_databases": 1, "cpu_cores": 1, "memory_gib": 1, "storage_gib": 1})
    );
    assert_eq!(
        seen.body["remaining"],
        json!({"max_databases": 0, "cpu_cores": 0.5, "memory_gib": 0})
    );
    assert_eq!(seen.body["additional_databases"], 0);
    let tag = seen
        .headers
        .lines()
        .find_map(|line| line.strip_prefix("etag: "));
    let headers = format!(
        "Authorization: Bearer {}\r\nIf-None-Match: {}\r\n",
        key(Role::Product).reveal(),
        tag.expect("a tag"),
    );
    let polled = server.request("GET /tiers/dev/quota", &headers, "").await;
    assert_eq!(polled.status, 304, "{}", polled.body);
    assert_eq!(server.get("/tiers/none/quota").await.status, 404);

    let bad = put(
        Role::Platform,
        r#"{"max_databases": -1, "cpu_cores": 0.0001, "memory_gib": 0.1}"#,
    )
    .await;
    assert_eq!(bad.problem(), "invalid-fields");
    assert_eq!(
        bad.pointers(),
        ["/cpu_cores", "/max_databases", "/memory_gib"]
    );
    let unlimited = put(Role::Platform, "{}").await;
    assert_eq!(unlimited.body["limits"], json!({}));
    assert!(unlimited.body.get("additional_databases").is_none());
}
