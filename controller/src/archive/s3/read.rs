//! What an archive holds. Reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
};

use aws_sdk_s3::types::Object;
use flate2::read::MultiGzDecoder;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    AT_ONCE, Bucket,
    failure::{failure, is_absent},
};
use crate::archive::{
    backup::{BackupState, BaseBackup},
    catalogue::Catalogue,
    error::{Action, ArchiveError, Cause},
    history::History,
    segment::{Segment, uncompressed},
};

/// The description of a base backup.
const DESCRIPTION: &str = "backup.info";
/// The longest description or history that is read. Real ones have a few kilobytes.
const LONGEST: u64 = 1024 * 1024;

/// What belongs to one base backup.
#[derive(Default)]
struct Parts {
    bytes: u64,
    has_description: bool,
}

impl Bucket {
    /// Whether a segment is there, however it is compressed.
    pub(super) async fn has_segment(&self, segment: Segment) -> Result<bool, ArchiveError> {
        let mut found = false;
        let name = format!("wals/{}/{segment}", segment.directory());
        self.each(&name, |name, _| {
            found |= Segment::of_file(file_name(name)) == Some(segment)
        })
        .await?;
        Ok(found)
    }

    /// Everything that is there.
    pub(super) async fn catalogue(&self) -> Result<Catalogue, ArchiveError> {
        let (backups, (segments, histories)) = tokio::try_join!(self.backups(), self.log())?;
        Ok(Catalogue {
            backups,
            segments,
            histories,
        })
    }

    async fn backups(&self) -> Result<Vec<BaseBackup>, ArchiveError> {
        let mut found: BTreeMap<String, Parts> = BTreeMap::new();
        self.each("base/", |name, object| {
            if let Some((id, part)) = name
                .strip_prefix("base/")
                .and_then(|name| name.split_once('/'))
            {
                let parts = found.entry(id.to_owned()).or_default();
                if part == DESCRIPTION {
                    parts.has_description = true;
                } else {
                    parts.bytes += object
                        .size()
                        .and_then(|size| u64::try_from(size).ok())
                        .unwrap_or(0);
                }
            }
        })
        .await?;
        stream::iter(found)
            .map(|(id, parts)| self.backup(id, parts))
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn backup(&self, id: String, parts: Parts) -> Result<BaseBackup, ArchiveError> {
        let description = if parts.has_description {
            self.read(&format!("base/{id}/{DESCRIPTION}")).await?
        } else {
            None
        };
        let state = match description {
            // Barman writes the description when it begins, and again when it is done.
            None => BackupState::Unusable("it has no description".to_owned()),
            Some(_) if parts.bytes == 0 => BackupState::Unusable("its data are missing".to_owned()),
            Some(text) => BackupState::parse(&String::from_utf8_lossy(&text)),
        };
        Ok(BaseBackup {
            id,
            bytes: parts.bytes,
            state,
        })
    }

    /// The segments of the write-ahead log and the histories of timelines.
    async fn log(&self) -> Result<(BTreeSet<Segment>, BTreeMap<u32, History>), ArchiveError> {
        let mut segments = BTreeSet::new();
        let mut files = BTreeMap::new();
        self.each("wals/", |name, _| {
            let file = file_name(name);
            if let Some(segment) = Segment::of_file(file) {
                segments.insert(segment);
            } else if let Some(timeline) = history_of(file) {
                files.insert(timeline, name.to_owned());
            }
        })
        .await?;
        let histories = stream::iter(files)
            .map(|(timeline, name)| async move { Ok((timeline, self.history(&name).await?)) })
            .buffered(AT_ONCE)
            .try_filter_map(|(timeline, history)| async move {
                Ok(history.map(|history| (timeline, history)))
            })
            .try_collect()
            .await?;
        Ok((segments, histories))
    }

    /// The history in a file. Nothing, when it cannot be understood: it is then as good as missing.
    async fn history(&self, name: &str) -> Result<Option<History>, ArchiveError> {
        let Some(content) = self.read(name).await? else {
            return Ok(None);
        };
        let mut text = String::new();
        let read = if name.ends_with(".gz") {
            MultiGzDecoder::new(content.as_slice())
                .take(LONGEST)
                .read_to_string(&mut text)
        } else {
            content.as_slice().read_to_string(&mut text)
        };
        Ok(read.ok().and_then(|_| History::parse(&text)))
    }

    /// The content of an object; nothing, when it went meanwhile.
    async fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
        let key = format!("{}{name}", self.location.prefix);
        let object = match self
            .client
            .get_object()
            .bucket(&self.location.bucket)
            .key(key)
            .send()
            .await
        {
            Ok(object) => object,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(failure(Action::Read, &error)),
        };
        let failed = |text: String| ArchiveError::Failed(Action::Read, Cause(text));
        let size = object
            .content_length()
            .and_then(|size| u64::try_from(size).ok());
        if size.is_none_or(|size| size > LONGEST) {
            return Err(failed(format!(
                "'{name}' is longer than any that was expected"
            )));
        }
        let content = object
            .body
            .collect()
            .await
            .map_err(|error| failed(error.to_string()))?;
        Ok(Some(content.to_vec()))
    }

    /// Tells of every object whose name, below this place, begins in a certain way.
    async fn each(
        &self,
        beginning: &str,
        mut tell: impl FnMut(&str, &Object),
    ) -> Result<(), ArchiveError> {
        let prefix = format!("{}{beginning}", self.location.prefix);
        let list = self
            .client
            .list_objects_v2()
            .bucket(&self.location.bucket)
            .prefix(&prefix);
        let mut pages = list.into_paginator().send();
        while let Some(page) = pages.next().await {
            for object in page
                .map_err(|error| failure(Action::List, &error))?
                .contents()
            {
                let key = object.key().unwrap_or_default();
                match key.strip_prefix(&self.location.prefix) {
                    Some(name) if key.starts_with(&prefix) => tell(name, object),
                    _ => return Err(ArchiveError::Stray(key.to_owned())),
                }
            }
        }
        Ok(())
    }
}

fn file_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or_default()
}

/// The timeline whose history a file holds.
fn history_of(file: &str) -> Option<u32> {
    let digits = uncompressed(file).strip_suffix(".history")?;
    let is_timeline = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_timeline.then(|| u32::from_str_radix(digits, 16).ok())?
}
