//! Who asks, and whether their role may at all. Reads keys through a port.

use daap_crds::name::TeamName;
use jiff::Timestamp;

use super::Service;
use crate::domain::{
    actor::{Actor, Role},
    api_key::ApiKey,
    failure::{Code, Failure},
    policy::{Action, Ownership, Verdict, decide},
};

impl Service {
    /// The actor of an `Authorization` header that came from `source`. Every way of having no valid key has the same
    /// answer; a key with a wrong checksum is refused without a look-up. What is refused is counted.
    pub async fn authenticate(
        &self,
        authorization: Option<&str>,
        source: &str,
    ) -> Result<Actor, Failure> {
        let actor = self.look_up(authorization).await;
        if actor
            .as_ref()
            .is_err_and(|failure| failure.code == Code::Unauthenticated)
        {
            self.tally.rejected(source);
        }
        actor
    }

    async fn look_up(&self, authorization: Option<&str>) -> Result<Actor, Failure> {
        let key = authorization
            .and_then(bearer_token)
            .and_then(ApiKey::parse)
            .ok_or_else(unauthenticated)?;
        let stored = self
            .ports
            .keys
            .by_digest(&key.digest())
            .await?
            .ok_or_else(unauthenticated)?;
        let now = Timestamp::now();
        if !stored.works(now) {
            return Err(unauthenticated());
        }
        self.tally.used(&stored, now);
        let team = TeamName::parse(&stored.team).map_err(Failure::internal)?;
        Ok(Actor {
            key_id: stored.id,
            team,
            role: stored.role,
        })
    }
}

/// Refuses what a role may not do to anything.
pub fn permit_role(role: Role, action: Action) -> Result<(), Failure> {
    match decide(role, action, Ownership::Own) {
        Verdict::Allow => Ok(()),
        Verdict::Forbid | Verdict::Hide => Err(Failure::new(
            Code::Forbidden,
            format!("A {} key may not do this.", role.as_str()),
        )),
    }
}

fn bearer_token(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unauthenticated() -> Failure {
    Failure::new(
        Code::Unauthenticated,
        "Send a valid API key as 'Authorization: Bearer <key>'.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_bearer_tokens_only() {
        assert_eq!(bearer_token("Bearer abc"), Some("abc"));
        assert_eq!(bearer_token("bearer  abc"), Some("abc"));
        assert_eq!(bearer_token("Basic abc"), None);
        assert_eq!(bearer_token("abc"), None);
    }
}
