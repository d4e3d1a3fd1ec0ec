//! The operations about API keys.

use std::sync::Arc;

use jiff::Timestamp;
use poem::web::Data;
use poem_openapi::{
    ApiResponse, Enum, Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};
use uuid::Uuid;

use super::{Group, body::Body, caller::Caller, date_time::DateTime, list, problem::problems};
use crate::{
    domain::{
        actor::Role,
        api_key::{KeyFilter, KeyRecord},
    },
    service::{Service, keys::CreateKey},
};

/// The operations about API keys.
pub struct Keys;

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "kebab-case")]
pub enum KeyRole {
    /// Rules tiers, quotas and keys, and sees every database.
    PlatformTeam,
    /// Owns databases.
    ProductTeam,
}

/// Whether a key works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum KeyStatus {
    /// It does.
    Active,
    /// Its time is over.
    Expired,
    /// Somebody ended it.
    Revoked,
}

/// An API key to be made.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct NewApiKey {
    /// What people call the key, such as what it is used for.
    #[oai(validator(min_length = 1, max_length = 100))]
    pub name: String,
    /// The team that the key speaks for. Lower-case letters, digits and '-'; it starts with a letter.
    #[oai(validator(
        min_length = 1,
        max_length = 40,
        pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
    ))]
    pub team: String,
    /// What the key may do.
    pub role: KeyRole,
    /// When the key stops working, in the future. Absent: when it is revoked.
    pub expires_at: Option<DateTime>,
}

/// An API key. The key itself is not part of it.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct ApiKey {
    /// Identifies the key, also in the audit log.
    id: Uuid,
    /// What people call the key.
    #[oai(validator(max_length = 100))]
    name: String,
    /// The team that the key speaks for.
    #[oai(validator(max_length = 40))]
    team: String,
    /// What the key may do.
    role: KeyRole,
    /// Whether the key works.
    status: KeyStatus,
    /// When the key was made.
    created_at: DateTime,
    /// When the key stops working. Absent: when it is revoked.
    expires_at: Option<DateTime>,
    /// When the key was revoked.
    revoked_at: Option<DateTime>,
    /// When the key was used last, an hour more or less. Absent: never.
    last_used_at: Option<DateTime>,
}

/// A key that was just made.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct CreatedApiKey {
    /// Identifies the key, also in the audit log.
    id: Uuid,
    /// The key itself. Keep it now: it is never shown again. Absent in the answer to a repeated request.
    #[oai(validator(max_length = 100))]
    key: Option<String>,
    /// What people call the key.
    #[oai(validator(max_length = 100))]
    name: String,
    /// The team that the key speaks for.
    #[oai(validator(max_length = 40))]
    team: String,
    /// What the key may do.
    role: KeyRole,
    /// When the key was made.
    created_at: DateTime,
    /// When the key stops working. Absent: when it is revoked.
    expires_at: Option<DateTime>,
}

/// A slice of the keys.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct ApiKeyList {
    /// The keys, in the order in which they were made.
    #[oai(validator(max_items = 200))]
    items: Vec<ApiKey>,
    /// Ask for the next slice with this cursor. Absent when there are no more.
    #[oai(validator(max_length = 200))]
    next_cursor: Option<String>,
}

/// Who the caller is.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Identity {
    /// The id of the key.
    key_id: Uuid,
    /// What people call the key.
    #[oai(validator(max_length = 100))]
    name: String,
    /// The team that the key speaks for.
    #[oai(validator(max_length = 40))]
    team: String,
    /// What the key may do.
    role: KeyRole,
    /// When the key stops working. Absent: when it is revoked.
    expires_at: Option<DateTime>,
    /// The operations of this contract, by id, that the key may use, on what its team owns.
    #[oai(validator(max_items = 200))]
    actions: Vec<String>,
}

/// A made key.
#[derive(ApiResponse)]
pub enum Created {
    /// The key works from now on.
    #[oai(status = 201)]
    Key(
        Json<CreatedApiKey>,
        /// The path of the key.
        #[oai(header = "Location")]
        String,
    ),
}

/// A found key.
#[derive(ApiResponse)]
pub enum Found {
    /// The key.
    #[oai(status = 200)]
    Key(Json<ApiKey>),
}

/// Found keys.
#[derive(ApiResponse)]
pub enum Listed {
    /// A slice of the keys.
    #[oai(status = 200)]
    Keys(Json<ApiKeyList>),
}

/// A revoked key.
#[derive(ApiResponse)]
pub enum Revoked {
    /// The key does not work any more.
    #[oai(status = 204)]
    Done,
}

/// Who the caller is.
#[derive(ApiResponse)]
pub enum Identified {
    /// The key, and what it may do.
    #[oai(status = 200)]
    Caller(Json<Identity>),
}

problems! {
    /// How making a key fails.
    CreateProblem: 400 401 403 408 413 415 422 500 503
}
problems! {
    /// How listing keys fails.
    ListProblem: 400 401 403 500 503
}
problems! {
    /// How reading a key fails.
    GetProblem: 400 401 403 404 500 503
}
problems! {
    /// How revoking a key fails.
    RevokeProblem: 400 401 403 404 409 500 503
}
problems! {
    /// How telling who the caller is fails.
    IdentityProblem: 400 401 500 503
}

#[OpenApi(tag = "Group::ApiKeys")]
impl Keys {
    /// Create an API key
    ///
    /// Makes a key for a team. The answer is the only time that the key itself is shown; what is kept of it cannot be
    /// turned back into it. Only platform teams may do this.
    #[oai(path = "/api-keys", method = "post", operation_id = "createApiKey")]
    async fn create(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        body: Body<NewApiKey>,
    ) -> Result<Created, CreateProblem> {
        let Body(NewApiKey {
            name,
            team,
            role,
            expires_at,
        }) = body;
        let asked = CreateKey {
            name,
            team,
            role: role.into(),
            expires_at: expires_at.map(|time| time.0),
        };
        let (record, key) = service.create_key(asked, caller.intent).await?;
        let location = format!("/api-keys/{}", record.id);
        let created = CreatedApiKey {
            id: record.id,
            key: Some(key.reveal().to_owned()),
            name: record.name,
            team: record.team,
            role: record.role.into(),
            created_at: DateTime(record.created_at),
            expires_at: record.expires_at.map(DateTime),
        };
        Ok(Created::Key(Json(created), location))
    }

    /// List API keys
    ///
    /// Lists the keys of every team in the order in which they were made, those that do not work any more included.
    /// Only platform teams may do this.
    #[oai(path = "/api-keys", method = "get", operation_id = "listApiKeys")]
    async fn list(
        &self,
        _caller: Caller,
        service: Data<&Arc<Service>>,
        /// How many keys at once.
        #[oai(
            validator(minimum(value = "1"), maximum(value = "200")),
            default = "list::default_limit"
        )]
        limit: Query<u32>,
        /// The cursor of the slice before, with the same filters.
        #[oai(validator(max_length = 200, pattern = "^[0-9a-f]*$"))]
        cursor: Query<Option<String>>,
        /// Only keys of this team.
        #[oai(validator(max_length = 40, pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
        team: Query<Option<String>>,
        /// Only keys of this role.
        role: Query<Option<KeyRole>>,
    ) -> Result<Listed, ListProblem> {
        let filter = KeyFilter {
            team: team.0,
            role: role.0.map(Into::into),
        };
        let slice = service.keys(list::ask(filter, limit, cursor)).await?;
        let now = Timestamp::now();
        let items = slice
            .items
            .into_iter()
            .map(|record| ApiKey::at(now, record))
            .collect();
        Ok(Listed::Keys(Json(ApiKeyList {
            items,
            next_cursor: slice.next_cursor,
        })))
    }

    /// Get an API key
    ///
    /// Shows one key, without the key itself. Only platform teams may do this.
    #[oai(path = "/api-keys/:id", method = "get", operation_id = "getApiKey")]
    async fn get(
        &self,
        _caller: Caller,
        service: Data<&Arc<Service>>,
        /// The id of the key.
        #[oai(validator(max_length = 64))]
        id: Path<String>,
    ) -> Result<Found, GetProblem> {
        let record = service.key(&id.0).await?;
        Ok(Found::Key(Json(ApiKey::at(Timestamp::now(), record))))
    }

    /// Revoke an API key
    ///
    /// Ends a key at once. It stays on record, and revoking it again changes nothing. The last platform key that works
    /// cannot be revoked. Only platform teams may do this.
    #[oai(
        path = "/api-keys/:id",
        method = "delete",
        operation_id = "revokeApiKey"
    )]
    async fn revoke(
        &self,
        _caller: Caller,
        service: Data<&Arc<Service>>,
        /// The id of the key.
        #[oai(validator(max_length = 64))]
        id: Path<String>,
    ) -> Result<Revoked, RevokeProblem> {
        service.revoke_key(&id.0).await?;
        Ok(Revoked::Done)
    }

    /// Who am I?
    ///
    /// Shows the key that the request was sent with, and what it may do.
    #[oai(path = "/me", method = "get", operation_id = "getIdentity")]
    async fn identity(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
    ) -> Result<Identified, IdentityProblem> {
        let identity = service.identity(&caller.actor).await?;
        Ok(Identified::Caller(Json(Identity {
            key_id: identity.key.id,
            name: identity.key.name,
            team: identity.key.team,
            role: identity.key.role.into(),
            expires_at: identity.key.expires_at.map(DateTime),
            actions: identity.actions.into_iter().map(str::to_owned).collect(),
        })))
    }
}

impl ApiKey {
    /// The record as it is at this instant.
    fn at(now: Timestamp, record: KeyRecord) -> Self {
        let status = match (record.revoked_at, record.works(now)) {
            (Some(_), _) => KeyStatus::Revoked,
            (None, true) => KeyStatus::Active,
            (None, false) => KeyStatus::Expired,
        };
        Self {
            id: record.id,
            name: record.name,
            team: record.team,
            role: record.role.into(),
            status,
            created_at: DateTime(record.created_at),
            expires_at: record.expires_at.map(DateTime),
            revoked_at: record.revoked_at.map(DateTime),
            last_used_at: record.last_used_at.map(DateTime),
        }
    }
}

impl From<KeyRole> for Role {
    fn from(role: KeyRole) -> Self {
        match role {
            KeyRole::PlatformTeam => Self::Platform,
            KeyRole::ProductTeam => Self::Product,
        }
    }
}

impl From<Role> for KeyRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Platform => Self::PlatformTeam,
            Role::Product => Self::ProductTeam,
        }
    }
}
