//! Linters find nothing in the contract: Spectral's rules for OpenAPI, those of OWASP's API security project, and
//! Redocly's strict ones. What is switched off is in `tests/contract`, with the reason.

use serde_json::{Value, json};

use super::{CONTRACT, Workshop, output_of};

/// The rules that a document breaks, as Spectral and OWASP's rules see it, and as Redocly does.
fn broken_rules(workshop: &Workshop, document: &str) -> [Vec<String>; 2] {
    workshop.write("openapi.json", document);
    [spectral(workshop), redocly(workshop)]
}

fn spectral(workshop: &Workshop) -> Vec<String> {
    let mut command = workshop.npm_program("spectral");
    command.args(["lint", "--quiet", "--ruleset=spectral.yaml"]);
    command.args(["--format=json", "--output=findings.json", "openapi.json"]);
    let (_, said) = output_of(&mut command);
    let findings: Value = parsed(workshop.read("findings.json").as_bytes(), &said);
    let finding = |finding: &Value| {
        let path = finding["path"].as_array().into_iter().flatten();
        let path: Vec<_> = path.map(|part| part.to_string().replace('"', "")).collect();
        let (code, message) = (&finding["code"], &finding["message"]);
        format!("{code} at {}: {message}", path.join(" > "))
    };
    findings.as_array().unwrap().iter().map(finding).collect()
}

fn redocly(workshop: &Workshop) -> Vec<String> {
    let mut command = workshop.npm_program("redocly");
    command
        .env("REDOCLY_TELEMETRY", "off")
        .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
        .args(["lint", "--config=redocly.yaml", "--format=json"])
        .arg("openapi.json");
    let (output, said) = output_of(&mut command);
    let findings: Value = parsed(&output.stdout, &said);
    let finding = |finding: &Value| {
        let (rule, message) = (&finding["ruleId"], &finding["message"]);
        format!("{rule} at {}: {message}", finding["location"][0]["pointer"])
    };
    findings["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(finding)
        .collect()
}

fn parsed(findings: &[u8], said: &str) -> Value {
    serde_json::from_slice(findings).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn workshop(name: &str) -> Workshop {
    Workshop::with(name, &["spectral.yaml", "redocly.yaml"])
}

#[test]
fn linters_find_nothing() {
    let [spectral, redocly] = broken_rules(&workshop("lint"), CONTRACT);
    assert!(spectral.is_empty(), "{spectral:#?}");
    assert!(redocly.is_empty(), "{redocly:#?}");
}

/// Each rule set is really applied.
#[test]
fn linters_would_find_something() {
    let mut document: Value = serde_json::from_str(CONTRACT).unwrap();
    let operation = &mut document["paths"]["/databases"]["post"];
    operation["tags"] = json!(["Unheard of"]);
    operation["responses"]
        .as_object_mut()
        .unwrap()
        .remove("429");
    operation.as_object_mut().unwrap().remove("summary");
    let [spectral, redocly] = broken_rules(&workshop("lint-broken"), &document.to_string());
    let breaks = |findings: &[String], rule: &str| {
        let found = findings.iter().any(|finding| finding.contains(rule));
        assert!(found, "{rule}: {findings:#?}");
    };
    breaks(&spectral, "operation-tag-defined");
    breaks(&spectral, "owasp:api4:2023-rate-limit-responses-429");
    breaks(&redocly, "operation-summary");
}
