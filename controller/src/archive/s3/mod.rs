//! The object store itself, over S3. Reads, and deletes below the prefix of one database; writes probes.
//!
//! Every request has a deadline, and is tried again when that can help. What a store listed is checked to be below what
//! was asked for, and deleted by exactly the key it was listed with.

mod connect;
mod failure;
mod probe;
mod purge;
mod read;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_s3::Client;

use self::connect::Identity;
use super::{
    Archives, Purged,
    catalogue::Catalogue,
    error::ArchiveError,
    segment::Segment,
    store::{Location, Store},
};

/// How many requests of one call are under way at once.
const AT_ONCE: usize = 16;
/// How many object stores are remembered. Credentials that were replaced leave an entry behind.
const REMEMBERED: usize = 64;

/// Object stores that speak S3.
pub struct S3 {
    deadline: Duration,
    /// Connections are kept, and so are the credentials of a role, until they expire.
    clients: Mutex<HashMap<Identity, Client>>,
}

/// One object store, and a place in it.
struct Bucket {
    client: Client,
    location: Location,
}

impl S3 {
    /// Object stores, each request to which ends after `deadline`.
    pub fn new(deadline: Duration) -> Self {
        Self {
            deadline,
            clients: Mutex::default(),
        }
    }

    async fn bucket(&self, store: &Store, location: Location) -> Result<Bucket, ArchiveError> {
        Ok(Bucket {
            client: self.client(store).await?,
            location,
        })
    }

    async fn client(&self, store: &Store) -> Result<Client, ArchiveError> {
        let identity = Identity::of(store);
        let lock = || self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = lock().get(&identity) {
            return Ok(client.clone());
        }
        let client = connect::connect(store, self.deadline).await?;
        let mut clients = lock();
        if clients.len() >= REMEMBERED {
            clients.clear();
        }
        Ok(clients.entry(identity).or_insert(client).clone())
    }
}

#[async_trait]
impl Archives for S3 {
    async fn probe(&self, store: &Store) -> Result<(), ArchiveError> {
        self.bucket(store, store.probes()?).await?.probe().await
    }

    async fn has_segment(
        &self,
        store: &Store,
        server_name: &str,
        segment: &Segment,
    ) -> Result<bool, ArchiveError> {
        let bucket = self.bucket(store, store.server(server_name)?).await?;
        bucket.has_segment(*segment).await
    }

    async fn catalogue(&self, store: &Store, server_name: &str) -> Result<Catalogue, ArchiveError> {
        let bucket = self.bucket(store, store.server(server_name)?).await?;
        bucket.catalogue().await
    }

    async fn purge(&self, store: &Store, budget: usize) -> Result<Purged, ArchiveError> {
        let bucket = self.bucket(store, store.database()?).await?;
        bucket.purge(budget).await
    }
}
