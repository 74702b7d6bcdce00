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
    assert_eq!(headings(&page, "\n## ").collect::<Vec<_>>()[..codes.len()], codes[..]);

    let guard = ["lib", "respond"].map(|file| read(&format!("worker/src/{file}.rs"))).concat();
    let plain = guard.split("Refusal::plain(").skip(1);
    let mut of_guard: Vec<&str> = plain.map(|call| call.split('"').nth(1).unwrap()).collect();
    let mut sections: Vec<&str> = headings(&page, "\n### ").collect();
    of_guard.sort_unstable();
    sections.sort_unstable();
    assert_eq!(sections, of_guard);

    for section in page.split("\n#").skip(1).filter(|section| section.contains("HTTP ")) {
        let code = section.lines().next().unwrap();
        for part in ["\nHTTP ", "*Who can fix it:*"] {
            assert!(section.contains(part), "{code} lacks {part}");
        }
    }
}

fn headings<'t>(page: &'t str, mark: &'t str) -> impl Iterator<Item = &'t str> {
    page.split(mark).skip(1).map(|section| section.lines().next().unwrap())
}
