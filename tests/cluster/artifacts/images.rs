//! The images that the node runs, each defined by what is in it.
//!
//! Builds programs and the root file system where the cache lacks them, and writes the cache.
//! In: an [`Image`]. Out: the path of an OCI image archive.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, anyhow};

use super::{
    Image,
    cache::{self, Key},
    command, debian, go,
    oci::{self, Blob, Config, Layer},
    rootfs, workspace,
};

/// The user of images that need no other, as in the images that upstreams publish.
const NONROOT: &str = "65532:65532";

/// The machine's certificate authorities, at the place where programs look for them first.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How the images are put together is part of what they are built from.
const RECIPE: [&str; 2] = [include_str!("images.rs"), include_str!("oci.rs")];

/// The absolute path of an OCI image archive, building it when the cache lacks it.
///
/// Images that stand on the same root file system share one archive, which holds that only once.
pub fn image(image: Image) -> anyhow::Result<PathBuf> {
    match image {
        Image::Pause => pause(),
        Image::Coredns => coredns(),
        Image::CnpgOperator => cnpg_operator(),
        Image::BarmanPlugin => barman_plugin(),
        Image::BarmanSidecar
        | Image::Postgresql
        | Image::Pgbouncer
        | Image::LocalPathProvisioner => debian_images(),
        Image::DaapController => own(image, "daap-controller"),
        Image::DaapFacade => own(image, "daap-facade"),
    }
}

/// The name by which the node knows an image, such as `localhost/daap-controller:dev`.
pub fn image_name(image: Image) -> String {
    let (name, tag) = match image {
        Image::Pause => ("pause", "1"),
        Image::Coredns => ("coredns", go::COREDNS.version),
        Image::CnpgOperator => ("cloudnative-pg", go::CNPG.version),
        Image::BarmanPlugin => ("plugin-barman-cloud", go::BARMAN_PLUGIN.version),
        Image::BarmanSidecar => ("plugin-barman-cloud-sidecar", go::BARMAN_PLUGIN.version),
        // CloudNativePG reads the major version from the tag.
        Image::Postgresql => ("postgresql", "17"),
        Image::Pgbouncer => ("pgbouncer", "1"),
        Image::LocalPathProvisioner => {
            ("local-path-provisioner", go::LOCAL_PATH_PROVISIONER.version)
        }
        Image::DaapController => ("daap-controller", "dev"),
        Image::DaapFacade => ("daap-facade", "dev"),
    };
    format!("localhost/{name}:{tag}")
}

/// A checked-in file that goes into an image.
pub(super) fn static_input(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("cluster/images")
        .join(name)
}

fn pause() -> anyhow::Result<PathBuf> {
    let source = static_input("pause.c");
    archive("pause", recipe()?.with_file(&source)?, |work| {
        debian::ensure(&["gcc", "libc6-dev"])?;
        let program = work.join("pause");
        let mut compiler = Command::new("gcc");
        compiler.args(["-static", "-Os", "-s", "-Wall", "-Werror", "-o"]);
        command::run(compiler.arg(&program).arg(&source))?;
        let layer = Layer::new().program("pause", &program);
        Ok(vec![oci::Image {
            name: image_name(Image::Pause),
            layers: vec![layer.write(&work.join("layer"))?],
            config: started_by("/pause", NONROOT),
        }])
    })
}

fn coredns() -> anyhow::Result<PathBuf> {
    let program = go::COREDNS.program("coredns")?;
    archive("coredns", recipe_with(&go::COREDNS)?, |work| {
        let layer = Layer::new().program("coredns", &program);
        Ok(vec![oci::Image {
            name: image_name(Image::Coredns),
            layers: vec![
                base().write(&work.join("base"))?,
                layer.write(&work.join("layer"))?,
            ],
            // Only root may listen on port 53, unless the file has capabilities, which a layer would have to carry.
            config: started_by("/coredns", "0:0"),
        }])
    })
}

fn cnpg_operator() -> anyhow::Result<PathBuf> {
    let program = go::CNPG.program("manager")?;
    archive("cnpg-operator", recipe_with(&go::CNPG)?, |work| {
        // The operator looks for a manager of each architecture, to hand it to instances.
        let manager = format!("operator/manager_{}", oci::architecture());
        let layer = Layer::new()
            .program(&manager, &program)
            .link("manager", &manager);
        Ok(vec![oci::Image {
            name: image_name(Image::CnpgOperator),
            layers: vec![
                base().write(&work.join("base"))?,
                layer.write(&work.join("layer"))?,
            ],
            config: started_by("/manager", NONROOT),
        }])
    })
}

fn barman_plugin() -> anyhow::Result<PathBuf> {
    let program = go::BARMAN_PLUGIN.program("manager")?;
    archive("barman-plugin", recipe_with(&go::BARMAN_PLUGIN)?, |work| {
        let layer = Layer::new().program("manager", &program);
        Ok(vec![oci::Image {
            name: image_name(Image::BarmanPlugin),
            layers: vec![
                base().write(&work.join("base"))?,
                layer.write(&work.join("layer"))?,
            ],
            config: started_by("/manager", NONROOT),
        }])
    })
}

/// The images that stand on the Debian root file system.
fn debian_images() -> anyhow::Result<PathBuf> {
    let key = recipe_with(&go::BARMAN_PLUGIN)?
        .with(go::LOCAL_PATH_PROVISIONER.key()?.short())
        .with(rootfs::key()?.short());
    let root = rootfs::tar()?;
    let manager = go::BARMAN_PLUGIN.program("manager")?;
    let provisioner = go::LOCAL_PATH_PROVISIONER.program("local-path-provisioner")?;
    archive("debian-images", key, |work| {
        let root = Blob::of_file(&root)?;
        let image = |image, name: &str, layer: Layer, config| -> anyhow::Result<oci::Image> {
            Ok(oci::Image {
                name: image_name(image),
                layers: vec![root.clone(), layer.write(&work.join(name))?],
                config: on_debian(config),
            })
        };
        Ok(vec![
            oci::Image {
                name: image_name(Image::Postgresql),
                layers: vec![root.clone()],
                config: on_debian(started_by("postgres", "26")),
            },
            image(
                Image::BarmanSidecar,
                "sidecar",
                Layer::new().program("manager", &manager),
                started_by("/manager", "26:26"),
            )?,
            image(
                Image::Pgbouncer,
                "pgbouncer",
                // CloudNativePG starts it from where Red Hat puts it.
                Layer::new().link("usr/bin/pgbouncer", "../sbin/pgbouncer"),
                started_by("/usr/bin/pgbouncer", "998"),
            )?,
            image(
                Image::LocalPathProvisioner,
                "local-path-provisioner",
                Layer::new().program("usr/bin/local-path-provisioner", &provisioner),
                // As root, because its helper pods are of this image too, and make directories on the node.
                started_by("/usr/bin/local-path-provisioner", "0:0"),
            )?,
        ])
    })
}

/// An image of one of this workspace's own programs, laid out as the `Dockerfile` lays it out.
fn own(image: Image, name: &str) -> anyhow::Result<PathBuf> {
    let program = workspace::program(name)?;
    archive(name, recipe()?.with_file(&program)?, |work| {
        let libraries = shared_libraries(&program)?
            .iter()
            .fold(base(), |layer, library| {
                layer.program(library, Path::new(library))
            });
        let path = format!("/usr/local/bin/{name}");
        let layer = Layer::new().program(&path, &program);
        Ok(vec![oci::Image {
            name: image_name(image),
            layers: vec![
                libraries.write(&work.join("base"))?,
                layer.write(&work.join("layer"))?,
            ],
            config: started_by(&path, NONROOT),
        }])
    })
}

/// Where the dynamic linker finds what a program is linked with, itself included.
fn shared_libraries(program: &Path) -> anyhow::Result<Vec<String>> {
    let listing = command::output(Command::new("ldd").arg(program))?;
    libraries_of(&listing)
}

fn libraries_of(listing: &str) -> anyhow::Result<Vec<String>> {
    let mut paths = Vec::new();
    for line in listing.lines().map(str::trim) {
        let target = line
            .split_once(" => ")
            .map_or(line, |(_name, target)| target);
        if target == "not found" {
            return Err(anyhow!(
                "a shared library is missing on this machine: {line}"
            ));
        }
        // The kernel's own library has no file.
        if let Some(path) = target
            .split(" (")
            .next()
            .filter(|path| path.starts_with('/'))
        {
            paths.push(path.to_owned());
        }
    }
    Ok(paths)
}

/// What programs expect of a root file system.
fn base() -> Layer {
    Layer::new()
        .text(
            "etc/passwd",
            "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n",
        )
        .text("etc/group", "root:x:0:\nnonroot:x:65532:\n")
        .text("etc/nsswitch.conf", "hosts: files dns\n")
        .file(AUTHORITIES, Path::new(AUTHORITIES))
        .directory("tmp", 0o1777)
}

fn started_by(program: &str, user: &'static str) -> Config {
    Config {
        user,
        environment: vec![
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        ],
        entrypoint: vec![program.to_owned()],
        directory: "/",
    }
}

/// Debian keeps PostgreSQL's programs off the usual path, because it can have several versions.
fn on_debian(mut config: Config) -> Config {
    config.environment = vec![
        "PATH=/usr/lib/postgresql/17/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            .to_owned(),
        "LANG=C.UTF-8".to_owned(),
    ];
    config
}

/// What every image depends on.
fn recipe() -> anyhow::Result<Key> {
    RECIPE
        .iter()
        .fold(Key::new(), |key, text| key.with(text))
        .with_file(Path::new(AUTHORITIES))
}

fn recipe_with(build: &go::Build) -> anyhow::Result<Key> {
    Ok(recipe()?.with(build.key()?.short()))
}

/// The archive of the images that `define` makes; it may keep layers in the directory that it is given.
fn archive(
    name: &str,
    key: Key,
    define: impl FnOnce(&Path) -> anyhow::Result<Vec<oci::Image>>,
) -> anyhow::Result<PathBuf> {
    let entry = cache::entry(
        &format!("write image archive {name}"),
        &format!("image-{name}"),
        &key,
        |out| {
            let work = out.join("work");
            fs::create_dir(&work).with_context(|| format!("cannot create {}", work.display()))?;
            oci::write(&out.join("image.tar"), &define(&work)?)?;
            fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))
        },
    )?;
    Ok(entry.join("image.tar"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_taken_from_where_the_linker_finds_them() {
        let listing = "\tlinux-vdso.so.1 (0x00007ffc)\n\
                       \tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x00007f1)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x00007f2)\n";
        assert_eq!(
            libraries_of(listing).unwrap(),
            [
                "/lib/x86_64-linux-gnu/libgcc_s.so.1",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
        assert_eq!(
            libraries_of("\tstatically linked\n").unwrap(),
            Vec::<String>::new()
        );
        assert!(libraries_of("\tlibfoo.so => not found\n").is_err());
    }

    #[test]
    fn the_operand_tag_begins_with_the_major_version() {
        assert!(image_name(Image::Postgresql).ends_with(":17"));
    }
}
