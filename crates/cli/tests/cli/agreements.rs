//! Tokens under an agreement: what they say of it, and that they end with it.

use std::fs;
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use crate::serving::Serving;
use crate::{lines, said};

const POLICY: &str = r#"
[[scope]]
name = "invoices:read"
description = "Reads invoices"
data = ["contact", "payment"]
subjects = ["customers"]
personal = true

[[scope]]
name = "invoices:write"
description = "Writes invoices"
data = ["contact", "contract", "payment"]
subjects = ["customers"]
personal = true

[[scope]]
name = "edgepass:read"
description = "Lists"
personal = false

[[scope]]
name = "edgepass:audit"
description = "Audits"
personal = false

[[scope]]
name = "edgepass:operate"
description = "Operates"
personal = false

[[scope]]
name = "edgepass:usage"
description = "Reports"
personal = false

[[agreement]]
id = "dpa-1"
parties = ["Shop SE", "Invoices GmbH"]
purposes = ["invoicing", "fraud prevention"]
data = ["contact", "payment", "contract"]
regions = ["EU", "CH"]
enforce_regions = true
start = 2026-01-01

[[agreement]]
id = "dpa-2"
parties = ["Shop SE", "Other GmbH"]
purposes = ["support"]
data = ["contact", "payment", "contract"]
start = 2026-01-01
"#;

fn serving() -> Serving {
    let serving = Serving::start_prepared(
        |text| {
            let text = text
                .replace(
                    "name = \"invoice-reader\"",
                    "name = \"invoice-reader\"\nagreement = \"dpa-1\"",
                )
                .replace(
                    "name = \"invoice-clerk\"",
                    "name = \"invoice-clerk\"\nagreement = \"dpa-2\"",
                );
            format!("{text}\n{POLICY}")
        },
        |_| {},
    );
    serving.wait_until_ready();
    serving
}

fn issue(serving: &Serving, arguments: &[&str]) -> (String, Value) {
    let issued = serving.issuer.run(&[&["issue", "--json", "--role"], arguments].concat());
    assert_eq!(issued.status.code(), Some(0), "{}", said(&issued));
    let issued: Value = serde_json::from_slice(&issued.stdout).unwrap();
    let token = issued["access_token"].as_str().unwrap();
    let shown = serving.issuer.run_with_input(&["inspect", "-", "--json"], token).stdout;
    let shown: Value = serde_json::from_slice(&shown).unwrap();
    (issued["jti"].as_str().unwrap().to_owned(), shown["claims"].clone())
}

#[test]
fn a_token_says_under_which_agreement_it_is_used() {
    let serving = serving();
    let (_, claims) = issue(&serving, &["invoice-reader"]);
    assert_eq!(
        claims["authorization_details"],
        json!([{
            "type": "edgepass_agreement", "agreement": "dpa-1",
            "purposes": ["invoicing", "fraud prevention"], "datatypes": ["contact", "payment"],
            "regions": ["EU", "CH"],
        }])
    );
    // Only the data of the granted scope.
    let (_, claims) = issue(&serving, &["invoice-clerk", "--scope", "invoices:read"]);
    let detail = &claims["authorization_details"][0];
    assert_eq!(detail["datatypes"], json!(["contact", "payment"]));
    assert_eq!(detail.get("regions"), None);
    let (_, claims) = issue(&serving, &["invoice-clerk"]);
    assert_eq!(
        claims["authorization_details"][0]["datatypes"],
        json!(["contact", "contract", "payment"])
    );
    let (_, claims) = issue(&serving, &["edgepass-operator", "--subject", "ada"]);
    assert_eq!(claims.get("authorization_details"), None);
}

#[test]
fn the_tokens_of_an_agreement_are_revoked_by_its_name_and_with_its_end() {
    let serving = serving();
    let (one, _) = issue(&serving, &["invoice-reader"]);
    let (other, _) = issue(&serving, &["invoice-clerk"]);
    serving.act(&["suspend", "--agreement", "dpa-1"], 1);
    assert_eq!((serving.status(&one), serving.status(&other)), ("suspended".into(), "live".into()));
    serving.act(&["revoke", "--agreement", "dpa-1"], 1);
    assert_eq!((serving.status(&one), serving.status(&other)), ("revoked".into(), "live".into()));
    let none =
        serving.issuer.run(&["revoke", "--agreement", "dpa-3", "--reason", "test", "--dry-run"]);
    // Probably mistyped.
    assert!(none.status.code() == Some(1) && crate::told(&none).contains("no such agreement"));

    // Another end, by policy: its tokens end with it, and no other ones.
    let (bystander, _) = issue(&serving, &["edgepass-reader", "--subject", "ada"]);
    let file = serving.issuer.path("edgepass.toml");
    let text = fs::read_to_string(&file).unwrap();
    let id = "id = \"dpa-2\"";
    assert!(text.contains(id));
    fs::write(&file, text.replace(id, "id = \"dpa-2\"\nend = 2026-06-30")).unwrap();
    let applied = serving.issuer.run(&["policy", "apply"]);
    assert_eq!(applied.status.code(), Some(0), "{}", said(&applied));
    serving.wait_for("the tokens of the agreement are revoked", || {
        serving.status(&other) == "revoked"
    });
    assert_eq!(serving.status(&bystander), "live");
    let trail = lines(&serving.issuer.run(&["audit", "--json"]).stdout);
    let by_policy = trail.iter().find(|entry| entry["actor"] == "policy").unwrap();
    assert!(by_policy["reason"].as_str().unwrap().contains("dpa-2"), "{by_policy}");
    let refused = serving.issuer.run(&["issue", "--role", "invoice-clerk"]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
}

#[test]
fn an_end_that_comes_sooner_ends_tokens_when_it_comes_also_suspended_ones() {
    let serving = serving();
    let (live, _) = issue(&serving, &["invoice-clerk"]);
    let (other, _) = issue(&serving, &["invoice-clerk"]);
    let suspended = serving.issuer.run(&["suspend", "--jti", &other, "--reason", "test"]);
    assert_eq!(suspended.status.code(), Some(0), "{}", said(&suspended));
    let file = serving.issuer.path("edgepass.toml");
    let text = fs::read_to_string(&file).unwrap();
    let soon = UNIX_EPOCH.elapsed().unwrap().as_secs() + 6;
    let soon = chrono::DateTime::from_timestamp(soon.try_into().unwrap(), 0).unwrap();
    let end = format!("id = \"dpa-2\"\nend = {}", soon.format("%Y-%m-%dT%H:%M:%SZ"));
    fs::write(&file, text.replace("id = \"dpa-2\"", &end)).unwrap();
    let applied = serving.issuer.run(&["policy", "apply"]);
    assert_eq!(applied.status.code(), Some(0), "{}", said(&applied));
    assert_eq!(
        (serving.status(&live), serving.status(&other)),
        ("live".into(), "suspended".into())
    );
    serving.wait_for("the tokens are revoked", || {
        serving.status(&live) == "revoked" && serving.status(&other) == "revoked"
    });
}

#[test]
fn an_earlier_policy_ends_the_tokens_of_an_agreement_that_it_does_not_have() {
    let serving = serving();
    let file = serving.issuer.path("edgepass.toml");
    let before = fs::read_to_string(&file).unwrap();
    let (own, _) = issue(&serving, &["invoice-reader"]);
    let apply = |text: &str| {
        fs::write(&file, text).unwrap();
        let applied = serving.issuer.run(&["policy", "apply"]);
        assert_eq!(applied.status.code(), Some(0), "{}", said(&applied));
    };
    let with = |id: &str| {
        before
            .replace("agreement = \"dpa-2\"", &format!("agreement = \"{id}\""))
            .replace("id = \"dpa-2\"", &format!("id = \"{id}\""))
    };
    // Each policy takes out the agreement of the one before. The second one is the first again.
    for id in ["dpa-3", "dpa-2", "dpa-4", "dpa-3"] {
        apply(&with(id));
        let (token, _) = issue(&serving, &["invoice-clerk"]);
        apply(&with("dpa-5"));
        serving.wait_for("the token is revoked", || serving.status(&token) == "revoked");
    }
    assert_eq!(serving.status(&own), "live");
    let numbers = lines(&serving.issuer.run(&["audit", "--json"]).stdout);
    let applied = numbers.iter().filter_map(|entry| entry["policy"].as_u64()).max().unwrap();
    // That of `init`, the first here, and three others.
    assert_eq!(applied, 5, "a version that is used again keeps its number, and skips none");
}

#[test]
fn an_agreement_that_was_taken_out_ends_its_tokens_also_after_a_restart() {
    let mut serving = serving();
    let (token, _) = issue(&serving, &["invoice-clerk"]);
    serving.kill();
    let file = serving.issuer.path("edgepass.toml");
    let text = fs::read_to_string(&file).unwrap();
    let (before, after) = text.split_at(text.find("[[agreement]]\nid = \"dpa-2\"").unwrap());
    assert!(!after.contains("[[role]]"));
    let text = before.replace("agreement = \"dpa-2\"", "agreement = \"dpa-1\"");
    fs::write(&file, text).unwrap();
    serving.restart();
    serving.wait_until_ready();
    serving.wait_for("the token is revoked", || serving.status(&token) == "revoked");
}

#[test]
fn only_regions_that_a_verifier_can_compare_are_enforced() {
    let serving = serving();
    let file = serving.issuer.path("edgepass.toml");
    let text = fs::read_to_string(&file).unwrap();
    for wrong in ["regions = [\"Europe\"]", "regions = []", ""] {
        fs::write(&file, text.replace("regions = [\"EU\", \"CH\"]", wrong)).unwrap();
        let checked = serving.issuer.run(&["policy", "check"]);
        let says = crate::told(&checked);
        assert!(checked.status.code() == Some(1) && says.contains("enforce_regions"), "{says}");
    }
}
