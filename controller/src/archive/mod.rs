//! Where backups are: the archives in object stores. Reads and deletes objects of S3, and writes one that tries a store
//! out; the only place of the controller that speaks S3.
//!
//! In: a [`Store`]. Out: what is there, or what was done, or an [`ArchiveError`].
//!
//! | module | subject | may |
//! |---|---|---|
//! | [`store`] | an object store, and what is one database's in it | compute |
//! | [`segment`] | the names of segments of write-ahead log | compute |
//! | [`catalogue`], [`backup`], [`history`] | what an archive holds, and whether it is enough for a restore | compute |
//! | [`error`] | what can go wrong | compute |
//! | [`s3`] | the object store itself | read, delete |
//!
//! Every incarnation of a database archives below `<url>/<server name>/`, in Barman's layout: `base/<id>/` holds a base
//! backup and its description `backup.info`, `wals/<timeline and log>/` the segments, `wals/` itself the histories of
//! timelines.

pub mod backup;
pub mod catalogue;
pub mod error;
pub mod history;
pub mod s3;
pub mod segment;
pub mod store;

use async_trait::async_trait;
use jiff::Timestamp;

pub use self::{
    catalogue::{Catalogue, Missing, Proof},
    error::ArchiveError,
    s3::S3,
    segment::Segment,
    store::Store,
};

/// What can be asked of object stores.
#[async_trait]
pub trait Archives: Send + Sync {
    /// Writes, lists and deletes an object beside those of databases, under a name that no database can have.
    async fn probe(&self, store: &Store) -> Result<(), ArchiveError>;

    /// Whether a segment is in the archive, however it is compressed.
    async fn has_segment(
        &self,
        store: &Store,
        server_name: &str,
        segment: &Segment,
    ) -> Result<bool, ArchiveError>;

    /// What an archive holds.
    async fn catalogue(&self, store: &Store, server_name: &str) -> Result<Catalogue, ArchiveError>;

    /// Deletes what is below the database's prefix: objects with all their versions, and unfinished uploads. Not more
    /// of them than `budget`, so that the caller can tell of progress and look whether it should go on.
    async fn purge(&self, store: &Store, budget: usize) -> Result<Purged, ArchiveError>;
}

/// What one call of [`Archives::purge`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    /// How many objects, versions and unfinished uploads it removed.
    pub removed: usize,
    /// What is left.
    pub left: Left,
}

/// What is left below a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing: the last list was empty.
    Nothing,
    /// More than fits into the budget.
    More,
    /// Versions that the object store does not let go of.
    Locked {
        /// How many were tried.
        versions: usize,
        /// When the first of them may go. Absent: a legal hold, which ends when a person ends it.
        until: Option<Timestamp>,
    },
}
