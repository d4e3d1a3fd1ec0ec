//! What a machine looks like from outside of any cluster. Reads files and runs programs that only look.

use std::{collections::BTreeMap, fs, process::Command};

/// Settings that programs of a node are known to change where nobody hinders them.
const SETTINGS: [&str; 8] = [
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/ip_forward",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

/// Everything about the machine that a cluster must leave alone, by subject.
///
/// Other tests may run clusters of their own meanwhile. Nothing of theirs is in it either, which is the point.
pub fn look() -> BTreeMap<String, String> {
    let mut seen = BTreeMap::from([
        (
            "mounts".to_owned(),
            fs::read_to_string("/proc/self/mounts").unwrap(),
        ),
        ("links".to_owned(), run("ip", &["-brief", "link"])),
        ("addresses".to_owned(), run("ip", &["-brief", "address"])),
        (
            "routes".to_owned(),
            run("ip", &["route", "show", "table", "all"]),
        ),
        ("namespaces".to_owned(), run("ip", &["netns", "list"])),
        ("packet filter".to_owned(), run("nft", &["list", "ruleset"])),
    ]);
    for setting in SETTINGS {
        if let Ok(value) = fs::read_to_string(format!("/proc/sys/{setting}")) {
            seen.insert(setting.to_owned(), value);
        }
    }
    for directory in ["/etc", "/opt", "/run", "/var/lib", "/var/log"] {
        seen.insert(directory.to_owned(), names(directory));
    }
    seen
}

/// The subjects in which two looks differ, with both.
pub fn differences(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<String> {
    before
        .iter()
        .filter(|(subject, seen)| after.get(*subject) != Some(seen))
        .map(|(subject, seen)| {
            format!("{subject}: before\n{seen}\nafter\n{:?}", after.get(subject))
        })
        .collect()
}

/// The control groups of a cluster, in every hierarchy.
pub fn control_groups(cluster: &str) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let paths = mounts.lines().filter_map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        fields[2]
            .starts_with("cgroup")
            .then(|| format!("{}/daap-{cluster}", fields[1]))
    });
    paths.filter(|path| fs::metadata(path).is_ok()).collect()
}

/// The numbers of the processes that have `text` in their command line.
pub fn processes(text: &str) -> Vec<u32> {
    let numbers = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mentions = |number: &u32| {
        let command = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(text)
    };
    let own = std::process::id();
    numbers
        .filter(|number| *number != own)
        .filter(mentions)
        .collect()
}

fn names(directory: &str) -> String {
    let mut names: Vec<_> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        // The directory of all clusters, and what package managers and logs do by themselves.
        .filter(|name| name != "daap" && !name.ends_with(".pid"))
        .collect();
    names.sort();
    names.join("\n")
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    // A machine without the tool has nothing to compare, before and after.
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}
