//! A cluster of k3d, for machines with a Docker engine. Runs k3d, which makes containers.
//!
//! In: `config/k3d.yaml`. Out: a kubeconfig in the cluster's directory.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{
    artifacts::{self, Program},
    node::Layout,
};

/// How long a Docker engine gets to say that it is there.
const ANSWER: Duration = Duration::from_secs(5);

/// Whether a Docker engine answers. Having the client says nothing: it may have no engine to talk to.
pub async fn engine_answers() -> bool {
    let mut command = tokio::process::Command::new("docker");
    command
        .args(["version", "--format", "{{.Server.Version}}"])
        .kill_on_drop(true);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let answer = tokio::time::timeout(ANSWER, command.output()).await;
    matches!(answer, Ok(Ok(output)) if output.status.success() && !output.stdout.trim_ascii().is_empty())
}

/// An error where no Docker engine answers.
pub async fn ensure_engine() -> Result<()> {
    ensure!(
        engine_answers().await,
        "k3d needs a Docker engine, and none answers"
    );
    Ok(())
}

/// Creates or starts the cluster, and writes its kubeconfig.
pub fn up(layout: &Layout) -> Result<()> {
    if exists(layout)? {
        run(&["cluster", "start", layout.name()])?;
    } else {
        let configuration = layout.state().join("k3d.yaml");
        fs::write(&configuration, include_str!("config/k3d.yaml"))
            .context("writing k3d's configuration")?;
        let address = layout.api_server().to_string();
        run(&[
            "cluster",
            "create",
            layout.name(),
            "--config",
            text(&configuration)?,
            "--api-port",
            &address,
        ])?;
    }
    let kubeconfig = run(&["kubeconfig", "get", layout.name()])?;
    fs::write(layout.kubeconfig(), kubeconfig).context("writing the kubeconfig")
}

/// Removes the cluster, if it is there.
pub fn down(layout: &Layout) -> Result<()> {
    if exists(layout)? {
        run(&["cluster", "delete", layout.name()])?;
    }
    Ok(())
}

/// Gives the cluster's node the images of an archive.
pub fn load(layout: &Layout, archive: &Path) -> Result<()> {
    run(&[
        "image",
        "import",
        "--cluster",
        layout.name(),
        text(archive)?,
    ])
    .map(drop)
}

fn exists(layout: &Layout) -> Result<bool> {
    let output = k3d()?
        .args(["cluster", "get", layout.name()])
        .output()
        .context("running k3d")?;
    Ok(output.status.success())
}

fn run(arguments: &[&str]) -> Result<Vec<u8>> {
    let output = k3d()?.args(arguments).output().context("running k3d")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "k3d {}: {}",
        arguments.join(" "),
        errors.trim()
    );
    Ok(output.stdout)
}

fn k3d() -> Result<Command> {
    let mut command = Command::new(artifacts::program(Program::K3d)?);
    command.stdin(Stdio::null());
    Ok(command)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not text", path.display()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::Value;

    use super::*;

    /// The schema by which k3d judges its configuration, from its own sources.
    fn schema() -> Result<Value> {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/go/k3d");
        let module = "github.com/k3d-io/k3d/v5";
        let mut command = Command::new("go");
        command
            .args(["mod", "download", "-json", module])
            .current_dir(&tools);
        let output = command.output().context("running go")?;
        ensure!(
            output.status.success(),
            "go: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let answer: Value = serde_json::from_slice(&output.stdout).context("go's answer")?;
        let directory = PathBuf::from(answer["Dir"].as_str().context("no directory")?);
        let schema = fs::read(directory.join("pkg/config/v1alpha5/schema.json"))
            .context("reading k3d's schema")?;
        serde_json::from_slice(&schema).context("understanding k3d's schema")
    }

    fn configuration() -> Value {
        serde_yaml::from_str(include_str!("config/k3d.yaml")).unwrap()
    }

    #[test]
    fn the_configuration_is_what_k3d_understands() {
        let schema = jsonschema::draft7::new(&schema().unwrap()).unwrap();
        let errors: Vec<_> = schema
            .iter_errors(&configuration())
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?}");

        let mut wrong = configuration();
        wrong["servers"] = "one".into();
        assert!(!schema.is_valid(&wrong), "the schema judges nothing");
    }

    #[test]
    fn the_version_of_k3s_is_pinned() {
        let image = configuration()["image"].as_str().unwrap().to_owned();
        assert!(image.starts_with("rancher/k3s:v1.36."), "{image}");
    }
}
