//! Images that every cluster needs, unpacked once. Reads and writes the cache, and a new cluster's directory.
//!
//! Unpacking half a gigabyte takes longer than everything else that a cluster does to come up. So it is done once, into the
//! cache, and each node sees the unpacked layers read-only through bind mounts. What a node adds goes to its own directory.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::cluster::artifacts::{self, Image};

/// The images in the store: all but our own programs, which change with every build.
const IMAGES: [Image; 8] = [
    Image::Pause,
    Image::Coredns,
    Image::CnpgOperator,
    Image::BarmanPlugin,
    // These share an archive.
    Image::LocalPathProvisioner,
    Image::Postgresql,
    Image::Pgbouncer,
    Image::BarmanSidecar,
];

const PREFIX: &str = "image-store-";
const SCRIPT: &str = include_str!("../config/fill-image-store.sh");

/// Below containerd's directory: the layers, each unpacked in a directory of its own.
const LAYERS: &str = "io.containerd.snapshotter.v1.overlayfs/snapshots";
/// What images consist of, by digest. Never changed once written.
const CONTENT: &str = "io.containerd.content.v1.content/blobs/sha256";
/// What containerd knows of both, which a node will add to.
const DATABASES: [&str; 2] = [
    "io.containerd.metadata.v1.bolt/meta.db",
    "io.containerd.snapshotter.v1.overlayfs/metadata.db",
];

/// The unpacked images of some archives.
pub struct ImageStore {
    /// The directory.
    pub path: PathBuf,
    /// The archives that are in it.
    pub archives: Vec<PathBuf>,
}

/// The images of the store, for whoever wants to build them beforehand.
pub fn images() -> &'static [Image] {
    &IMAGES
}

/// The store with today's images, filled when the cache lacks it.
pub fn provide(containerd_configuration: &Path) -> Result<ImageStore> {
    let mut archives = Vec::new();
    for image in IMAGES {
        let archive =
            artifacts::image(image).with_context(|| format!("providing the image {image:?}"))?;
        if !archives.contains(&archive) {
            archives.push(archive);
        }
    }
    let cache = artifacts::cache_dir()?;
    let path = cache.join(format!("{PREFIX}{}", key(&archives)));
    if !path.exists() {
        fill(&cache, &path, containerd_configuration, &archives)?;
    }
    remove_others(&cache, &path);
    Ok(ImageStore { path, archives })
}

/// Archives have what they hold in their paths.
fn key(archives: &[PathBuf]) -> String {
    let mut digest = Sha256::new_with_prefix(SCRIPT);
    for archive in archives {
        digest.update(archive.as_os_str().as_encoded_bytes());
        digest.update([0]);
    }
    digest.finalize()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn fill(cache: &Path, store: &Path, configuration: &Path, archives: &[PathBuf]) -> Result<()> {
    let partial = tempfile::Builder::new()
        .prefix(PREFIX)
        .tempdir_in(cache)
        .context("a directory for images")?;
    let _lock = hold(partial.path())?;
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--propagation=private",
    ]);
    command
        .args(["sh", "-c", SCRIPT, "fill-image-store"])
        .arg(configuration)
        .arg(partial.path())
        .args(archives);
    let output = command
        .stdin(Stdio::null())
        .output()
        .context("running unshare")?;
    ensure!(
        output.status.success(),
        "unpacking images: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    match fs::rename(partial.path(), store) {
        // Another process was quicker, which is as good.
        Err(_) if store.exists() => Ok(()),
        result => result.context("keeping unpacked images"),
    }
}

/// Marks a store as being in use as long as the file is open.
pub fn hold(store: &Path) -> Result<File> {
    let directory = File::open(store).with_context(|| format!("opening {}", store.display()))?;
    directory
        .lock_shared()
        .with_context(|| format!("holding {}", store.display()))?;
    Ok(directory)
}

/// Removes stores of former images, and half-filled ones, that no node uses.
fn remove_others(cache: &Path, keep: &Path) {
    let entries = fs::read_dir(cache)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let is_store = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(PREFIX))
            && path != keep
    };
    for path in entries.filter(is_store) {
        if File::open(&path).is_ok_and(|directory| directory.try_lock().is_ok()) {
            // Another process may be removing the same.
            drop(fs::remove_dir_all(path));
        }
    }
}

/// Lets a new cluster's containerd begin with the store: its databases are copied, its content is shared, its layers
/// get the directories that [`layers`] are shown in.
pub fn adopt(store: &Path, containerd: &Path) -> Result<()> {
    for name in DATABASES {
        let (from, to) = (store.join(name), containerd.join(name));
        if to.exists() {
            // This cluster has adopted a store before and may have added to it.
            return Ok(());
        }
        make_parent(&to)?;
        fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
    }
    let content = containerd.join(CONTENT);
    fs::create_dir_all(&content).with_context(|| format!("making {}", content.display()))?;
    for entry in fs::read_dir(store.join(CONTENT)).context("listing content")? {
        let entry = entry.context("listing content")?;
        let to = content.join(entry.file_name());
        // Two file systems cannot share a file.
        if fs::hard_link(entry.path(), &to).is_err() {
            fs::copy(entry.path(), &to)
                .with_context(|| format!("copying {}", entry.path().display()))?;
        }
    }
    for (_, inside) in layers(store, containerd)? {
        fs::create_dir_all(&inside).with_context(|| format!("making {}", inside.display()))?;
    }
    Ok(())
}

/// Each unpacked layer, and where containerd expects it.
pub fn layers(store: &Path, containerd: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let layers = store.join(LAYERS);
    let entries = fs::read_dir(&layers).with_context(|| format!("listing {}", layers.display()))?;
    entries
        .map(|entry| {
            let entry = entry.context("listing layers")?;
            Ok((
                entry.path(),
                containerd.join(LAYERS).join(entry.file_name()),
            ))
        })
        .collect()
}

fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().context("a path without a parent")?;
    fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))
}
