//! A stand-in for object stores, for tests that are about something else: it takes everything and holds nothing. Pure.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use daap_controller::archive::{
    ArchiveError, Archives, Catalogue, Left, Purged, Segment, Store, error::Cause,
};

/// Object stores that answer everything, but for as many times as they are told to fail.
#[derive(Default)]
pub struct StandInArchives {
    failures: AtomicUsize,
    probes: AtomicUsize,
}

impl StandInArchives {
    /// Lets the next requests fail.
    pub fn fail_next(&self, requests: usize) {
        self.failures.store(requests, Ordering::SeqCst);
    }

    /// How often a store was tried.
    pub fn probes(&self) -> usize {
        self.probes.load(Ordering::SeqCst)
    }

    fn answer(&self) -> Result<(), ArchiveError> {
        let one_less = |failures: usize| failures.checked_sub(1);
        match self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
        {
            Ok(_) => Err(ArchiveError::Unreachable(Cause("told to fail".to_owned()))),
            Err(_) => Ok(()),
        }
    }
}

#[async_trait]
impl Archives for StandInArchives {
    async fn probe(&self, _: &Store) -> Result<(), ArchiveError> {
        let answer = self.answer();
        self.probes.fetch_add(1, Ordering::SeqCst);
        answer
    }

    async fn has_segment(&self, _: &Store, _: &str, _: &Segment) -> Result<bool, ArchiveError> {
        self.answer().map(|()| false)
    }

    async fn catalogue(&self, _: &Store, _: &str) -> Result<Catalogue, ArchiveError> {
        self.answer().map(|()| Catalogue::default())
    }

    async fn purge(&self, _: &Store, _: usize) -> Result<Purged, ArchiveError> {
        self.answer().map(|()| Purged {
            removed: 0,
            left: Left::Nothing,
        })
    }
}
