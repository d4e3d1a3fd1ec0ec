//! The node's network: a bridge for pods, and no way out. Configures the network namespace it is called in.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use super::layout::NODE_ADDRESS;
use crate::cluster::components::SERVICE_RANGE;

/// Pods' packets pass the packet filter even from one pod to another on the same bridge.
///
/// Without that, an answer from behind a service would come from an address that the asking pod never asked.
const BRIDGE_FILTER: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// Makes the interfaces and routes.
pub fn arrange() -> Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "add", "cni0", "type", "bridge"])?;
    ip(&[
        "address",
        "add",
        &format!("{NODE_ADDRESS}/24"),
        "dev",
        "cni0",
    ])?;
    ip(&["link", "set", "cni0", "up"])?;
    // Requests to services need some route before the packet filter can lead them to a pod.
    ip(&["route", "add", SERVICE_RANGE, "dev", "cni0"])?;
    set("/proc/sys/net/ipv4/ip_forward")?;
    if !Path::new(BRIDGE_FILTER).exists() {
        run(Command::new("modprobe").arg("br_netfilter"))
            .context("the kernel module br_netfilter is needed and could not be loaded")?;
    }
    set(BRIDGE_FILTER)
}

fn set(setting: &str) -> Result<()> {
    fs::write(setting, "1").with_context(|| format!("setting {setting}"))
}

fn ip(arguments: &[&str]) -> Result<()> {
    run(Command::new("ip").args(arguments))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("running {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
