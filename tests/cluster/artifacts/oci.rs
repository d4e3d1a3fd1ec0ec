//! Writes OCI image archives: tar files of an `oci-layout`, an index and content-addressed blobs.
//!
//! Reads the files that go into an image and writes the archive; talks to no registry and no engine.
//! In: [`Layer`]s and a [`Config`]. Out: an archive that `ctr images import` and `k3d image import` load.
//! Equal inputs give equal bytes: entries are sorted, and times, users and groups are zero.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::cache::hex;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The annotation from which containerd takes an image's name.
const NAME: &str = "io.containerd.image.name";

/// What one layer adds to the root file system. Missing parent directories are made by the runtime.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug, Clone)]
enum Node {
    Directory { mode: u32 },
    Text { text: String },
    Copy { source: PathBuf, mode: u32 },
    Link { target: String },
}

impl Layer {
    /// An empty layer.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A directory.
    #[must_use]
    pub(super) fn directory(self, path: &str, mode: u32) -> Self {
        self.node(path, Node::Directory { mode })
    }

    /// A readable file with the given text.
    #[must_use]
    pub(super) fn text(self, path: &str, text: &str) -> Self {
        self.node(
            path,
            Node::Text {
                text: text.to_owned(),
            },
        )
    }

    /// A readable copy of a file of this machine.
    #[must_use]
    pub(super) fn file(self, path: &str, source: &Path) -> Self {
        self.node(
            path,
            Node::Copy {
                source: source.to_owned(),
                mode: 0o644,
            },
        )
    }

    /// An executable copy of a file of this machine.
    #[must_use]
    pub(super) fn program(self, path: &str, source: &Path) -> Self {
        self.node(
            path,
            Node::Copy {
                source: source.to_owned(),
                mode: 0o755,
            },
        )
    }

    /// A symbolic link.
    #[must_use]
    pub(super) fn link(self, path: &str, target: &str) -> Self {
        self.node(
            path,
            Node::Link {
                target: target.to_owned(),
            },
        )
    }

    fn node(mut self, path: &str, node: Node) -> Self {
        self.nodes
            .insert(path.trim_start_matches('/').to_owned(), node);
        self
    }

    /// Writes the layer as a tar file.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<Blob> {
        let file = create(path)?;
        let mut tar = tar::Builder::new(BufWriter::new(file));
        for (name, node) in &self.nodes {
            append(&mut tar, name, node).with_context(|| format!("cannot add {name}"))?;
        }
        finish(tar, path)?;
        Blob::of_file(path)
    }
}

fn append(tar: &mut tar::Builder<impl Write>, name: &str, node: &Node) -> anyhow::Result<()> {
    match node {
        Node::Directory { mode } => {
            let mut header = header(tar::EntryType::Directory, *mode, 0);
            tar.append_data(&mut header, name, io::empty())?;
        }
        Node::Text { text } => append_bytes(tar, name, text.as_bytes())?,
        Node::Copy { source, mode } => {
            let (file, size) = open(source)?;
            let mut header = header(tar::EntryType::Regular, *mode, size);
            tar.append_data(&mut header, name, file)?;
        }
        Node::Link { target } => {
            let mut header = header(tar::EntryType::Symlink, 0o777, 0);
            tar.append_link(&mut header, name, target)?;
        }
    }
    Ok(())
}

fn append_bytes(
    tar: &mut tar::Builder<impl Write>,
    name: &str,
    bytes: &[u8],
) -> anyhow::Result<()> {
    let mut header = header(tar::EntryType::Regular, 0o644, bytes.len() as u64);
    Ok(tar.append_data(&mut header, name, bytes)?)
}

/// A header that tells nothing about when and by whom it was written.
fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Content with its address.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    /// SHA-256 in hexadecimal.
    digest: String,
    size: u64,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl Blob {
    /// The blob of a file, which has to stay in place until the archive is written.
    pub(super) fn of_file(path: &Path) -> anyhow::Result<Self> {
        let (mut file, size) = open(path)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = file
                .read(&mut buffer)
                .with_context(|| format!("cannot read {}", path.display()))?;
            if length == 0 {
                break;
            }
            hasher.update(&buffer[..length]);
        }
        let content = Content::File(path.to_owned());
        Ok(Self {
            digest: hex(&hasher.finalize()),
            size,
            content,
        })
    }

    fn of_json(value: &Value) -> Self {
        let bytes = value.to_string().into_bytes();
        Self {
            digest: hex(&Sha256::digest(&bytes)),
            size: bytes.len() as u64,
            content: Content::Bytes(bytes),
        }
    }

    fn address(&self) -> String {
        format!("sha256:{}", self.digest)
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.address(), "size": self.size })
    }

    fn append(&self, tar: &mut tar::Builder<impl Write>) -> anyhow::Result<()> {
        let name = blob_path(&self.digest);
        match &self.content {
            Content::Bytes(bytes) => append_bytes(tar, &name, bytes),
            Content::File(path) => {
                let (file, size) = open(path)?;
                let mut header = header(tar::EntryType::Regular, 0o644, size);
                Ok(tar.append_data(&mut header, &name, file)?)
            }
        }
    }
}

fn blob_path(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

/// How a container of the image is started.
#[derive(Debug, Clone, Default)]
pub(super) struct Config {
    /// `uid` or `uid:gid`.
    pub(super) user: &'static str,
    /// `NAME=value`.
    pub(super) environment: Vec<String>,
    /// The program and its first arguments.
    pub(super) entrypoint: Vec<String>,
    /// The working directory.
    pub(super) directory: &'static str,
}

/// One image of an archive.
#[derive(Debug, Clone)]
pub(super) struct Image {
    /// Its full name, such as `localhost/pause:1`.
    pub(super) name: String,
    /// Its layers, the lowest first.
    pub(super) layers: Vec<Blob>,
    /// How its containers are started.
    pub(super) config: Config,
}

impl Image {
    fn config_blob(&self) -> Blob {
        let config = &self.config;
        let layers: Vec<String> = self.layers.iter().map(Blob::address).collect();
        Blob::of_json(&json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "User": config.user,
                "Env": config.environment,
                "Entrypoint": config.entrypoint,
                "WorkingDir": config.directory,
            },
            // The layers are not compressed, so a layer is its own difference.
            "rootfs": { "type": "layers", "diff_ids": layers },
        }))
    }

    fn manifest_blob(&self, config: &Blob) -> Blob {
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|layer| layer.descriptor(LAYER))
            .collect();
        Blob::of_json(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(CONFIG),
            "layers": layers,
        }))
    }
}

/// Writes an archive of several images; what they share is in it once.
pub(super) fn write(path: &Path, images: &[Image]) -> anyhow::Result<()> {
    let mut blobs = BTreeMap::new();
    let mut manifests = Vec::new();
    for image in images {
        let config = image.config_blob();
        let manifest = image.manifest_blob(&config);
        let mut descriptor = manifest.descriptor(MANIFEST);
        descriptor["annotations"] = json!({ NAME: image.name });
        manifests.push(descriptor);
        for blob in image.layers.iter().cloned().chain([config, manifest]) {
            blobs.insert(blob.digest.clone(), blob);
        }
    }

    let mut tar = begin_archive(path, &manifests)?;
    for blob in blobs.values() {
        blob.append(&mut tar)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    finish(tar, path)
}

/// Writes an archive of the image `name` of another archive, under another name.
pub fn retag(archive: &Path, name: &str, new_name: &str, out: &Path) -> anyhow::Result<()> {
    let index = read_json(archive, "index.json")?;
    let mut descriptor = index["manifests"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|descriptor| descriptor["annotations"][NAME] == name)
        .cloned()
        .ok_or_else(|| anyhow!("{} holds no image {name}", archive.display()))?;
    let address = descriptor["digest"].clone();
    descriptor["annotations"] = json!({ NAME: new_name });

    let manifest = read_json(archive, &path_of(&address))?;
    let parts = manifest["layers"].as_array().into_iter().flatten();
    let wanted: Vec<String> = parts
        .chain([&manifest["config"]])
        .map(|part| path_of(&part["digest"]))
        .chain([path_of(&address)])
        .collect();

    let mut tar = begin_archive(out, &[descriptor])?;
    let copied = copy_entries(archive, &wanted, &mut tar)
        .with_context(|| format!("cannot copy from {}", archive.display()))?;
    if copied != wanted.len() {
        return Err(anyhow!("{} lacks parts of {name}", archive.display()));
    }
    finish(tar, out)
}

/// Copies the entries of the given paths, and says how many there were.
fn copy_entries(
    archive: &Path,
    wanted: &[String],
    target: &mut tar::Builder<impl Write>,
) -> anyhow::Result<usize> {
    let mut source = tar::Archive::new(open(archive)?.0);
    let mut copied = 0;
    for entry in source.entries_with_seek()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        if wanted.contains(&path) {
            let mut header = entry.header().clone();
            target.append_data(&mut header, &path, &mut entry)?;
            copied += 1;
        }
    }
    Ok(copied)
}

/// Where the archive keeps the blob of an address such as `sha256:…`.
fn path_of(address: &Value) -> String {
    blob_path(
        address
            .as_str()
            .unwrap_or_default()
            .trim_start_matches("sha256:"),
    )
}

fn read_json(archive: &Path, name: &str) -> anyhow::Result<Value> {
    let mut source = tar::Archive::new(open(archive)?.0);
    for entry in source.entries_with_seek()? {
        let entry = entry?;
        if entry.path()?.as_ref() == Path::new(name) {
            return serde_json::from_reader(entry).with_context(|| format!("cannot read {name}"));
        }
    }
    Err(anyhow!("{} has no {name}", archive.display()))
}

fn begin_archive(
    path: &Path,
    manifests: &[Value],
) -> anyhow::Result<tar::Builder<BufWriter<File>>> {
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    let layout = json!({ "imageLayoutVersion": "1.0.0" });
    let mut tar = tar::Builder::new(BufWriter::new(create(path)?));
    append_bytes(&mut tar, "oci-layout", layout.to_string().as_bytes())?;
    append_bytes(&mut tar, "index.json", index.to_string().as_bytes())?;
    Ok(tar)
}

fn finish(tar: tar::Builder<BufWriter<File>>, path: &Path) -> anyhow::Result<()> {
    tar.into_inner()
        .and_then(|mut writer| writer.flush())
        .with_context(|| format!("cannot write {}", path.display()))
}

fn create(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("cannot create {}", path.display()))
}

fn open(path: &Path) -> anyhow::Result<(BufReader<File>, u64)> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let size = file
        .metadata()
        .with_context(|| format!("cannot read {}", path.display()))?
        .len();
    Ok((BufReader::new(file), size))
}

/// This machine's architecture, as OCI and Go call it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    /// A directory of its own for one test, removed at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path =
                std::env::temp_dir().join(format!("daap-oci-{}-{count}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        /// An archive of two images with one layer in common.
        fn archive(&self, name: &str) -> PathBuf {
            let source = self.0.join("source");
            fs::write(&source, "#!/bin/sh\n").unwrap();
            let common = Layer::new()
                .text("/etc/passwd", "root:x:0:0:root:/:/bin/sh\n")
                .directory("tmp", 0o1777)
                .write(&self.0.join("common"))
                .unwrap();
            let own = Layer::new()
                .program("manager", &source)
                .link("link", "manager")
                .write(&self.0.join("own"))
                .unwrap();
            let image = |name: &str, layers| Image {
                name: name.to_owned(),
                layers,
                config: Config {
                    user: "26",
                    ..Config::default()
                },
            };
            let path = self.0.join(name);
            let images = [
                image("localhost/a:1", vec![common.clone()]),
                image("localhost/b:1", vec![common, own]),
            ];
            write(&path, &images).unwrap();
            path
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn contents(archive: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(File::open(archive).unwrap());
        let mut contents = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            assert!(
                contents.insert(path.clone(), bytes).is_none(),
                "{path} is there twice"
            );
        }
        contents
    }

    /// Follows a descriptor and checks what it promises.
    fn follow<'a>(contents: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
        let bytes = &contents[&path_of(&descriptor["digest"])];
        assert_eq!(descriptor["size"], bytes.len());
        bytes
    }

    #[test]
    fn equal_inputs_give_equal_archives() {
        let scratch = Scratch::new();
        let (one, two) = (scratch.archive("one"), scratch.archive("two"));
        assert_eq!(fs::read(one).unwrap(), fs::read(two).unwrap());
    }

    #[test]
    fn blobs_are_addressed_by_their_content() {
        let scratch = Scratch::new();
        let contents = contents(&scratch.archive("archive"));
        let blobs: Vec<_> = contents
            .iter()
            .filter_map(|(path, bytes)| Some((path.strip_prefix("blobs/sha256/")?, bytes)))
            .collect();
        // Two layers, of which one is shared, and a manifest and a configuration for each image.
        assert_eq!(blobs.len(), 6);
        for (digest, bytes) in blobs {
            assert_eq!(digest, hex(&Sha256::digest(bytes)));
        }
    }

    #[test]
    fn the_index_leads_to_every_layer() {
        let scratch = Scratch::new();
        let contents = contents(&scratch.archive("archive"));
        let layout: Value = serde_json::from_slice(&contents["oci-layout"]).unwrap();
        assert_eq!(layout["imageLayoutVersion"], "1.0.0");
        let index: Value = serde_json::from_slice(&contents["index.json"]).unwrap();
        let names = [("localhost/a:1", 1), ("localhost/b:1", 2)];
        for (descriptor, (name, layers)) in index["manifests"].as_array().unwrap().iter().zip(names)
        {
            assert_eq!(descriptor["annotations"][NAME], name);
            let manifest: Value = serde_json::from_slice(follow(&contents, descriptor)).unwrap();
            let config: Value =
                serde_json::from_slice(follow(&contents, &manifest["config"])).unwrap();
            assert_eq!(config["config"]["User"], "26");
            let found = manifest["layers"].as_array().unwrap();
            assert_eq!(found.len(), layers);
            for (layer, difference) in found
                .iter()
                .zip(config["rootfs"]["diff_ids"].as_array().unwrap())
            {
                assert_eq!(&layer["digest"], difference);
                follow(&contents, layer);
            }
        }
    }

    #[test]
    fn layers_are_sorted_and_tell_no_times() {
        let scratch = Scratch::new();
        scratch.archive("archive");
        let mut layer = tar::Archive::new(File::open(scratch.0.join("own")).unwrap());
        let mut seen = Vec::new();
        for entry in layer.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (0, 0));
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            seen.push((path, header.mode().unwrap(), header.entry_type()));
        }
        let expected = [
            ("link".to_owned(), 0o777, tar::EntryType::Symlink),
            ("manager".to_owned(), 0o755, tar::EntryType::Regular),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn retagging_takes_one_image_along() {
        let scratch = Scratch::new();
        let archive = scratch.archive("archive");
        let out = scratch.0.join("retagged");
        retag(&archive, "localhost/a:1", "localhost/new:2", &out).unwrap();
        let contents = contents(&out);
        let index: Value = serde_json::from_slice(&contents["index.json"]).unwrap();
        assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
        assert_eq!(
            index["manifests"][0]["annotations"][NAME],
            "localhost/new:2"
        );
        // The index, the layout, a manifest, a configuration and a layer.
        assert_eq!(contents.len(), 5);
        follow(&contents, &index["manifests"][0]);

        let missing = retag(&archive, "localhost/c:1", "localhost/new:2", &out);
        assert!(missing.unwrap_err().to_string().contains("localhost/c:1"));
    }
}
