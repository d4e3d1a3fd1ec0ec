//! What is asked and answered about a tier. Pure.

use daap_crds::{
    DaapTier, DaapTierSpec, Phase,
    condition::{self, ACCEPTED},
    tier::Strategy,
    tier_revision::revision_name,
};

use super::{
    entity_tag::EntityTag,
    failure::{Code, Failure},
};

/// A tier.
#[derive(Debug, Clone, PartialEq)]
pub struct Tier {
    /// The name, which is also its id.
    pub name: String,
    /// Its state; `None` for one that was only tried out.
    pub tag: Option<EntityTag>,
    /// What the platform defined.
    pub spec: DaapTierSpec,
    /// Whether databases can be asked for on it.
    pub accepted: bool,
    /// Why not, when it is known.
    pub message: Option<String>,
    /// The revision that new databases are bound to.
    pub current_revision: Option<String>,
    /// How many databases hold one of its revisions.
    pub in_use: i32,
}

impl Tier {
    /// The tier of a resource; `None` for one without a name.
    pub fn from_resource(resource: DaapTier) -> Option<Self> {
        let status = resource.status.unwrap_or_default();
        let verdict = condition::find(&status.conditions, ACCEPTED);
        let tag = EntityTag::of(&resource.metadata);
        let is_leaving = resource.metadata.deletion_timestamp.is_some();
        let objection = verdict
            .filter(|verdict| verdict.status != "True")
            .map(|verdict| verdict.message.clone());
        Some(Self {
            name: resource.metadata.name?,
            tag,
            spec: resource.spec,
            accepted: !is_leaving && condition::is_true(&status.conditions, ACCEPTED),
            message: if is_leaving {
                Some("The tier is being deleted.".to_owned())
            } else {
                objection
            },
            current_revision: status.current_revision,
            in_use: status.in_use,
        })
    }

    /// The revision that new databases are bound to, when it is a copy of the tier as it is now. Absent: the tier cannot
    /// be used, or the controller has not looked at it since it was changed, and admits nothing meanwhile.
    pub fn offered_revision(&self) -> Option<&str> {
        let current = self.current_revision.as_deref();
        let now = revision_name(&self.name, &self.spec).ok()?;
        current.filter(|current| self.accepted && *current == now)
    }
}

/// What became of a tier that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// It is gone.
    Gone,
    /// It goes when the controller has cleared up after it.
    Leaving,
}

/// What deleting a database does to its data, in words for a product team.
pub const fn destruction_effect(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Freeze => {
            "The database becomes inaccessible. Its data stay, and it can be unfrozen."
        }
        Strategy::Archive => {
            "The database is removed. Its backups stay, and a new database can be restored from them."
        }
        Strategy::Hard => "The database and its backups are removed. Nothing can be recovered.",
    }
}

/// How many of these phases each stands for a database that needs its tier: one that exists, or can be brought back.
pub fn holders(phases: impl IntoIterator<Item = Phase>) -> Vec<(Phase, usize)> {
    let phases: Vec<_> = phases
        .into_iter()
        .filter(|phase| *phase != Phase::Deleted)
        .collect();
    let count = |phase: Phase| {
        (
            phase,
            phases.iter().filter(|other| **other == phase).count(),
        )
    };
    let counts = Phase::ALL.map(count);
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// The tier stays, because these databases need it.
pub fn in_use(name: &str, holders: Vec<(Phase, usize)>) -> Failure {
    let total: usize = holders.iter().map(|(_, count)| count).sum();
    let parts = holders
        .iter()
        .map(|(phase, count)| format!("{count} {}", phase.as_str()));
    let databases = if total == 1 { "database" } else { "databases" };
    let detail = format!(
        "The tier '{name}' is held by {total} {databases}: {}. Destroy them or migrate them to another tier first; a \
         frozen or archived database holds its tier too, because it can be brought back.",
        parts.collect::<Vec<_>>().join(", ")
    );
    Failure {
        databases: holders,
        ..Failure::new(Code::TierInUse, detail)
    }
}

/// The field of a request, for the field of the resource: `/spec/storage/walSize` is `/definition/storage/wal_size`.
pub fn field_of_request(pointer: &str) -> String {
    let Some(field) = pointer.strip_prefix("/spec/") else {
        return match pointer {
            "/metadata/name" => "/name".to_owned(),
            _ => String::new(),
        };
    };
    if field == "description" {
        return "/description".to_owned();
    }
    // A catalogue is nothing but its name, and the names of parameters are PostgreSQL's own.
    let field = field
        .strip_suffix("catalog/name")
        .map_or_else(|| field.to_owned(), |before| format!("{before}catalog"));
    match field.strip_prefix("postgres/parameters/") {
        Some(name) => format!("/definition/postgres/parameters/{name}"),
        None => format!("/definition/{}", words_of_request(&field)),
    }
}

/// A text about the resource, with the names that fields have in requests.
pub fn words_of_request(text: &str) -> String {
    text.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric())
        .map(|word| {
            if word.starts_with(|first: char| first.is_ascii_lowercase()) {
                snake_case(word)
            } else {
                word.to_owned()
            }
        })
        .collect()
}

fn snake_case(word: &str) -> String {
    let mut snake = String::new();
    for letter in word.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_words_of_requests() {
        for (resource, request) in [
            ("/metadata/name", "/name"),
            ("/spec/description", "/description"),
            ("/spec/storage/walSize", "/definition/storage/wal_size"),
            (
                "/spec/postgres/catalog/name",
                "/definition/postgres/catalog",
            ),
            (
                "/spec/postgres/parameters/workMem",
                "/definition/postgres/parameters/workMem",
            ),
            ("/spec", ""),
        ] {
            assert_eq!(field_of_request(resource), request, "{resource}");
        }
        assert_eq!(
            words_of_request("must not be more than maxClientConnections in PostgreSQL"),
            "must not be more than max_client_connections in PostgreSQL"
        );
    }

    #[test]
    fn what_is_deleted_holds_nothing() {
        use Phase::{Archived, Deleted, Frozen, Ready};
        assert_eq!(holders([Deleted, Deleted]), []);
        let counts = holders([Ready, Deleted, Archived, Ready, Frozen]);
        assert_eq!(counts, [(Ready, 2), (Frozen, 1), (Archived, 1)]);
        let failure = in_use("dev", counts.clone());
        assert!(
            failure
                .detail
                .contains("held by 4 databases: 2 ready, 1 frozen, 1 archived.")
        );
        assert_eq!(failure.databases, counts);
        assert!(
            in_use("dev", vec![(Ready, 1)])
                .detail
                .contains("1 database: 1 ready")
        );
    }
}
