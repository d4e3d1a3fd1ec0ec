//! The Debian root file system that the database images stand on.
//!
//! Runs mmdebstrap as root and writes the cache. Out: a tar file, the lowest layer of those images.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    cache::{self, Key},
    command, debian, images,
};

/// The release whose PostgreSQL is 17.
const SUITE: &str = "trixie";

/// PostgreSQL with its auditing extension, the pooler, and what Barman's cloud commands need to reach S3 and to
/// compress. Snappy is not among it: this Barman crashes with Debian's.
const PACKAGES: &str = "postgresql-17,postgresql-17-pgaudit,pgbouncer,ca-certificates,barman-cli-cloud,\
                        python3-boto3,python3-lz4,python3-zstandard";

/// Runs before the packages are installed, with the new root as its argument.
///
/// CloudNativePG runs PostgreSQL as user 26, who has to have a name. Made first, it owns what the packages bring.
/// Debian has given the group's number to the tape drives. No database is made: CloudNativePG makes it.
const PREPARE: &str = r#"set -e
sed -i -E 's/^(tape:[^:]*):26:/\1:1026:/' "$1/etc/group"
echo 'postgres:x:26:' >> "$1/etc/group"
echo 'postgres:x:26:26:PostgreSQL:/var/lib/postgresql:/bin/bash' >> "$1/etc/passwd"
mkdir -p "$1/etc/postgresql-common"
echo 'create_main_cluster = false' > "$1/etc/postgresql-common/createcluster.conf""#;

/// Runs when the packages are installed. Python looks in `/usr/local` first, so this Barman wins over Debian's.
const ADD_BARMAN: &str = r#"set -e
target="$1/usr/local/lib/python3.13/dist-packages"
python3 -m pip install --quiet --root-user-action=ignore --no-compile --no-deps --require-hashes \
    --target "$target" --requirement "$BARMAN_REQUIREMENTS"
chroot "$1" python3 -m compileall -q "${target#"$1"}""#;

/// Runs at the end: what tells about the machine on which the root was made is not part of it.
const FORGET_MACHINE: &str = r#"rm -f "$1/etc/resolv.conf" "$1/etc/hostname" "$1/etc/apt/sources.list" \
    "$1/etc/apt/apt.conf.d/99mmdebstrap""#;

/// Options that neither depend on the machine nor name a place.
const OPTIONS: [&str; 7] = [
    "--format=tar",
    "--variant=essential",
    // The settings that were made beforehand win over the packages'.
    "--dpkgopt=force-confold",
    // A root that was only half written is thrown away, so nothing has to be forced to the disk.
    "--dpkgopt=force-unsafe-io",
    // The runtime gives every container devices of its own.
    "--skip=output/dev",
    "--skip=output/mknod",
    "--quiet",
];

/// What is left out of the packages, for half the size and so half the time to import the images.
const LEFT_OUT: [&str; 11] = [
    // Nobody reads manuals in a container.
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    // PostgreSQL works without its compiler of expressions.
    "path-exclude=/usr/lib/postgresql/17/lib/llvmjit*",
    "path-exclude=/usr/lib/postgresql/17/lib/bitcode/*",
    "path-exclude=/usr/lib/*/libLLVM*",
    "path-exclude=/usr/lib/*/libz3*",
    // Of the many services that the S3 client's library describes, Barman needs storage and identity.
    "path-exclude=/usr/lib/python3/dist-packages/botocore/data/*/*",
    "path-include=/usr/lib/python3/dist-packages/botocore/data/s3/*",
    "path-include=/usr/lib/python3/dist-packages/botocore/data/sso*/*",
    "path-include=/usr/lib/python3/dist-packages/botocore/data/sts/*",
];

/// The tar file of the root file system.
pub(super) fn tar() -> anyhow::Result<PathBuf> {
    let title = format!("install PostgreSQL 17 and Barman into a Debian {SUITE} root");
    cache::entry(&title, "rootfs", &key()?, build).map(|entry| entry.join("root.tar"))
}

/// Everything that decides on the contents, but for the versions that Debian has today.
pub(super) fn key() -> anyhow::Result<Key> {
    let mut key = Key::new().with_file(&requirements())?;
    let texts = [SUITE, PACKAGES, PREPARE, ADD_BARMAN, FORGET_MACHINE];
    for text in texts.into_iter().chain(OPTIONS).chain(LEFT_OUT) {
        key = key.with(text);
    }
    Ok(key)
}

fn build(out: &Path) -> anyhow::Result<()> {
    debian::ensure(&["mmdebstrap", "debian-archive-keyring"])?;
    debian::pip()?;
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap
        .env("BARMAN_REQUIREMENTS", requirements())
        .args(OPTIONS)
        .args(LEFT_OUT.map(|option| format!("--dpkgopt={option}")))
        .arg(format!("--include={PACKAGES}"))
        .arg(format!("--essential-hook={PREPARE}"))
        .arg(format!("--customize-hook={ADD_BARMAN}"))
        .arg(format!("--customize-hook={FORGET_MACHINE}"));
    for option in debian::acquire_options()? {
        mmdebstrap.arg(format!("--aptopt={option}"));
    }
    mmdebstrap
        .args([SUITE.as_ref(), out.join("root.tar").as_os_str()])
        .arg(debian::mirror()?);
    command::run(&mut mmdebstrap)
}

fn requirements() -> PathBuf {
    images::static_input("barman.txt")
}
