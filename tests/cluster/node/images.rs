//! Images for the node. Reads archives, writes to the node's container runtime.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{Node, layout::Layout};
use crate::cluster::artifacts::{self, Image};

/// Imports images of ours, except those whose archives were imported before.
///
/// Archives have what they hold in their paths, so an archive of the same path is the same.
pub fn import(node: &Node, images: &[Image]) -> Result<()> {
    let mut imported = read_imported(&node.layout)?;
    for image in images {
        let archive =
            artifacts::image(*image).with_context(|| format!("providing the image {image:?}"))?;
        if !imported.contains(&archive) {
            load(node, &archive)?;
            imported.insert(archive);
            write_imported(&node.layout, &imported)?;
        }
    }
    Ok(())
}

/// Notes that the node has the images of these archives.
pub fn remember(layout: &Layout, archives: &[PathBuf]) -> Result<()> {
    let mut imported = read_imported(layout)?;
    imported.extend(archives.iter().cloned());
    write_imported(layout, &imported)
}

/// Imports one archive.
pub fn load(node: &Node, archive: &Path) -> Result<()> {
    let file = File::open(archive).with_context(|| format!("opening {}", archive.display()))?;
    let mut command = node.command("ctr")?;
    command
        .args(["--namespace=k8s.io", "images", "import", "--digests", "-"])
        .stdin(file);
    run(&mut command).with_context(|| format!("importing {}", archive.display()))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().context("running ctr")?;
    ensure!(
        output.status.success(),
        "ctr: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

fn read_imported(layout: &Layout) -> Result<BTreeSet<PathBuf>> {
    match fs::read_to_string(layout.imported()) {
        Ok(text) => Ok(text.lines().map(PathBuf::from).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error).context("reading the list of imported images"),
    }
}

fn write_imported(layout: &Layout, imported: &BTreeSet<PathBuf>) -> Result<()> {
    let lines: Vec<_> = imported
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    fs::write(layout.imported(), lines.join("\n")).context("writing the list of imported images")
}
