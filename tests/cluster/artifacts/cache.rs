//! The cache of built things: one directory per thing, named after what it is built from.
//!
//! Reads and writes below [`cache_dir`] only. In: a name, a [`Key`] and a function that builds into an empty directory.
//! Out: the path of the finished directory. A directory appears under its final name only by a rename,
//! so whatever exists is complete, and a builder that dies leaves nothing that could be mistaken for a result.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, anyhow};
use sha2::{Digest, Sha256};

use super::progress;

/// Entries of the same name but another key go when nobody has asked for them for so long.
/// Images of our own binaries get a new key with every change of the code, and would fill the disk.
const UNUSED_FOR: Duration = Duration::from_secs(60 * 60);

/// Where built things are kept between runs: `${XDG_CACHE_HOME:-$HOME/.cache}/daap`.
pub fn cache_dir() -> anyhow::Result<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|base| base.join("daap"))
        .ok_or_else(|| anyhow!("neither XDG_CACHE_HOME nor HOME names an absolute directory"))
}

/// Identifies what a thing is built from: equal inputs, equal key.
#[derive(Debug, Clone, Default)]
pub(super) struct Key(Sha256);

impl Key {
    /// A key without inputs.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds an input. Lengths are part of the digest, so that `ab` + `c` differs from `a` + `bc`.
    #[must_use]
    pub(super) fn with(mut self, input: impl AsRef<[u8]>) -> Self {
        let input = input.as_ref();
        self.0.update((input.len() as u64).to_be_bytes());
        self.0.update(input);
        self
    }

    /// Adds the contents of a file.
    pub(super) fn with_file(self, path: &Path) -> anyhow::Result<Self> {
        let contents = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(self.with(contents))
    }

    /// The short form used in directory names: 64 bits are plenty for a handful of entries.
    pub(super) fn short(&self) -> String {
        hex(&self.0.clone().finalize()[..8])
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The directory of `name` and `key`, built with `build` when it does not exist yet.
///
/// `title` is what progress lines say. Two processes (or threads) asking at once build once: the second waits.
pub(super) fn entry(
    title: &str,
    name: &str,
    key: &Key,
    build: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    entry_in(&cache_dir()?, title, name, key, build)
}

fn entry_in(
    cache: &Path,
    title: &str,
    name: &str,
    key: &Key,
    build: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let finished = cache.join(format!("{name}-{}", key.short()));
    if mark_used(&finished) {
        return Ok(finished);
    }
    let _lock = lock_in(cache, name)?;
    if mark_used(&finished) {
        return Ok(finished);
    }

    let partial = cache.join("partial").join(name);
    remove_directory(&partial)?;
    fs::create_dir_all(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
    progress::step(title, || build(&partial)).with_context(|| format!("cannot {title}"))?;
    fs::rename(&partial, &finished)
        .with_context(|| format!("cannot create {}", finished.display()))?;
    remove_unused(cache, name, &finished, SystemTime::now() - UNUSED_FOR)?;
    Ok(finished)
}

/// Holds the named lock until the returned file is dropped. The kernel releases it when the process dies.
pub(super) fn lock(name: &str) -> anyhow::Result<File> {
    lock_in(&cache_dir()?, name)
}

fn lock_in(cache: &Path, name: &str) -> anyhow::Result<File> {
    let directory = cache.join("locks");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    // The file stays: removing it would let two processes hold locks on two files of the same name.
    let path = directory.join(name);
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            progress::note(&format!("waiting for {name}, which another process builds"));
            file.lock()
                .with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    Ok(file)
}

/// Whether the entry exists; if so, notes that it was asked for now.
fn mark_used(entry: &Path) -> bool {
    let Ok(directory) = File::open(entry) else {
        return false;
    };
    // A cache that cannot be written to is still good to read from.
    let _ = directory.set_modified(SystemTime::now());
    true
}

/// Removes older entries of the same name that nobody has asked for since `limit`.
fn remove_unused(cache: &Path, name: &str, keep: &Path, limit: SystemTime) -> anyhow::Result<()> {
    for sibling in fs::read_dir(cache).context("cannot list the cache")? {
        let sibling = sibling.context("cannot list the cache")?;
        let file_name = sibling.file_name();
        let same_name = file_name
            .to_str()
            .and_then(|text| text.rsplit_once('-'))
            .is_some_and(|(stem, _key)| stem == name);
        if !same_name || sibling.path() == keep {
            continue;
        }
        let used = sibling.metadata().and_then(|metadata| metadata.modified());
        if used.is_ok_and(|used| used < limit) {
            remove_directory(&sibling.path())?;
        }
    }
    Ok(())
}

fn remove_directory(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A directory of its own for one test, removed at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(test: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("daap-cache-{test}-{}", std::process::id()));
            remove_directory(&path).unwrap();
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            remove_directory(&self.0).unwrap();
        }
    }

    fn write_hello(directory: &Path) -> anyhow::Result<()> {
        Ok(fs::write(directory.join("hello"), "hello")?)
    }

    #[test]
    fn keys_tell_apart_where_one_input_ends() {
        let key = |inputs: &[&str]| {
            inputs
                .iter()
                .fold(Key::new(), |key, input| key.with(input))
                .short()
        };
        assert_eq!(key(&["ab", "c"]), key(&["ab", "c"]));
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["a"]), key(&["a", ""]));
        assert_eq!(key(&[]).len(), 16);
    }

    #[test]
    fn an_entry_is_built_once() {
        let scratch = Scratch::new("once");
        let key = Key::new().with("a");
        let built = entry_in(&scratch.0, "build", "thing", &key, write_hello).unwrap();
        let again = entry_in(&scratch.0, "build", "thing", &key, |_| {
            panic!("built a second time")
        })
        .unwrap();
        assert_eq!(built, again);
        assert_eq!(fs::read(built.join("hello")).unwrap(), b"hello");
    }

    #[test]
    fn many_at_once_build_once() {
        let scratch = Scratch::new("concurrent");
        let builds = AtomicUsize::new(0);
        let key = Key::new().with("a");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let path = entry_in(&scratch.0, "build", "thing", &key, |directory| {
                        builds.fetch_add(1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(50));
                        write_hello(directory)
                    });
                    assert!(path.unwrap().join("hello").is_file());
                });
            }
        });
        assert_eq!(builds.into_inner(), 1);
    }

    #[test]
    fn a_half_built_entry_is_built_anew() {
        let scratch = Scratch::new("half");
        let key = Key::new().with("a");
        let failed = entry_in(&scratch.0, "build", "thing", &key, |directory| {
            fs::write(directory.join("half"), "")?;
            anyhow::bail!("no space")
        });
        assert!(format!("{:#}", failed.unwrap_err()).contains("no space"));
        let built = entry_in(&scratch.0, "build", "thing", &key, write_hello).unwrap();
        assert!(built.join("hello").is_file());
        assert!(!built.join("half").exists());
    }

    #[test]
    fn only_unused_entries_of_the_same_name_go() {
        let scratch = Scratch::new("unused");
        for name in ["thing-0000", "thing-1111", "thing-more-0000"] {
            fs::create_dir(scratch.0.join(name)).unwrap();
        }
        let keep = scratch.0.join("thing-1111");
        remove_unused(&scratch.0, "thing", &keep, SystemTime::UNIX_EPOCH).unwrap();
        assert!(scratch.0.join("thing-0000").exists());
        let later = SystemTime::now() + UNUSED_FOR;
        remove_unused(&scratch.0, "thing", &keep, later).unwrap();
        assert!(!scratch.0.join("thing-0000").exists());
        assert!(keep.exists());
        assert!(scratch.0.join("thing-more-0000").exists());
    }
}
