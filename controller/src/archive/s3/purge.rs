//! Removing what is below one database's prefix. Lists and deletes.
//!
//! Objects go version by version and delete marker by delete marker, so that a bucket with versions keeps nothing; and
//! each by a request of its own, since not every store knows how to delete many at once. It can be broken off anywhere:
//! the next call begins with a new list.

use std::collections::{BTreeMap, HashSet};

use aws_sdk_s3::{
    config::http::HttpResponse, error::SdkError, operation::delete_object::DeleteObjectError,
    types::ObjectLockLegalHoldStatus,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::{
    AT_ONCE, Bucket,
    failure::{failure, is_absent, is_unknown},
};
use crate::archive::{
    Left, Purged,
    error::{Action, ArchiveError},
};

/// Something to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Remnant {
    /// An upload that was begun and not completed. No list of objects shows it, and it is paid for.
    Upload { key: String, id: String },
    /// A version of an object, or the marker of its deletion.
    Version { key: String, id: String },
    /// An object of a store that does not list versions.
    Object { key: String },
}

/// What is listed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Uploads,
    Versions,
    Objects,
}

/// Some remnants, and where the list goes on.
#[derive(Default)]
struct Page {
    remnants: Vec<Remnant>,
    next: Option<Place>,
}

/// Where a list goes on: after a key, and after an upload or version of it.
#[derive(Clone)]
struct Place {
    key: Option<String>,
    id: Option<String>,
}

/// What became of a remnant.
enum Fate {
    Removed,
    Locked(Lock),
}

/// What keeps a version.
#[derive(Clone, Copy)]
struct Lock {
    /// Until when. Absent: until a person ends it.
    until: Option<Timestamp>,
}

/// What a purge did so far.
struct Tally {
    budget: usize,
    removed: usize,
    locked: HashSet<Remnant>,
    until: Option<Timestamp>,
    /// There is more than the budget allowed to look at.
    more: bool,
}

impl Tally {
    fn remaining(&self) -> usize {
        self.budget.saturating_sub(self.removed + self.locked.len())
    }

    fn note(&mut self, remnant: Remnant, fate: &Fate) {
        match fate {
            Fate::Removed => self.removed += 1,
            Fate::Locked(lock) => {
                self.until = self.until.into_iter().chain(lock.until).min();
                self.locked.insert(remnant);
            }
        }
    }

    fn purged(&self) -> Purged {
        let left = match (self.more, self.locked.len()) {
            // Going on at once would meet the same locks.
            (true, 1..) if self.removed == 0 => self.locked(),
            (true, _) => Left::More,
            (false, 0) => Left::Nothing,
            (false, _) => self.locked(),
        };
        Purged {
            removed: self.removed,
            left,
        }
    }

    fn locked(&self) -> Left {
        Left::Locked {
            versions: self.locked.len(),
            until: self.until,
        }
    }
}

impl Bucket {
    /// Removes everything below this place, but not more than `budget` in one call.
    pub(super) async fn purge(&self, budget: usize) -> Result<Purged, ArchiveError> {
        let mut tally = Tally {
            budget,
            removed: 0,
            locked: HashSet::new(),
            until: None,
            more: false,
        };
        self.clear(Kind::Uploads, &mut tally).await?;
        self.clear(Kind::Versions, &mut tally).await?;
        // A store may list no versions although there are objects. Where versions are locked, it does list them; a
        // deletion without a version would hide an object there, and remove nothing.
        if !tally.more && tally.locked.is_empty() {
            let before = tally.removed;
            self.clear(Kind::Objects, &mut tally).await?;
            // Should it have been a late writer's in a bucket with versions, its version is there yet.
            tally.more |= tally.removed > before;
        }
        Ok(tally.purged())
    }

    /// Removes what is listed, until a list shows nothing, or only what is locked.
    async fn clear(&self, kind: Kind, tally: &mut Tally) -> Result<(), ArchiveError> {
        loop {
            let before = tally.removed;
            self.walk(kind, tally).await?;
            if tally.removed == before || tally.more {
                return Ok(());
            }
        }
    }

    /// Walks once through the list.
    async fn walk(&self, kind: Kind, tally: &mut Tally) -> Result<(), ArchiveError> {
        let mut place = None;
        loop {
            let Page { mut remnants, next } = self.page(kind, place).await?;
            if let Some(stray) = remnants.iter().find(|remnant| !self.is_ours(remnant)) {
                return Err(ArchiveError::Stray(stray.key().to_owned()));
            }
            remnants.retain(|remnant| !tally.locked.contains(remnant));
            let remaining = tally.remaining();
            tally.more |= remnants.len() > remaining;
            remnants.truncate(remaining);
            self.remove_all(remnants, tally).await?;
            match next {
                Some(next) if !tally.more => place = Some(next),
                _ => return Ok(()),
            }
        }
    }

    fn is_ours(&self, remnant: &Remnant) -> bool {
        remnant.key().starts_with(&self.location.prefix)
    }

    /// Removes many at once, but the versions of one object one after the other: stores that keep them as files move
    /// them about when the newest goes.
    async fn remove_all(
        &self,
        remnants: Vec<Remnant>,
        tally: &mut Tally,
    ) -> Result<(), ArchiveError> {
        let mut by_key: BTreeMap<String, Vec<Remnant>> = BTreeMap::new();
        for remnant in remnants {
            let of_key = by_key.entry(remnant.key().to_owned());
            of_key.or_default().push(remnant);
        }
        let mut fates = stream::iter(by_key.into_values())
            .map(|of_key| self.remove_each(of_key))
            .buffer_unordered(AT_ONCE);
        while let Some(fates) = fates.try_next().await? {
            for (remnant, fate) in fates {
                tally.note(remnant, &fate);
            }
        }
        Ok(())
    }

    async fn remove_each(
        &self,
        remnants: Vec<Remnant>,
    ) -> Result<Vec<(Remnant, Fate)>, ArchiveError> {
        let mut fates = Vec::new();
        for remnant in remnants {
            let fate = self.remove(&remnant).await?;
            fates.push((remnant, fate));
        }
        Ok(fates)
    }

    async fn remove(&self, remnant: &Remnant) -> Result<Fate, ArchiveError> {
        let (key, version) = match remnant {
            Remnant::Upload { key, id } => {
                return self.abort(key, id).await.map(|()| Fate::Removed);
            }
            Remnant::Version { key, id } => (key, Some(id.as_str())),
            Remnant::Object { key } => (key, None),
        };
        match self.delete(key, version).await {
            Ok(()) => Ok(Fate::Removed),
            Err(error) => match self.lock(key, version).await {
                Some(lock) => Ok(Fate::Locked(lock)),
                None => Err(failure(Action::Delete, &error)),
            },
        }
    }

    /// Deletes a version of an object, or an object of a store without versions. What is gone already is no failure.
    pub(super) async fn delete(
        &self,
        key: &str,
        version: Option<&str>,
    ) -> Result<(), SdkError<DeleteObjectError, HttpResponse>> {
        let delete = self
            .client
            .delete_object()
            .bucket(&self.location.bucket)
            .key(key);
        match delete
            .set_version_id(version.map(str::to_owned))
            .send()
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn abort(&self, key: &str, id: &str) -> Result<(), ArchiveError> {
        let abort = self
            .client
            .abort_multipart_upload()
            .bucket(&self.location.bucket);
        match abort.key(key).upload_id(id).send().await {
            Ok(_) => Ok(()),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(failure(Action::Abort, &error)),
        }
    }

    /// What keeps a version, if something does.
    async fn lock(&self, key: &str, version: Option<&str>) -> Option<Lock> {
        let head = self
            .client
            .head_object()
            .bucket(&self.location.bucket)
            .key(key);
        let head = head
            .set_version_id(version.map(str::to_owned))
            .send()
            .await
            .ok()?;
        let until = head
            .object_lock_retain_until_date()
            .and_then(|date| Timestamp::from_second(date.secs()).ok());
        let is_held = head.object_lock_legal_hold_status() == Some(&ObjectLockLegalHoldStatus::On);
        match (is_held, until) {
            // A hold outlasts every date.
            (true, _) => Some(Lock { until: None }),
            (false, Some(until)) => Some(Lock { until: Some(until) }),
            (false, None) => None,
        }
    }

    async fn page(&self, kind: Kind, place: Option<Place>) -> Result<Page, ArchiveError> {
        let place = place.unwrap_or(Place {
            key: None,
            id: None,
        });
        match kind {
            Kind::Uploads => self.uploads(place).await,
            Kind::Versions => self.versions(place).await,
            Kind::Objects => self.objects(place).await,
        }
    }

    async fn uploads(&self, place: Place) -> Result<Page, ArchiveError> {
        let list = self
            .client
            .list_multipart_uploads()
            .bucket(&self.location.bucket);
        let list = list
            .prefix(&self.location.prefix)
            .set_key_marker(place.key)
            .set_upload_id_marker(place.id);
        let page = match list.send().await {
            Ok(page) => page,
            // A store that knows no such uploads has none.
            Err(error) if is_unknown(&error) => return Ok(Page::default()),
            Err(error) => return Err(failure(Action::List, &error)),
        };
        let remnants = page.uploads().iter().filter_map(|upload| {
            Some(Remnant::Upload {
                key: upload.key()?.to_owned(),
                id: upload.upload_id()?.to_owned(),
            })
        });
        let next = Place {
            key: page.next_key_marker().map(str::to_owned),
            id: page.next_upload_id_marker().map(str::to_owned),
        };
        Ok(Page {
            remnants: remnants.collect(),
            next: next.if_truncated(page.is_truncated()),
        })
    }

    async fn versions(&self, place: Place) -> Result<Page, ArchiveError> {
        let list = self
            .client
            .list_object_versions()
            .bucket(&self.location.bucket);
        let list = list
            .prefix(&self.location.prefix)
            .set_key_marker(place.key)
            .set_version_id_marker(place.id);
        let page = match list.send().await {
            Ok(page) => page,
            Err(error) if is_unknown(&error) => return Ok(Page::default()),
            Err(error) => return Err(failure(Action::List, &error)),
        };
        let versions = page
            .versions()
            .iter()
            .map(|version| (version.key(), version.version_id()));
        let markers = page
            .delete_markers()
            .iter()
            .map(|marker| (marker.key(), marker.version_id()));
        let remnants = versions.chain(markers).filter_map(|(key, id)| {
            let key = key?.to_owned();
            Some(match id.filter(|id| !id.is_empty()) {
                Some(id) => Remnant::Version {
                    key,
                    id: id.to_owned(),
                },
                None => Remnant::Object { key },
            })
        });
        let next = Place {
            key: page.next_key_marker().map(str::to_owned),
            id: page.next_version_id_marker().map(str::to_owned),
        };
        Ok(Page {
            remnants: remnants.collect(),
            next: next.if_truncated(page.is_truncated()),
        })
    }

    async fn objects(&self, place: Place) -> Result<Page, ArchiveError> {
        let list = self.client.list_objects_v2().bucket(&self.location.bucket);
        let list = list
            .prefix(&self.location.prefix)
            .set_continuation_token(place.key);
        let page = list
            .send()
            .await
            .map_err(|error| failure(Action::List, &error))?;
        let keys = page.contents().iter().filter_map(|object| object.key());
        let remnants = keys
            .map(|key| Remnant::Object {
                key: key.to_owned(),
            })
            .collect();
        let next = Place {
            key: page.next_continuation_token().map(str::to_owned),
            id: None,
        };
        Ok(Page {
            remnants,
            next: next.if_truncated(page.is_truncated()),
        })
    }
}

impl Remnant {
    fn key(&self) -> &str {
        match self {
            Self::Upload { key, .. } | Self::Version { key, .. } | Self::Object { key } => key,
        }
    }
}

impl Place {
    /// This place, if the list goes on there. A store that says so and does not say where would be asked for ever.
    fn if_truncated(self, truncated: Option<bool>) -> Option<Self> {
        (truncated == Some(true) && self.key.is_some()).then_some(self)
    }
}
