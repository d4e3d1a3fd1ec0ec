//! API keys: make one, see them, end one; and who a caller is. Reads and writes through a port.

use daap_crds::name::TeamName;
use jiff::Timestamp;
use rand::{TryRngCore as _, rand_core::OsError, rngs::OsRng};
use uuid::Uuid;

use super::{
    Service,
    ports::Revocation,
    slice::{Ask, Slice},
};
use crate::domain::{
    actor::{Actor, Role},
    api_key::{ApiKey, KeyFilter, KeyRecord, NewKey},
    failure::{Code, Failure, FieldError},
    page,
    policy::{Ownership, RULES, Verdict, decide},
};

/// How many characters the name of a key may have.
const NAME_LENGTH: std::ops::RangeInclusive<usize> = 1..=100;

/// A key that somebody asks for, as it was sent.
#[derive(Debug, Clone)]
pub struct CreateKey {
    /// What it is called.
    pub name: String,
    /// The team it speaks for.
    pub team: String,
    /// Its role.
    pub role: Role,
    /// When it stops working. Absent: never.
    pub expires_at: Option<Timestamp>,
}

/// Who a caller is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The key.
    pub key: KeyRecord,
    /// The operations that its role allows.
    pub actions: Vec<&'static str>,
}

/// A key of random bytes from the system.
///
/// # Errors
/// When the system has none to give.
pub fn random_key(role: Role) -> Result<ApiKey, OsError> {
    let mut random = [0; 32];
    OsRng.try_fill_bytes(&mut random)?;
    Ok(ApiKey::from_random(role, &random))
}

impl Service {
    /// Makes a key. The key itself is returned this one time. `intent` is the audit row that says so, already
    /// committed.
    pub async fn create_key(
        &self,
        asked: CreateKey,
        intent: Uuid,
    ) -> Result<(KeyRecord, ApiKey), Failure> {
        let new = checked(asked, Timestamp::now())?;
        let key = random_key(new.role).map_err(Failure::internal)?;
        let record = self.ports.keys.insert(&key, &new, intent).await?;
        Ok((record, key))
    }

    /// The key with this id.
    pub async fn key(&self, id: &str) -> Result<KeyRecord, Failure> {
        let found = self.ports.keys.find(parse_id(id)?).await?;
        found.ok_or_else(missing)
    }

    /// A slice of the keys.
    pub async fn keys(&self, asked: Ask<KeyFilter>) -> Result<Slice<KeyRecord>, Failure> {
        let limit = asked.limit()?;
        let fingerprint = asked.filter.fingerprint_text();
        let after = asked.place(|cursor| page::decode(cursor, &fingerprint))?;
        let page = self.ports.keys.list(&asked.filter, after, limit);
        Ok(Slice::of(page.await?, &fingerprint))
    }

    /// Ends a key. One that has ended stays so.
    pub async fn revoke_key(&self, id: &str) -> Result<(), Failure> {
        match self.ports.keys.revoke(parse_id(id)?).await? {
            Revocation::Done => Ok(()),
            Revocation::Missing => Err(missing()),
            Revocation::LastPlatformKey => Err(Failure::new(
                Code::LastPlatformKey,
                "This is the last platform key that works. Make another one first.",
            )),
        }
    }

    /// Who the caller is, and what it may do.
    pub async fn identity(&self, actor: &Actor) -> Result<Identity, Failure> {
        let key = self.ports.keys.find(actor.key_id).await?;
        let allowed = |action| decide(actor.role, action, Ownership::Own) == Verdict::Allow;
        let actions = RULES.iter().filter(|rule| allowed(rule.action));
        Ok(Identity {
            key: key.ok_or_else(missing)?,
            actions: actions.map(|rule| rule.operation).collect(),
        })
    }
}

/// The request with names that are names, or everything that is wrong with it.
fn checked(asked: CreateKey, now: Timestamp) -> Result<NewKey, Failure> {
    let mut errors = Vec::new();
    if !NAME_LENGTH.contains(&asked.name.chars().count()) || asked.name.contains('\0') {
        errors.push(FieldError::new(
            "/name",
            format!(
                "must have {} to {} characters",
                NAME_LENGTH.start(),
                NAME_LENGTH.end()
            ),
        ));
    }
    if asked.expires_at.is_some_and(|end| end <= now) {
        errors.push(FieldError::new("/expires_at", "must lie in the future"));
    }
    let team = TeamName::parse(&asked.team)
        .map_err(|error| errors.push(FieldError::new("/team", error.to_string())));
    match team {
        Ok(team) if errors.is_empty() => Ok(NewKey {
            name: asked.name,
            team,
            role: asked.role,
            expires_at: asked.expires_at,
        }),
        _ => Err(Failure::invalid(errors)),
    }
}

fn parse_id(id: &str) -> Result<Uuid, Failure> {
    Uuid::parse_str(id).map_err(|_| missing())
}

fn missing() -> Failure {
    Failure::not_found("API key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_told() {
        let now = Timestamp::from_second(1000).unwrap();
        let asked = CreateKey {
            name: "ci".to_owned(),
            team: "shop".to_owned(),
            role: Role::Product,
            expires_at: Some(Timestamp::from_second(1001).unwrap()),
        };
        assert!(checked(asked.clone(), now).is_ok());
        let wrong = CreateKey {
            name: String::new(),
            team: "Shop".to_owned(),
            expires_at: Some(now),
            ..asked
        };
        let pointers = checked(wrong, now).unwrap_err().errors;
        let pointers: Vec<_> = pointers
            .iter()
            .map(|error| error.pointer.as_str())
            .collect();
        assert_eq!(pointers, ["/name", "/expires_at", "/team"]);
    }
}
