//! `docs/errors.md` has a section for each code, in the order of the checks.

use std::fs;
use std::path::Path;

#[test]
fn every_code_has_a_section_that_says_who_can_fix_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let page = read("docs/errors.md");

    let source = read("crates/verify/src/error.rs");
    let codes = source.split("pub fn code(").nth(1).unwrap().split("pub fn ").next().unwrap();
    let codes: Vec<&str> = codes.split('"').skip(1).step_by(2).collect();
    assert!(codes.len() > 20, "{codes:?}");
    let sections: Vec<&str> = page.split("\n## ").skip(1).take(codes.len()).collect();
    for (section, code) in sections.iter().zip(&codes) {
        let status = match *code {
            "request_invalid" => 400,
            "cross_site_request"
            | "network_not_allowed"
            | "scope_insufficient"
            | "purpose_not_allowed" => 403,
            code if code.ends_with("_unavailable") => 503,
            _ => 401,
        };
        check(section, code, status);
    }
    assert_eq!(sections.len(), codes.len());

    // The guard's own: `Refusal::plain(404, "route_not_found", ..)`.
    let guard =
        ["lib", "masking", "respond"].map(|file| read(&format!("worker/src/{file}.rs"))).concat();
    let own: Vec<&str> = guard.split("Refusal::plain(").skip(1).collect();
    let sections: Vec<&str> = page.split("\n### ").skip(1).collect();
    assert_eq!(sections.len(), own.len());
    for call in own {
        let (status, rest) = call.split_once(", \"").unwrap();
        let code = rest.split('"').next().unwrap();
        let section = sections.iter().find(|section| section.lines().next() == Some(code));
        check(section.unwrap_or(&""), code, status.parse().unwrap());
    }
}

fn check(section: &str, code: &str, status: u16) {
    assert_eq!(section.lines().next(), Some(code));
    for part in [format!("\nHTTP {status}"), "*Who can fix it:*".to_owned()] {
        assert!(section.contains(&part), "{code} lacks {part}");
    }
}
