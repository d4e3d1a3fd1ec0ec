//! What CloudNativePG says of an archive that fails, in words that name the cure. Pure.
//!
//! What it says is the end of a chain: Barman's programs tell how they failed by their exit status only, and what they
//! print stays in the log of a container. Where the object store itself is known to be ill, that is the better cause.

use super::super::plan::shortened;

/// Barman could do what it was asked, and what it found is not what there should be.
const OPERATION: u8 = 1;
/// Barman did not reach the object store.
const NETWORK: u8 = 2;
/// Barman did not understand what it was asked.
const ARGUMENTS: u8 = 3;
/// Anything else; mostly what the object store answered.
const GENERAL: u8 = 4;

/// Why write-ahead log or a base backup does not reach the object store.
///
/// In: what CloudNativePG said, and what is known to be wrong with the object store.
pub(super) fn explain(said: &str, store_trouble: Option<&str>) -> String {
    let said = bare(said);
    let explained = match (cause(said), store_trouble) {
        (Cause::ForeignFiles, _) => format!("{FOREIGN_FILES} ({said})"),
        (Cause::Store(_), Some(trouble)) => trouble.to_owned(),
        (Cause::Store(words) | Cause::Instance(words), _) => format!("{words} ({said})"),
        (Cause::Unknown, Some(trouble)) => format!("{said} {trouble}"),
        (Cause::Unknown, None) => said.to_owned(),
    };
    shortened(&explained)
}

const FOREIGN_FILES: &str = "The place of this database in the object store holds files that are not its own. They are \
                             never written over: move them away.";

enum Cause {
    /// Somebody else's files are where this database's are to be.
    ForeignFiles,
    /// The object store, or the way there.
    Store(&'static str),
    /// The instance, or what runs beside it.
    Instance(&'static str),
    /// Nothing that is known.
    Unknown,
}

fn cause(said: &str) -> Cause {
    let says = |words: &str| said.contains(words);
    let checks_archive = says("barman-cloud-wal-archive") || says("barman-cloud-check-wal-archive");
    match exit_status(said) {
        _ if says("Expected empty archive") => Cause::ForeignFiles,
        Some(OPERATION) if checks_archive => Cause::ForeignFiles,
        Some(NETWORK) => Cause::Store(
            "The instances do not reach the object store: check its endpoint, and that network policies let them.",
        ),
        Some(ARGUMENTS) => Cause::Store(
            "The object store's settings are not understood: check its URL and endpoint.",
        ),
        Some(OPERATION | GENERAL) => Cause::Store(
            "The object store refuses: check that its bucket exists, and that its credentials are valid and may write.",
        ),
        _ if says("while getting secret")
            || says("missing key")
            || says("missing access key")
            || says("missing secret access key") =>
        {
            Cause::Store("The credentials of the object store are missing beside the database.")
        }
        _ if says("download the backup credentials") => {
            Cause::Instance("The instances may not read the credentials of the object store yet.")
        }
        _ if says("wal archive plugin is not available")
            || says("plugin is not available")
            || says("plugin not loaded") =>
        {
            Cause::Instance(
                "The Barman Cloud plugin is not in the instances: check that it is installed and runs.",
            )
        }
        _ if says("error while dialing")
            || says("Error while dialing")
            || says("code = Unavailable") =>
        {
            Cause::Instance(
                "The container beside PostgreSQL that archives does not answer: check that it runs.",
            )
        }
        _ if says("switchover in progress") => {
            Cause::Instance("Nothing is archived until the primary has changed.")
        }
        _ if says("hibernated cluster") => {
            Cause::Instance("No base backup is taken while the database is frozen.")
        }
        _ => Cause::Unknown,
    }
}

/// What was said, without the name of the protocol that carried it.
fn bare(said: &str) -> &str {
    let end = said.split_once("desc = ").map_or(said, |(_, end)| end);
    end.trim()
}

/// The exit status that a text ends with.
fn exit_status(said: &str) -> Option<u8> {
    let (_, status) = said.rsplit_once("exit status ")?;
    status.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// What CloudNativePG 1.30 and the plugin 0.14 say, each with what is made of it.
    const SAID: [&str; 15] = [
        "rpc error: code = Unknown desc = unexpected failure invoking barman-cloud-wal-archive: exit status 1",
        "rpc error: code = Unknown desc = unexpected failure invoking barman-cloud-wal-archive: exit status 2",
        "rpc error: code = Unknown desc = unexpected failure invoking barman-cloud-wal-archive: exit status 3",
        "rpc error: code = Unknown desc = unexpected failure invoking barman-cloud-wal-archive: exit status 4",
        "rpc error: code = Unknown desc = WAL archive check failed for server db: Expected empty archive",
        "rpc error: code = Unknown desc = exit status 1",
        "rpc error: code = Unknown desc = exit status 4",
        "rpc error: code = Unknown desc = while getting secret orders-store: secrets \"orders-store\" not found",
        "rpc error: code = Unknown desc = missing key ACCESS_KEY_ID, inside secret orders-store",
        "rpc error: code = FailedPrecondition desc = no permission to download the backup credentials, retrying",
        "wal archive plugin is not available: barman-cloud.cloudnative-pg.io",
        "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: dial unix /plugins/barman-cloud.cloudnative-pg.io: connect: connection refused\"",
        "switchover in progress, refusing archiving",
        "cannot backup a hibernated cluster",
        "unexpected failure invoking barman-cloud-wal-archive: exit status 137",
    ];

    #[test]
    fn names_the_cure() {
        let table = SAID.iter().fold(String::new(), |mut table, said| {
            writeln!(table, "{said}\n    {}", explain(said, None)).unwrap();
            table
        });
        insta::assert_snapshot!(table);
    }

    /// What is known of the object store says more than an exit status, but nothing about files in it.
    #[test]
    fn prefers_what_is_known_of_the_object_store() {
        let known = "The bucket 'vault' does not exist.";
        assert_eq!(explain(SAID[3], Some(known)), known);
        assert_eq!(explain(SAID[1], Some(known)), known);
        assert!(explain(SAID[0], Some(known)).contains("not its own"));
        assert!(explain(SAID[10], Some(known)).contains("plugin"));
        assert!(explain("something new", Some(known)).starts_with("something new"));
    }

    #[test]
    fn a_long_text_is_cut() {
        assert!(explain(&"long ".repeat(1000), None).len() < 500);
    }
}
