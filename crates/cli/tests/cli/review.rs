//! `edgepass review`, on a generated year of use in which some facts are planted.

use std::fmt::Write;
use std::fs;
use std::time::SystemTime;

use serde_json::Value;

use crate::keys::run_sql;
use crate::{Issuer, lines, said};

const DAY: u64 = 24 * 60 * 60;

/// Roles and clients. What is planted says so in its name.
const POLICY: &str = r#"
[[role]]
name = "busy"
audience = "https://api.example"
scopes = ["a:read", "a:write"]
lifetime = "10m"

[[role]]
name = "planted-unused"
audience = "https://api.example"
scopes = ["a:read"]

[[role]]
name = "planted-scope"
audience = "https://api.example"
scopes = ["a:read", "planted:scope"]  # a comment

[[role]]
name = "planted-long"
audience = "https://api.example"
scopes = ["a:read"]
lifetime = "50m"

[[role]]
name = "planted-network"
audience = "https://api.example"
scopes = ["a:read"]

[[role]]
name = "not-known"
audience = "https://other.example"
scopes = ["b:read", "b:write"]

[[client]]
id = "worker"
roles = ["busy", "planted-scope", "planted-long", "planted-network"]
secret_hash = "sha256:AAAA:-YkZxKC2LOsuddd1L0VagGPRmCFn3X7HVqVFhgkmjBE"

[[client]]
id = "planted-idle"
roles = ["busy"]
secret_hash = "sha256:AAAA:-YkZxKC2LOsuddd1L0VagGPRmCFn3X7HVqVFhgkmjBE"

[[client]]
id = "planted-role"
roles = ["busy", "planted-scope"]
secret_hash = "sha256:AAAA:-YkZxKC2LOsuddd1L0VagGPRmCFn3X7HVqVFhgkmjBE"
"#;

fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// A year of use: each day's sums, and the tokens of the last day.
fn year() -> String {
    let (mut sql, now) = (String::new(), now());
    let today = now / DAY;
    for day in today - 364..=today {
        for (role, client, scope) in [
            ("busy", "worker", "a:read"),
            ("busy", "worker", "a:write"),
            ("busy", "planted-role", "a:read"),
            ("planted-scope", "worker", "a:read"),
            ("planted-long", "worker", "a:read"),
            ("planted-network", "worker", "a:read"),
        ] {
            let count = 100 + (day * 7) % 50;
            writeln!(
                sql,
                "INSERT INTO usage_days VALUES ({day}, '{role}', '{client}', 'GET /x', '{scope}', 'accepted', {count});"
            )
            .unwrap();
        }
        // A scope that was asked for in vain is not used.
        writeln!(
            sql,
            "INSERT INTO usage_days VALUES ({day}, 'planted-scope', 'worker', 'GET /y', 'planted:scope', 'token_expired', 3);"
        )
        .unwrap();
    }
    let mut seq = 0;
    let list = "SELECT id FROM status_lists LIMIT 1";
    for (role, used_for, networks) in [
        ("busy", 560, ["1", "2"]),
        ("planted-scope", 560, ["1", "2"]),
        ("planted-long", 100, ["1", "2"]),
        ("planted-network", 560, ["1", "1"]),
    ] {
        for number in 0..40_u64 {
            seq += 1;
            let issued = now - 2 * DAY + number;
            let expires = issued + 3000;
            let (first, last) = ((issued + 5) * 1000, (issued + used_for) * 1000);
            let network = networks[number as usize % 2];
            writeln!(
                sql,
                "INSERT INTO tokens (jwt_id, role, client_id, subject, audience, scope, key_id, created_by, issued_at, \
                 expiration, list_id, list_index, list_counter, status, seq) SELECT 'g{seq}', '{role}', 'worker', 'worker', \
                 'https://api.example', 'a:read', 'k', 'client:worker', {issued}, {expires}, ({list}), {seq}, {seq}, 0, {seq} + 1000; \
                 INSERT INTO token_uses VALUES ({seq} + 1000, 9, 0, {first}, {last}, NULL, \
                 '{{\"asns\":{{\"{network}\":[9,{last}]}}}}');"
            )
            .unwrap();
        }
    }
    let begin = (now - 366 * DAY) * 1000;
    writeln!(
        sql,
        "INSERT INTO usage_reporters VALUES ('guard', '[\"https://api.example\"]', {begin}, {}, 9, 0, 0, 0, NULL);",
        now * 1000
    )
    .unwrap();
    sql
}

#[test]
fn a_year_with_planted_facts_shows_all_of_them_and_nothing_else() {
    let issuer = Issuer::new();
    let file = issuer.path("edgepass.toml");
    let text = fs::read_to_string(&file).unwrap();
    let (head, _) = text.split_once("# A role: one audience").unwrap();
    fs::write(&file, format!("{head}{POLICY}")).unwrap();
    let token = issuer.run(&["issue", "--role", "busy"]);
    assert_eq!(token.status.code(), Some(0), "{}", said(&token));
    let database = issuer.path("data/edgepass.db");
    run_sql(&database, year());
    let before = (now() - 400 * DAY) * 1000;
    run_sql(
        &database,
        format!(
            "UPDATE policies SET served_since_ms = {before} WHERE number = (SELECT max(number) FROM policies)"
        ),
    );

    let output = issuer.run(&["review", "--json", "--max-secret-age", "500d"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let found = lines(&output.stdout);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let whole = |one: &Value| {
        format!("{} {}: {}", text(&one["kind"]), text(&one["name"]), text(&one["what"]))
    };
    let names: Vec<String> = found.iter().map(whole).collect();
    let expected = [
        "role planted-unused: none of its tokens was used in 90d",
        "role planted-scope: no route needed planted:scope in 90d, in ",
        "role planted-long: of 40 tokens none was used later than 100 s after its issue",
        "role planted-network: all of its last 40 tokens were used from one network, AS1",
        "client planted-idle: none of its tokens was used in 90d",
        "client planted-role: none of its tokens of role planted-scope was used in 90d",
    ];
    assert_eq!(names.len(), expected.len(), "{names:#?}");
    for (own, expected) in names.iter().zip(expected) {
        assert!(own.starts_with(expected), "{names:#?}");
    }
    let scope = text(&found[1]["diff"]);
    assert!(scope.contains("-scopes = [\"a:read\", \"planted:scope\"]  # a comment"), "{scope}");
    assert!(scope.contains("+scopes = [\"a:read\"]  # a comment"), "{scope}");
    assert!(text(&found[2]["diff"]).contains("+lifetime = \"4m\""), "{}", found[2]);
    assert!(text(&found[3]["diff"]).contains("+networks = [\"AS1\"]"), "{}", found[3]);
    // Older secrets are another finding: each client has the one of the first version.
    let with_secrets = lines(&issuer.run(&["review", "--json"]).stdout);
    let old = with_secrets.iter().filter(|one| text(&one["what"]).contains("days old")).count();
    assert_eq!((with_secrets.len(), old), (9, 3));

    // Nothing is written without an answer; with one the policy is right, and the review has nothing left.
    let unsure = issuer.run(&["review", "--fix"]);
    assert_eq!(unsure.status.code(), Some(2), "{}", said(&unsure));
    let fixed = issuer.run(&["review", "--fix", "--yes", "--max-secret-age", "500d"]);
    assert_eq!(fixed.status.code(), Some(1), "{}", said(&fixed));
    let check = issuer.run(&["policy", "check"]);
    assert_eq!(check.status.code(), Some(0), "{}", said(&check));
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains("planted-unused") && !text.contains("planted-idle"), "{text}");
    let again = issuer.run(&["review", "--json", "--max-secret-age", "500d"]);
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));
    let says = said(&issuer.run(&["review", "--max-secret-age", "500d"]));
    assert!(says.contains("role not-known was not looked at"), "{says}");
}
