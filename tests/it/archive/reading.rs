//! What an archive holds, read from the layout that Barman writes.

use daap_controller::archive::{Archives as _, Missing, Segment, backup::BackupState};
use daap_tests::s3_server::S3Server;

use super::{PREFIX, SERVER, archives, put, put_all, store};

/// The history of timeline 2, as `gzip` packs it: that timeline 1 was left at 0/5000060.
const HISTORY: &[u8] = include_bytes!("00000002.history.gz");

fn description(begin: &str, end: &str) -> String {
    let location = |segment: &str| format!("0/{}000040", segment[22..].trim_start_matches('0'));
    format!(
        "begin_time=2026-11-20 02:14:00.123456+00:00\nbegin_wal={begin}\nbegin_xlog={}\n\
         end_time=2026-11-20 02:15:30+00:00\nend_wal={end}\nend_xlog={}\nstatus=DONE\n\
         systemid=7311234567890123456\nxlog_segment_size=16777216\n",
        location(begin),
        location(end),
    )
}

fn segment(name: &str) -> Segment {
    name.parse().unwrap()
}

#[tokio::test]
async fn segments_are_found_however_they_are_compressed() {
    let server = S3Server::start("segments").await.unwrap();
    let client = server.client();
    let directory = format!("{PREFIX}{SERVER}/wals/0000000100000000");
    put_all(
        &client,
        [
            "000000010000000000000001",
            "000000010000000000000002.gz",
            "000000010000000000000003.lz4",
            "000000010000000000000004.partial",
            "000000010000000000000005.00000028.backup",
        ]
        .map(|file| format!("{directory}/{file}")),
    )
    .await;
    let store = store(&server);
    let archives = archives();
    let mut found = Vec::new();
    for number in 1..=6 {
        let segment = Segment::new(1, number).unwrap();
        if archives
            .has_segment(&store, SERVER, &segment)
            .await
            .unwrap()
        {
            found.push(number);
        }
    }
    assert_eq!(found, [1, 2, 3]);
    // Another incarnation's segments are not this one's.
    let first = Segment::new(1, 1).unwrap();
    assert!(
        !archives
            .has_segment(&store, "another", &first)
            .await
            .unwrap()
    );
    assert!(
        archives
            .has_segment(&store, "../another", &first)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_catalogue_proves_a_restore_over_a_failover() {
    let server = S3Server::start("catalogue").await.unwrap();
    let client = server.client();
    let base = format!("{PREFIX}{SERVER}/base");
    let wals = format!("{PREFIX}{SERVER}/wals");
    let whole = description("000000010000000000000003", "000000010000000000000003");
    put(
        &client,
        &format!("{base}/20261120T021400/backup.info"),
        whole.clone(),
    )
    .await;
    put(
        &client,
        &format!("{base}/20261120T021400/data.tar.gz"),
        vec![0; 1_000],
    )
    .await;
    put(
        &client,
        &format!("{base}/20261120T021400/16400.tar.gz"),
        vec![0; 500],
    )
    .await;
    // Given up; without its data; without its description.
    let failed = whole.replace("DONE", "FAILED");
    put(
        &client,
        &format!("{base}/20261121T021400/backup.info"),
        failed,
    )
    .await;
    put(
        &client,
        &format!("{base}/20261121T021400/data.tar.gz"),
        vec![0; 10],
    )
    .await;
    put(
        &client,
        &format!("{base}/20261122T021400/backup.info"),
        whole,
    )
    .await;
    put(
        &client,
        &format!("{base}/20261123T021400/data.tar.gz"),
        vec![0; 10],
    )
    .await;
    put_all(
        &client,
        [
            "0000000100000000/000000010000000000000003.gz",
            "0000000100000000/000000010000000000000003.00000028.backup.gz",
            "0000000100000000/000000010000000000000004.gz",
            "0000000100000000/000000010000000000000005.partial.gz",
            "0000000200000000/000000020000000000000005.gz",
            "0000000200000000/000000020000000000000006.gz",
            "0000000200000000/000000020000000000000008.gz",
        ]
        .map(|file| format!("{wals}/{file}")),
    )
    .await;
    put(&client, &format!("{wals}/00000002.history.gz"), HISTORY).await;
    put(
        &client,
        &format!("{wals}/00000003.history.gz"),
        "not packed",
    )
    .await;

    let catalogue = archives().catalogue(&store(&server), SERVER).await.unwrap();
    let backups: Vec<_> = catalogue
        .backups
        .iter()
        .map(|backup| {
            let why = match &backup.state {
                BackupState::Whole(_) => "whole",
                BackupState::Unusable(why) => why,
            };
            (backup.id.as_str(), backup.bytes, why)
        })
        .collect();
    assert_eq!(
        backups,
        [
            ("20261120T021400", 1_500, "whole"),
            ("20261121T021400", 10, "its status is FAILED"),
            ("20261122T021400", 0, "its data are missing"),
            ("20261123T021400", 10, "it has no description"),
        ]
    );
    assert_eq!(catalogue.segments.len(), 5);
    let proof = catalogue
        .restorable(&segment("000000020000000000000006"))
        .unwrap();
    assert_eq!(proof.backup, "20261120T021400");
    assert_eq!(proof.begin, segment("000000010000000000000003"));
    let gap = catalogue.restorable(&segment("000000020000000000000008"));
    assert_eq!(
        gap,
        Err(Missing::Segment(segment("000000020000000000000007")))
    );
    let unreadable = catalogue.restorable(&segment("000000030000000000000009"));
    assert_eq!(unreadable, Err(Missing::History(3)));

    let empty = archives()
        .catalogue(&store(&server), "another")
        .await
        .unwrap();
    assert_eq!(empty, Default::default());
}
