//! Backups of a database: see them, ask for one. Reads and writes through ports.

use super::{
    Service,
    change::{TRIES, Terms, restless},
};
use crate::domain::{
    actor::Actor,
    backup::{self, Backup},
    failure::Failure,
};

impl Service {
    /// The newest backups of a database, newest first.
    pub async fn backups(&self, actor: &Actor, id: &str) -> Result<Vec<Backup>, Failure> {
        backup::list(&self.database(actor, id).await?)
    }

    /// Asks for a backup now, and tells its name. The intent stands for the backup: a repetition asks for the same one.
    pub async fn request_backup(
        &self,
        actor: &Actor,
        id: &str,
        terms: &Terms,
    ) -> Result<String, Failure> {
        let record = self.database(actor, id).await?;
        for _ in 0..TRIES {
            let (old, now) = self.live_database(actor, &record).await?;
            // An earlier try of the same request asked for it.
            if let Some(name) = backup::named(&old, terms.intent) {
                return Ok(name);
            }
            let mut new = old.clone();
            backup::request(&mut new, &now, terms.intent)?;
            if new.spec == old.spec {
                return name_of(now.requested_backup);
            }
            let name = backup::requested(&new);
            if Box::pin(self.put_in_place(&old, new, terms)).await?.is_ok() {
                return name_of(name);
            }
        }
        Err(restless("database"))
    }
}

fn name_of(requested: Option<String>) -> Result<String, Failure> {
    requested.ok_or_else(|| Failure::internal("a backup was asked for and has no name"))
}
