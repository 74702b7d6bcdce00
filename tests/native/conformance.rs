//! docs/conformance.md and docs/security.md name only tests that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

#[test]
fn every_proof_named_in_the_table_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let table = fs::read_to_string(root.join("docs/conformance.md")).unwrap();
    let security = fs::read_to_string(root.join("docs/security.md")).unwrap();
    let rules = security.split("## Rules and their tests").nth(1).unwrap();
    let rules = rules.split("\n## ").next().unwrap().lines();
    // The project's own rules have no column for a source.
    let rules = rules.filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let rules = rules
        .map(|(rule, proofs)| format!("| {rule} | - | {}", proofs.replace("test |", "proof |")));
    let table = rules.fold(table, |table, rule| format!("{table}{rule}\n"));
    let vectors = vector_ids();
    let tests = test_names(root);
    let (mut rows, mut missing) = (0, Vec::new());
    for row in table.lines().filter(|line| line.starts_with("| ") && !line.contains("---")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [rule, _, proofs] = cells.as_slice() else {
            missing.push(format!("{row}: not three columns"));
            continue;
        };
        if *proofs == "proof" {
            continue;
        }
        rows += 1;
        let proofs: Vec<&str> = proofs.split('`').filter(|part| !part.trim().is_empty()).collect();
        assert!(!proofs.is_empty(), "{rule}: no proof");
        for proof in proofs {
            let exists = match proof.split_once(':') {
                Some(("vector", pattern)) => vectors.iter().any(|id| matches(pattern, id)),
                Some(("others", file)) => edgepass_probe::FILES.contains(&file),
                Some(("test", name)) => tests.contains(name),
                Some(("file", path)) => root.join(path).is_file(),
                _ => false,
            };
            if !exists {
                missing.push(format!("{rule}: {proof}"));
            }
        }
    }
    println!("{rows} rules, each with its proof");
    assert!(rows > 90, "the table is incomplete");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Whether `id` matches `pattern`, in which one `*` matches any text.
fn matches(pattern: &str, id: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == id,
        Some((start, end)) => {
            id.len() >= start.len() + end.len() && id.starts_with(start) && id.ends_with(end)
        }
    }
}

fn vector_ids() -> BTreeSet<String> {
    let file: Value = serde_json::from_str(include_str!("../vectors/verify.json")).unwrap();
    let lines = [include_str!("../vectors/batch.jsonl"), include_str!("../vectors/field.jsonl")];
    let lines = lines.into_iter().flat_map(str::lines);
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let own = file["vectors"].as_array().unwrap().iter().cloned().chain(lines);
    own.map(|vector| vector["id"].as_str().unwrap().to_owned()).collect()
}

/// Names of functions under `#[test]` and titles of `test(...)` in `crates`, `tests` and
/// `worker/src`.
fn test_names(root: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![root.join("crates"), root.join("tests"), root.join("worker/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("rs") => names.extend(rust_tests(&fs::read_to_string(path).unwrap())),
                Some("mjs") => names.extend(node_tests(&fs::read_to_string(path).unwrap())),
                _ => {}
            }
        }
    }
    names
}

fn rust_tests(text: &str) -> Vec<String> {
    // A test of the suite that every storage passes is listed in a macro, as `MODULE: NAME,`.
    let listed = text.split_once("crate::suite::each! {").map_or("", |(_, list)| list);
    let listed = listed.lines().map_while(|line| match line.trim() {
        "}" => None,
        line => Some(line.split_once(": ").map(|(_, name)| name.trim_end_matches(',').to_owned())),
    });
    let after = text.split("#[test]\n").skip(1).chain(text.split("#[tokio::test]\n").skip(1));
    let name = |rest: &str| {
        let declaration = rest.lines().find(|line| line.contains("fn "))?;
        let (_, name) = declaration.split_once("fn ")?;
        name.split('(').next().map(str::to_owned)
    };
    after.filter_map(name).chain(listed.flatten()).collect()
}

fn node_tests(text: &str) -> Vec<String> {
    let title = |rest: &str| rest.split('\'').next().map(str::to_owned);
    text.split("\ntest('").skip(1).filter_map(title).collect()
}
