//! Builds programs from the checked-in Go tool modules in `tests/cluster/go`, one module per upstream.
//!
//! Runs `go` and writes the cache. In: a [`Build`]. Out: the directory of the built programs.
//! Every dependency is pinned by `go.mod` and verified by `go.sum`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, bail};

use super::{
    cache::{self, Key},
    command,
};

/// What one `go build` makes.
#[derive(Debug)]
pub(super) struct Build {
    /// What progress lines call it, and the name of its cache entry.
    pub(super) name: &'static str,
    /// Its version, for progress lines: `go.mod` decides.
    pub(super) version: &'static str,
    /// The directory below `tests/cluster/go`.
    pub(super) module: &'static str,
    /// The packages and the names of their programs.
    programs: &'static [(&'static str, &'static str)],
    /// `package.variable=value`, for programs that learn their version from the linker.
    variables: &'static [&'static str],
}

/// Kubernetes.
pub(super) const KUBERNETES: Build = Build {
    name: "kubernetes",
    version: "1.36.3",
    module: "kubernetes",
    programs: &[
        ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
        (
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            "kube-controller-manager",
        ),
        ("k8s.io/kubernetes/cmd/kube-scheduler", "kube-scheduler"),
        ("k8s.io/kubernetes/cmd/kubelet", "kubelet"),
        ("k8s.io/kubernetes/cmd/kube-proxy", "kube-proxy"),
        ("k8s.io/kubernetes/cmd/kubectl", "kubectl"),
    ],
    variables: &[
        "k8s.io/component-base/version.gitVersion=v1.36.3",
        "k8s.io/component-base/version.gitMajor=1",
        "k8s.io/component-base/version.gitMinor=36",
        "k8s.io/component-base/version.gitTreeState=clean",
    ],
};

/// etcd, of the series that this Kubernetes is built against.
pub(super) const ETCD: Build = Build {
    name: "etcd",
    version: "3.6.9",
    module: "etcd",
    programs: &[("go.etcd.io/etcd/server/v3", "etcd")],
    variables: &[],
};

/// CoreDNS.
pub(super) const COREDNS: Build = Build {
    name: "coredns",
    version: "1.14.7",
    module: "coredns",
    programs: &[("github.com/coredns/coredns", "coredns")],
    variables: &[],
};

/// The CloudNativePG operator, which is also the instance manager.
pub(super) const CNPG: Build = Build {
    name: "cnpg-operator",
    version: "1.30.0",
    module: "cnpg",
    programs: &[(
        "github.com/cloudnative-pg/cloudnative-pg/cmd/manager",
        "manager",
    )],
    variables: &["github.com/cloudnative-pg/cloudnative-pg/pkg/versions.buildVersion=1.30.0"],
};

/// The Barman Cloud plugin: its operator and its sidecar are one program.
pub(super) const BARMAN_PLUGIN: Build = Build {
    name: "barman-plugin",
    version: "0.14.0",
    module: "cnpg",
    programs: &[(
        "github.com/cloudnative-pg/plugin-barman-cloud/cmd/manager",
        "manager",
    )],
    variables: &[],
};

/// The S3 server.
pub(super) const VERSITYGW: Build = Build {
    name: "versitygw",
    version: "1.8.0",
    module: "versitygw",
    programs: &[("github.com/versity/versitygw/cmd/versitygw", "versitygw")],
    variables: &["main.Version=v1.8.0"],
};

/// The dynamic volume provisioner.
pub(super) const LOCAL_PATH_PROVISIONER: Build = Build {
    name: "local-path-provisioner",
    version: "0.0.30",
    module: "local-path-provisioner",
    programs: &[(
        "github.com/rancher/local-path-provisioner",
        "local-path-provisioner",
    )],
    variables: &["main.VERSION=v0.0.30"],
};

/// k3d.
pub(super) const K3D: Build = Build {
    name: "k3d",
    version: "5.9.0",
    module: "k3d",
    programs: &[("github.com/k3d-io/k3d/v5", "k3d")],
    variables: &["github.com/k3d-io/k3d/v5/version.Version=v5.9.0"],
};

impl Build {
    /// The path of one of its programs, built when the cache lacks it.
    pub(super) fn program(&self, program: &str) -> anyhow::Result<PathBuf> {
        let title = format!("build {} {}", self.name, self.version);
        let entry = cache::entry(&title, self.name, &self.key()?, |out| self.compile(out))?;
        Ok(entry.join(program))
    }

    /// Everything the programs depend on.
    pub(super) fn key(&self) -> anyhow::Result<Key> {
        let directory = module_directory(self.module);
        let mut key = Key::new()
            .with_file(&directory.join("go.mod"))?
            .with_file(&directory.join("go.sum"))?
            .with(toolchain()?)
            .with(self.linker_flags());
        for argument in FLAGS {
            key = key.with(argument);
        }
        for (package, program) in self.programs {
            key = key.with(package).with(program);
        }
        Ok(key)
    }

    fn compile(&self, out: &Path) -> anyhow::Result<()> {
        let mut go = go(self.module);
        go.arg("build")
            .args(FLAGS)
            .args(["-ldflags", &self.linker_flags()]);
        match self.programs {
            // A single program can be named as we like …
            [(package, program)] => go.arg("-o").arg(out.join(program)).arg(package),
            // … and several, built together, are named after their packages.
            programs => go
                .arg("-o")
                .arg(out)
                .args(programs.iter().map(|(package, _)| package)),
        };
        command::run(&mut go)?;
        for (_, program) in self.programs {
            if !out.join(program).is_file() {
                bail!("go build made no program {program}");
            }
        }
        Ok(())
    }

    /// Leaves out symbol tables, which nobody debugs here and which double the size.
    fn linker_flags(&self) -> String {
        let variables = self
            .variables
            .iter()
            .map(|variable| format!(" -X {variable}"));
        std::iter::once("-s -w".to_owned())
            .chain(variables)
            .collect()
    }
}

/// Independent of the place of the sources and of version control, so that equal inputs give equal programs.
const FLAGS: [&str; 2] = ["-trimpath", "-buildvcs=false"];

/// The directory of the sources of a module that a tool module depends on.
pub(super) fn sources(tool_module: &str, module: &str) -> anyhow::Result<PathBuf> {
    command::run(go(tool_module).args(["mod", "download", module]))?;
    let directory =
        command::output(go(tool_module).args(["list", "-m", "-f", "{{.Dir}}", module]))?;
    Ok(PathBuf::from(directory.trim()))
}

/// The checked-in directory of a tool module.
pub(super) fn module_directory(module: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("cluster/go")
        .join(module)
}

/// `go` in a tool module, with every setting that changes what is built.
fn go(module: &str) -> Command {
    let mut command = Command::new("go");
    command
        .current_dir(module_directory(module))
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off");
    command
}

/// The toolchain's version and target.
fn toolchain() -> anyhow::Result<&'static str> {
    static TOOLCHAIN: OnceLock<String> = OnceLock::new();
    if let Some(known) = TOOLCHAIN.get() {
        return Ok(known);
    }
    let found = command::output(
        Command::new("go")
            .args(["env", "GOVERSION", "GOOS", "GOARCH"])
            .env("GOTOOLCHAIN", "local"),
    )
    .context("the cluster's parts need the Go toolchain")?;
    Ok(TOOLCHAIN.get_or_init(|| found))
}
