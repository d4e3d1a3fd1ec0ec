//! Trying a store out. Writes an object, lists and deletes it.

use aws_sdk_s3::primitives::ByteStream;
use uuid::Uuid;

use super::{Bucket, failure::failure};
use crate::archive::error::{Action, ArchiveError};

impl Bucket {
    /// Does with an object of its own what archiving, restoring and destroying do.
    pub(super) async fn probe(&self) -> Result<(), ArchiveError> {
        let key = format!("{}{}", self.location.prefix, Uuid::new_v4());
        let put = self
            .client
            .put_object()
            .bucket(&self.location.bucket)
            .key(&key);
        let body =
            ByteStream::from_static(b"DAAP tries whether this object store can be written to.\n");
        let written = put
            .body(body)
            .send()
            .await
            .map_err(|error| failure(Action::Write, &error))?;
        let listed = self.lists(&key).await;
        // What was written goes also when it cannot be listed; with its version, so that nothing is left of it.
        let deleted = self.delete(&key, written.version_id()).await;
        if !listed? {
            return Err(ArchiveError::NotListed);
        }
        deleted.map_err(|error| failure(Action::Delete, &error))
    }

    async fn lists(&self, key: &str) -> Result<bool, ArchiveError> {
        let list = self.client.list_objects_v2().bucket(&self.location.bucket);
        let page = list
            .prefix(key)
            .send()
            .await
            .map_err(|error| failure(Action::List, &error))?;
        Ok(page
            .contents()
            .iter()
            .any(|object| object.key() == Some(key)))
    }
}
