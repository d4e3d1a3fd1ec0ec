//! Operations of databases: see one. Reads through ports.

use daap_crds::name::TeamName;

use super::Service;
use crate::domain::{actor::Actor, failure::Failure, operation::Kept};

/// Longer ids are none.
const MAX_ID: usize = 64;

impl Service {
    /// The operation with this id, if its database exists for the actor.
    pub async fn operation(&self, actor: &Actor, id: &str) -> Result<Kept, Failure> {
        let missing = || Failure::not_found("operation");
        let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if id.len() > MAX_ID || !id.bytes().all(is_id) {
            return Err(missing());
        }
        let team = actor.scope().map(TeamName::as_str);
        let found = self.ports.directory.operation(team, id).await?;
        found.ok_or_else(missing)
    }
}
