//! The lines between crates and modules, as `docs/ARCHITECTURE.md` draws them. Reads the workspace's own files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// What each package may depend on, of this workspace.
const DIRECTIONS: [(&str, &[&str]); 5] = [
    ("daap-crds", &[]),
    ("daap-config", &["daap-crds"]),
    ("daap-controller", &["daap-config", "daap-crds"]),
    ("daap-facade", &["daap-config", "daap-crds"]),
    (
        "daap-tests",
        &["daap-config", "daap-controller", "daap-crds", "daap-facade"],
    ),
];

/// Words that may appear in some places only: where they are looked for, the word, where it may be, and why.
const BORDERS: &[(&str, &str, &[&str], &str)] = &[
    (
        "facade/src",
        "poem",
        &["facade/src/api", "facade/src/http"],
        "the web framework can be replaced",
    ),
    (
        "facade/src",
        "poem_openapi",
        &["facade/src/api", "facade/src/http"],
        "the web framework can be replaced",
    ),
    (
        "facade/src",
        "sqlx",
        &["facade/src/store"],
        "SQL is in one place",
    ),
    (
        "facade/src",
        "jiff_sqlx",
        &["facade/src/store"],
        "SQL is in one place",
    ),
    (
        "facade/src",
        "kube",
        &["facade/src/cluster"],
        "the cluster is written in one place",
    ),
    (
        "facade/src",
        "cnpg",
        &[],
        "the facade does not know CloudNativePG",
    ),
    (
        "controller/src",
        "tokio_postgres",
        &["controller/src/tenant_sql"],
        "SQL of tenants is in one place",
    ),
    (
        "controller/src",
        "sqlx",
        &["controller/src/tenant_sql"],
        "SQL of tenants is in one place",
    ),
    (
        "controller/src",
        "Api",
        &["controller/src/k8s", "controller/src/controllers"],
        "the cluster is read and written in one place",
    ),
    (
        "controller/src",
        "aws_sdk_s3",
        &["controller/src/archive/s3"],
        "object stores are read and purged in one place",
    ),
    ("crds/src", "tokio", &[], "pure"),
    ("crds/src", "Client", &[], "pure"),
    ("crds/src", "Instant", &[], "pure"),
    ("crds/src", "SystemTime", &[], "pure"),
];

/// Connections are made in one place and handed on to the layer that uses them. Naming their types is no trespass.
const HANDED_ON: [&str; 2] = ["use kube::Client;", "use sqlx::PgPool;"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// Every Rust file of the workspace by its path in it, with `/` between the parts.
fn sources() -> BTreeMap<String, String> {
    let root = workspace();
    let mut directories: Vec<PathBuf> = ["crds", "config", "controller", "facade", "tests"]
        .iter()
        .map(|package| root.join(package))
        .collect();
    let mut sources = BTreeMap::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path
                    .strip_prefix(&root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                sources.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(
        sources.contains_key("crds/src/lib.rs"),
        "the sources were not found"
    );
    sources
}

/// Whether a path is one of these places, or below one. A module is a file `name.rs` or a directory `name`.
fn is_in(path: &str, places: &[&str]) -> bool {
    let module = path.strip_suffix(".rs").unwrap_or(path);
    places.iter().any(|place| {
        let place = place.strip_suffix(".rs").unwrap_or(place);
        module == place || path.starts_with(&format!("{place}/"))
    })
}

/// The numbers of the lines that use a word, comments aside.
fn lines_with(word: &str, source: &str) -> Vec<usize> {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    let has_word = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        code.split(|character| !is_part(character))
            .any(|part| part == word)
    };
    source
        .lines()
        .enumerate()
        .filter(|(_, line)| has_word(line) && !HANDED_ON.contains(line))
        .map(|(index, _)| index + 1)
        .collect()
}

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(workspace());
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn packages_depend_on_each_other_in_one_direction() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let mut found = BTreeSet::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let (_, allowed) = DIRECTIONS
            .iter()
            .find(|(known, _)| *known == name)
            .expect(name);
        found.insert(name);
        for dependency in package["dependencies"].as_array().unwrap() {
            let dependency = dependency["name"].as_str().unwrap();
            let own = dependency.starts_with("daap-");
            assert!(
                !own || allowed.contains(&dependency),
                "{name} must not depend on {dependency}"
            );
        }
    }
    assert_eq!(found.len(), DIRECTIONS.len());
}

#[test]
fn words_stay_where_they_belong() {
    let mut trespasses = Vec::new();
    for (path, source) in sources() {
        for (area, word, places, why) in BORDERS {
            if is_in(&path, &[area]) && !is_in(&path, places) {
                let lines = lines_with(word, &source).into_iter();
                trespasses
                    .extend(lines.map(|line| format!("{path}:{line}: `{word}`, although {why}")));
            }
        }
    }
    assert!(trespasses.is_empty(), "\n{}", trespasses.join("\n"));
}

#[test]
fn every_package_takes_the_workspaces_lints() {
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\""));
    for package in metadata()["packages"].as_array().unwrap() {
        let path = package["manifest_path"].as_str().unwrap();
        let manifest = fs::read_to_string(path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{path}");
    }
}

/// An exception from a lint says why, and goes when it is not needed any more: `expect` does both.
#[test]
fn no_lint_is_allowed_away() {
    // Put together here, so that this file does not have it.
    let attribute = ["#[", "allow("].concat();
    let inner = ["#![", "allow("].concat();
    for (path, source) in sources() {
        assert!(
            !source.contains(&attribute) && !source.contains(&inner),
            "{path}: write expect with a reason"
        );
    }
}

#[test]
fn every_module_says_what_it_is() {
    // A file of tests says by its name what it is.
    let sources = sources()
        .into_iter()
        .filter(|(path, _)| !path.ends_with("/tests.rs"));
    for (path, source) in sources {
        assert!(source.starts_with("//! "), "{path} has no head");
        let head: Vec<_> = source
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect();
        assert!(!head.concat().contains("TODO"), "{path} has no head");
    }
}

/// All integration tests are in one binary, because linking one takes longer than running it.
#[test]
fn there_is_one_integration_test_binary() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let targets = packages.flat_map(|package| package["targets"].as_array().unwrap());
    let tests: Vec<_> = targets
        .filter(|target| target["kind"][0] == "test")
        .map(|target| &target["name"])
        .collect();
    assert_eq!(tests, ["it"]);
}

/// The README tells of every dependency why it is there.
#[test]
fn every_dependency_has_a_reason() {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let (_, section) = manifest.split_once("[workspace.dependencies]").unwrap();
    let (section, _) = section.split_once("\n[").unwrap();
    let names = section
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name.trim());
    let names = names.filter(|name| !name.starts_with(['#', ' ']) && !name.starts_with("daap-"));
    let unexplained: Vec<_> = names
        .filter(|name| !readme.contains(&format!("`{name}`")))
        .collect();
    assert!(
        unexplained.is_empty(),
        "README.md does not tell why these are needed: {}",
        unexplained.join(", ")
    );
}

#[test]
fn words_are_found_and_not_parts_of_words() {
    assert_eq!(
        lines_with(
            "poem",
            "use poem::Route;\nlet poems = 1; // poem\npoem_openapi::x()"
        ),
        [1]
    );
    assert!(
        is_in("facade/src/api.rs", &["facade/src/api"])
            && is_in("facade/src/api/a.rs", &["facade/src/api"])
    );
    assert!(!is_in("facade/src/apiary.rs", &["facade/src/api"]));
}
