//! Removing exactly one prefix: everything below it goes, and not a byte beside it.

use std::time::Duration;

use aws_sdk_s3::types::{
    ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRetention, ObjectLockRetentionMode,
};
use daap_controller::archive::{ArchiveError, Archives as _, Left, Purged, Store};
use daap_tests::s3_server::{BUCKET, S3Server};
use jiff::Timestamp;

use super::{PREFIX, SERVER, UID, archives, begin_upload, contents, put, put_all, store};

/// Keys that a purge by a shorter prefix, by a prefix without its slash, or of another namespace would meet.
fn neighbours() -> Vec<String> {
    let longer = format!("{UID}0");
    let shorter = &UID[..UID.len() - 1];
    [
        format!("daap/shop/{longer}/{SERVER}/wals/0000000100000000/000000010000000000000001.gz"),
        format!("daap/shop/{shorter}/{SERVER}/base/20261120T021400/data.tar.gz"),
        format!("daap/shop/{UID}.copy"),
        format!("daap/shop/{UID}-old/backup.info"),
        format!("daap/shop-two/{UID}/backup.info"),
        format!("daap/sho/{UID}/backup.info"),
        format!("daap-two/shop/{UID}/backup.info"),
        format!("shop/{UID}/backup.info"),
        format!("daap/shop/daap/shop/{UID}/backup.info"),
        "daap/.daap-probe/someone".to_owned(),
        "readme".to_owned(),
    ]
    .into()
}

/// The archive of an incarnation with this many segments, and of an older incarnation with one.
fn archive(segments: usize) -> Vec<String> {
    let segments = (0..segments).map(|number| {
        format!("{PREFIX}{SERVER}/wals/0000000100000000/0000000100000000{number:08X}.gz")
    });
    segments
        .chain([
            format!("{PREFIX}{SERVER}/base/20261120T021400/backup.info"),
            format!("{PREFIX}{SERVER}/base/20261120T021400/data.tar.gz"),
            format!("{PREFIX}{SERVER}/wals/00000002.history"),
            format!("{PREFIX}an-older-incarnation/wals/0000000100000000/000000010000000000000001"),
            format!("{PREFIX}with spaces, % and +, ünd"),
        ])
        .collect()
}

/// Purges until nothing is left, and returns what each call did.
async fn purge(store: &Store, budget: usize) -> Vec<Purged> {
    let archives = archives();
    let mut calls = Vec::new();
    loop {
        let purged = archives.purge(store, budget).await.unwrap();
        assert!(purged.removed <= budget, "{purged:?}");
        calls.push(purged);
        if purged.left != Left::More {
            return calls;
        }
        assert!(calls.len() < 100, "it does not end: {calls:?}");
    }
}

fn removed(calls: &[Purged]) -> usize {
    calls.iter().map(|purged| purged.removed).sum()
}

#[tokio::test]
async fn a_purge_removes_one_prefix_over_many_pages_and_calls_and_a_crash() {
    let server = S3Server::start("purge").await.unwrap();
    let client = server.client();
    put_all(&client, neighbours()).await;
    put_all(&client, archive(1_300)).await;
    let other = format!("daap/shop/{UID}0/base/1/data.tar.gz");
    begin_upload(&client, &other).await;
    begin_upload(
        &client,
        &format!("{PREFIX}{SERVER}/base/20261124T000000/data.tar.gz"),
    )
    .await;
    let before = contents(&client).await;
    assert_eq!(
        (before.ours, before.others.len(), before.other_uploads.len()),
        (1_306, 11, 1)
    );

    // Broken off while it deletes; who goes on knows nothing of it.
    let store = store(&server);
    let broken_off = archives();
    let call = broken_off.purge(&store, 1_000);
    let in_time = tokio::time::timeout(Duration::from_millis(300), call).await;
    drop(broken_off);
    let after_crash = contents(&client).await;
    if in_time.is_err() {
        assert!(
            after_crash.ours > 0,
            "it was broken off too late to be a crash"
        );
    }

    let calls = purge(&store, 500).await;
    assert_eq!(removed(&calls), after_crash.ours);
    assert_eq!(calls.last().map(|purged| purged.left), Some(Left::Nothing));
    let after = contents(&client).await;
    assert_eq!(after.ours, 0);
    assert_eq!(after, super::Contents { ours: 0, ..before });
    // Looked at again, it is as empty; and a late writer's object goes too.
    assert_eq!(removed(&purge(&store, 500).await), 0);
    put(&client, &format!("{PREFIX}{SERVER}/wals/late"), "late").await;
    assert_eq!(removed(&purge(&store, 500).await), 1);
    assert_eq!(contents(&client).await, after);
}

#[tokio::test]
async fn a_purge_removes_all_versions_and_deletion_markers() {
    let server = S3Server::start("purge-versions").await.unwrap();
    let client = server.client();
    // One from before versions were kept, so that it has none.
    put(&client, &format!("{PREFIX}{SERVER}/early"), "early").await;
    server.keep_versions().await.unwrap();
    put_all(&client, neighbours()).await;
    put_all(&client, neighbours()).await;
    for _ in 0..3 {
        put_all(&client, archive(20)).await;
    }
    // What Barman's retention does: the object is hidden, its versions stay.
    for key in archive(10)
        .into_iter()
        .chain(neighbours().into_iter().take(2))
    {
        client
            .delete_object()
            .bucket(BUCKET)
            .key(key)
            .send()
            .await
            .unwrap();
    }
    let before = contents(&client).await;
    assert_eq!(before.others.len(), 11 + 11 + 2);
    assert_eq!(before.ours, 1 + 3 * 25 + 15);

    let calls = purge(&store(&server), 40).await;
    assert_eq!(removed(&calls), before.ours);
    assert!(calls.len() >= 3, "{calls:?}");
    assert_eq!(
        contents(&client).await,
        super::Contents { ours: 0, ..before }
    );
}

#[tokio::test]
async fn a_locked_version_blocks_until_its_date_and_keeps_nothing_else() {
    let server = S3Server::start("purge-locks").await.unwrap();
    let client = server.client();
    server.keep_versions().await.unwrap();
    let enabled =
        ObjectLockConfiguration::builder().object_lock_enabled(ObjectLockEnabled::Enabled);
    let lock = client.put_object_lock_configuration().bucket(BUCKET);
    lock.object_lock_configuration(enabled.build())
        .send()
        .await
        .unwrap();
    put_all(&client, archive(5)).await;
    let soon = Timestamp::now().as_second() + 6;
    let later = soon + 3_600;
    for (name, until) in [("early", soon), ("late", later)] {
        let key = format!("{PREFIX}{SERVER}/{name}");
        put(&client, &key, name).await;
        let retention = ObjectLockRetention::builder()
            .mode(ObjectLockRetentionMode::Governance)
            .retain_until_date(aws_sdk_s3::primitives::DateTime::from_secs(until))
            .build();
        let put = client.put_object_retention().bucket(BUCKET).key(key);
        put.retention(retention).send().await.unwrap();
    }

    let calls = purge(&store(&server), 100).await;
    let until = |second| Timestamp::from_second(second).ok();
    assert_eq!(
        calls,
        [Purged {
            removed: 10,
            left: Left::Locked {
                versions: 2,
                until: until(soon)
            }
        }]
    );
    // The whole budget runs into locks: that is told, instead of inviting to go on at once.
    let calls = purge(&store(&server), 1).await;
    assert!(
        matches!(
            calls[..],
            [Purged {
                removed: 0,
                left: Left::Locked { versions: 1, .. }
            }]
        ),
        "{calls:?}"
    );

    daap_tests::cluster::wait::until("the first lock ending", crate::world::SOON, async || {
        let purged = archives().purge(&store(&server), 100).await?;
        let left = Left::Locked {
            versions: 1,
            until: until(later),
        };
        anyhow::ensure!(purged.left == left, "{purged:?}");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(contents(&client).await.ours, 1);
}

#[tokio::test]
async fn a_url_that_is_not_one_databases_prefix_is_refused() {
    let server = S3Server::start("purge-refusals").await.unwrap();
    let client = server.client();
    put_all(&client, neighbours().into_iter().chain(archive(3))).await;
    let before = contents(&client).await;
    let wrong = [
        format!("s3://{BUCKET}/"),
        format!("s3://{BUCKET}/daap/"),
        format!("s3://{BUCKET}/daap/shop/"),
        format!("s3://{BUCKET}/daap/shop/{UID}"),
        format!("s3://{BUCKET}/daap/{UID}/"),
        format!("s3://{BUCKET}/shop/{UID}/"),
    ];
    for url in wrong {
        let refused = Store {
            url: url.clone(),
            ..store(&server)
        };
        let error = archives().purge(&refused, 100).await.unwrap_err();
        assert!(
            matches!(error, ArchiveError::NotOneDatabase(_)),
            "{url}: {error}"
        );
    }
    assert_eq!(contents(&client).await, before);
}
