//! The operation that tells what changed in a database.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::{
    ApiResponse, Enum, Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};
use uuid::Uuid;

use super::{
    Group, caller::Caller, date_time::DateTime, list, problem::problems, staleness::stale_seconds,
};
use crate::{
    domain::{
        actor::{Actor, Role},
        history::{Change as ChangeKind, Recorded},
    },
    service::Service,
};

/// The operation that tells what changed in a database.
pub struct Histories;

/// What can change in a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum ChangedField {
    /// It was asked for.
    Created,
    /// Its status.
    Status,
    /// What it is for.
    Purpose,
    /// Whose it is.
    OwnerTeam,
    /// The revision of its tier.
    TierRevision,
    /// Whether deleting it is refused.
    DeletionProtection,
    /// Whether it is meant to exist.
    DesiredState,
    /// The last trace of it left the cluster.
    Deleted,
}

/// One change of a database.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Change {
    /// When it happened; to the second, as far as the Kubernetes API recorded it.
    at: DateTime,
    /// What changed.
    change: ChangedField,
    /// What it was before.
    #[oai(validator(max_length = 1000))]
    before: Option<String>,
    /// What it was afterwards.
    #[oai(validator(max_length = 1000))]
    after: Option<String>,
    /// Why, where a reason is known.
    #[oai(validator(max_length = 5000))]
    detail: Option<String>,
    /// Who changed it. Absent: nobody recorded it.
    author: Option<ChangeAuthor>,
}

/// Who changed something.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct ChangeAuthor {
    /// The program that wrote it, as the Kubernetes API recorded: 'daap-facade' for this API, 'daap-controller' for the
    /// service itself, and such as 'kubectl-edit' for a person with access to the cluster.
    #[oai(validator(max_length = 128))]
    manager: String,
    /// The team that asked for it, when it was asked for over this API.
    #[oai(validator(max_length = 40))]
    team: Option<String>,
    /// The API key that asked for it. Shown to its own team, and to platform teams.
    key_id: Option<Uuid>,
}

/// A slice of the changes of a database.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct ChangeList {
    /// The changes, oldest first.
    #[oai(validator(max_items = 200))]
    items: Vec<Change>,
    /// Ask for the next slice with this cursor. Absent when there are no more.
    #[oai(validator(max_length = 200))]
    next_cursor: Option<String>,
}

/// Found changes.
#[derive(ApiResponse)]
pub enum Told {
    /// A slice of the changes.
    #[oai(status = 200)]
    Changes(
        Json<ChangeList>,
        /// For how many seconds the cluster was not heard, when this answer may be out of date.
        #[oai(header = "Daap-Stale-Seconds")]
        Option<u64>,
    ),
}

problems! {
    /// How reading the history of a database fails.
    HistoryProblem: 400 401 404 500 503
}

#[OpenApi(tag = "Group::Databases")]
impl Histories {
    /// Get the history of a database
    ///
    /// Tells what changed in a database and who changed it, oldest first, whether over this API or with kubectl. It is
    /// kept after the database is gone.
    #[oai(
        path = "/databases/:id/history",
        method = "get",
        operation_id = "getDatabaseHistory"
    )]
    async fn history(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        /// The id of the database.
        #[oai(validator(max_length = 64))]
        id: Path<String>,
        /// How many changes at once.
        #[oai(
            validator(minimum(value = "1"), maximum(value = "200")),
            default = "list::default_limit"
        )]
        limit: Query<u32>,
        /// The cursor of the slice before.
        #[oai(validator(max_length = 200, pattern = "^[0-9a-f]*$"))]
        cursor: Query<Option<String>>,
    ) -> Result<Told, HistoryProblem> {
        let stale = stale_seconds(&service)?;
        let asked = list::ask((), limit, cursor);
        let slice = service.history(&caller.actor, &id.0, asked).await?;
        let items = slice.items.into_iter();
        let list = ChangeList {
            items: items
                .map(|recorded| Change::shown_to(&caller.actor, recorded))
                .collect(),
            next_cursor: slice.next_cursor,
        };
        Ok(Told::Changes(Json(list), stale))
    }
}

impl Change {
    fn shown_to(actor: &Actor, recorded: Recorded) -> Self {
        let requester = recorded.requester;
        let sees_key = |team: &str| actor.role == Role::Platform || actor.team.as_str() == team;
        let author = recorded
            .transition
            .author
            .manager
            .map(|manager| ChangeAuthor {
                manager,
                key_id: requester
                    .as_ref()
                    .filter(|requester| sees_key(&requester.team))
                    .map(|requester| requester.key_id),
                team: requester.map(|requester| requester.team),
            });
        Self {
            at: DateTime(recorded.at),
            change: recorded.transition.change.into(),
            before: recorded.transition.before,
            after: recorded.transition.after,
            detail: recorded.transition.detail,
            author,
        }
    }
}

impl From<ChangeKind> for ChangedField {
    fn from(change: ChangeKind) -> Self {
        match change {
            ChangeKind::Created => Self::Created,
            ChangeKind::Status => Self::Status,
            ChangeKind::Purpose => Self::Purpose,
            ChangeKind::OwnerTeam => Self::OwnerTeam,
            ChangeKind::TierRevision => Self::TierRevision,
            ChangeKind::DeletionProtection => Self::DeletionProtection,
            ChangeKind::DesiredState => Self::DesiredState,
            ChangeKind::Deleted => Self::Deleted,
        }
    }
}
