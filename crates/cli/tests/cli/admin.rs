//! `/admin/v1`, and the commands that use it with `--server`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::serving::Serving;
use crate::{Issuer, assert_refused, lines, said, told};

/// Runs a command against the issuer over HTTP, with a token, in a folder without a configuration.
fn remote(serving: &Serving, token: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let elsewhere = Issuer { folder: tempfile::tempdir().unwrap() };
    let server = ["--server", &serving.url];
    let mut command = elsewhere.command(&[arguments, &server].concat());
    let output = crate::ended(command.env("EDGEPASS_TOKEN", token));
    (output.status.code(), told(&output))
}

/// A token of the role, for a subject, with one scope or all.
fn operator(serving: &Serving, subject: &str, scope: Option<&str>) -> String {
    let mut arguments = vec!["issue", "--role", "edgepass-operator", "--subject", subject];
    arguments.extend(scope.iter().flat_map(|scope| ["--scope", scope]));
    let output = serving.issuer.run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn local(serving: &Serving, arguments: &[&str]) -> String {
    let output = serving.issuer.run(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_remote_command_says_the_same_as_a_local_one() {
    let serving = Serving::start();
    let token = operator(&serving, "ada", None);
    for subject in ["a", "b"] {
        serving.issue(&["invoice-reader", "--subject", subject]);
    }
    for arguments in [
        &["tokens", "--json"][..],
        &["tokens", "--csv", "--subject", "a"],
        &["tokens", "--role", "invoice-reader", "--limit", "1"],
        &["tokens", "--live", "--expiring-in", "20m", "--json"],
        &["tokens", "--role", "nobody"],
        &["audit", "--json"],
        &["audit", "--subject", "a"],
        &["audit", "--limit", "2", "--json"],
        &["keys", "list"],
        &["keys", "list", "--json"],
        &["client", "list"],
        &["client", "list", "--json"],
        &["policy", "show"],
        &["policy", "show", "1"],
        &["audit", "key"],
        &["audit", "key", "--json"],
    ] {
        // A remote command records that it read the trail.
        let others = |told: String| -> Vec<String> {
            let lines = told.lines().filter(|line| !line.contains("audit_read"));
            lines.map(str::to_owned).collect()
        };
        let here = others(local(&serving, arguments));
        let (code, there) = remote(&serving, &token, arguments);
        assert_eq!((code, others(there)), (Some(0), here), "{arguments:?}");
    }
}

#[test]
fn the_trail_is_exported_proven_and_erased_from_elsewhere() {
    let serving = Serving::start();
    let token = operator(&serving, "ada", None);
    let jti = serving.issue(&["invoice-reader", "--subject", "mallory"]);
    let exported = |text: &str| -> Vec<Value> {
        let lines: Vec<Value> = lines(text.as_bytes());
        lines.into_iter().filter(|line| line["entry"]["act"] != "audit_read").collect()
    };
    let here = exported(&local(&serving, &["audit", "export"]));
    let (code, there) = remote(&serving, &token, &["audit", "export"]);
    assert_eq!((code, exported(&there)), (Some(0), here));
    let (code, csv) = remote(&serving, &token, &["audit", "export", "--format", "csv"]);
    assert!(code == Some(0) && csv.starts_with("position,time,actor"), "{csv}");

    // A proof is checked by who has only the key.
    serving.wait_for("the entry is in the log", || {
        remote(&serving, &token, &["audit", "prove", "--jti", &jti]).0 == Some(0)
    });
    let (_, proof) = remote(&serving, &token, &["audit", "prove", "--jti", &jti]);
    let (_, key) = remote(&serving, &token, &["audit", "key", "--json"]);
    let key: Value = serde_json::from_str(&key).unwrap();
    let elsewhere = Issuer { folder: tempfile::tempdir().unwrap() };
    fs::write(elsewhere.path("entry.tlog-proof"), &proof).unwrap();
    let key = key["key"].as_str().unwrap();
    let checked = elsewhere.run(&["audit", "verify", "--proof", "entry.tlog-proof", "--key", key]);
    assert_eq!(checked.status.code(), Some(0), "{}", said(&checked));
    let (code, shown) =
        remote(&serving, &token, &["audit", "prove", "--jti", &jti, "--private", "--json"]);
    assert!(code == Some(0) && shown.contains("mallory"), "{shown}");
    for (wrong, says) in [
        (&["audit", "prove", "--jti", "nobody"][..], "no entry says"),
        (&["audit", "prove", "99999"], "no such entry"),
    ] {
        let (code, said) = remote(&serving, &token, wrong);
        assert!(code == Some(1) && said.contains(says), "{said}");
    }
    // To read the trail is one thing, to change it another.
    let auditor = operator(&serving, "eve", Some("edgepass:audit"));
    let erase = ["erase", "--subject", "mallory", "--reason", "case 7", "--json"];
    assert_eq!(remote(&serving, &auditor, &erase).0, Some(1));
    let dry = [&erase[..], &["--dry-run"]].concat();
    for (arguments, is_erased) in [(&dry[..], false), (&erase[..], true)] {
        let (code, says) = remote(&serving, &token, arguments);
        let says: Value = serde_json::from_str(&says).unwrap();
        assert_eq!(
            (code, &says["entries"], &says["erased"]),
            (Some(0), &json!(1), &json!(is_erased))
        );
    }
    assert!(!local(&serving, &["audit", "--json"]).contains("mallory"));
    let trail = lines(&serving.issuer.run(&["audit", "--json"]).stdout);
    let erased = trail.iter().find(|entry| entry["act"] == "personal_erased").unwrap();
    assert_eq!((&erased["actor"], &erased["reason"]), (&json!("subject:ada"), &json!("case 7")));
    serving.wait_for("the trail verifies", || {
        serving.issuer.run(&["audit", "verify"]).status.code() == Some(0)
    });
}

#[test]
fn a_review_from_elsewhere_finds_the_same_and_shows_the_change_in_files_of_this_machine() {
    let serving = Serving::start();
    let token = operator(&serving, "ada", None);
    let local_says = serving.issuer.run(&["review", "--json"]);
    let (code, says) = remote(&serving, &token, &["review", "--json"]);
    assert_eq!(code, local_says.status.code(), "{says}");
    // Nobody reports use: nothing is known.
    assert_eq!(says, String::from_utf8(local_says.stdout).unwrap());
    let (code, says) = remote(&serving, &token, &["review"]);
    assert!(code == Some(0) && says.contains("was not looked at"), "{says}");
    let (code, says) = remote(&serving, &token, &["review", "--fix"]);
    assert!(code == Some(2) && says.contains("--config"), "{says}");
}

#[test]
fn an_operator_is_named_by_the_token_and_does_what_its_scope_allows() {
    let serving = Serving::start();
    let ada = operator(&serving, "ada", None);
    let (code, issued) = remote(&serving, &ada, &["issue", "--role", "invoice-reader", "--json"]);
    assert_eq!(code, Some(0), "{issued}");
    let issued: Value = serde_json::from_str(&issued).unwrap();
    let jti = issued["jti"].as_str().unwrap();
    let (code, says) = remote(&serving, &ada, &["revoke", "--jti", jti, "--reason", "test"]);
    assert_eq!((code, says.contains("revoked; the new status lists")), (Some(0), true), "{says}");
    let (code, says) = remote(&serving, &ada, &["revoke", "--jti", jti, "--reason", "test"]);
    assert_eq!((code, says.contains("is already revoked")), (Some(0), true), "{says}");
    let (code, says) = remote(&serving, &ada, &["resume", "--jti", jti, "--reason", "test"]);
    assert_eq!((code, says.contains("revoked for good")), (Some(1), true), "{says}");
    let (code, says) = remote(&serving, &ada, &["revoke", "--jti", "nobody", "--reason", "test"]);
    assert_eq!((code, says.contains("no token with that jti")), (Some(1), true), "{says}");
    let dry = ["suspend", "--role", "invoice-reader", "--reason", "test", "--dry-run"];
    assert_eq!(remote(&serving, &ada, &dry).0, Some(0));
    let allot =
        ["status", "allot", "--jti", "x", "--iss", "https://a.example", "--expires-in", "5m"];
    let (code, says) = remote(&serving, &ada, &allot);
    assert!(code == Some(0) && says.contains("status_list"), "{says}");
    // A token that names no subject is its client's own.
    let own = local(&serving, &["issue", "--role", "edgepass-operator", "--client", "robot"]);
    let issue = ["issue", "--role", "invoice-reader"];
    assert_eq!(remote(&serving, own.trim(), &issue).0, Some(0));
    let trail = lines(&serving.issuer.run(&["audit", "--json"]).stdout);
    assert_eq!(trail.last().unwrap()["actor"], "client:robot");
    let by_ada = trail.iter().filter(|entry| entry["actor"] == "subject:ada");
    let acts: Vec<&str> = by_ada.map(|entry| entry["act"].as_str().unwrap()).collect();
    assert_eq!(acts, ["token_issued", "token_revoked", "status_allotted"]);

    // Nobody prolongs a token for this API by this API.
    let again = ["issue", "--role", "edgepass-operator"];
    let (code, says) = remote(&serving, &ada, &again);
    assert!(code == Some(1) && says.contains("comes from a client, a federation"), "{says}");

    let reads = ["tokens", "--json"];
    let audits = ["audit", "--json"];
    let changes = ["revoke", "--jti", jti, "--reason", "test"];
    for (scope, allowed) in [
        ("edgepass:read", [true, false, false]),
        ("edgepass:audit", [false, true, false]),
        ("edgepass:operate", [false, false, true]),
    ] {
        let token = operator(&serving, "eve", Some(scope));
        for (arguments, allowed) in [&reads[..], &audits, &changes[..]].into_iter().zip(allowed) {
            let (code, says) = remote(&serving, &token, arguments);
            assert_eq!(code, Some(if allowed { 0 } else { 1 }), "{scope} {arguments:?} {says}");
            assert_eq!(says.contains("lacks the scope"), !allowed, "{says}");
        }
    }
}

#[test]
fn keys_are_changed_from_elsewhere() {
    let serving = Serving::start();
    let ada = operator(&serving, "ada", None);
    let keys = |state: &str| -> Vec<String> {
        let listed = local(&serving, &["keys", "list", "--json"]);
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let of = listed.as_array().unwrap().iter().filter(|key| key["use"] == state);
        of.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    };
    // The standby key is too young to sign.
    let (code, says) = remote(&serving, &ada, &["keys", "rotate"]);
    assert!(code == Some(1) && says.contains("try again in a minute"), "{says}");
    let standby = keys("standby").remove(0);
    let withdraw = ["keys", "compromise", &standby, "--reason", "test"];
    let (code, says) = remote(&serving, &ada, &withdraw);
    assert!(code == Some(0) && says.contains("the key is withdrawn"), "{says}");
    let (code, says) = remote(&serving, &ada, &withdraw);
    assert!(code == Some(0) && says.contains("already withdrawn"), "{says}");
    assert_ne!(keys("standby"), [standby]);
    let (code, says) = remote(&serving, &ada, &["keys", "compromise", "nobody"]);
    assert!(code == Some(1) && says.contains("no such key"), "{says}");
}

#[test]
fn no_other_token_opens_the_api() {
    let serving = Serving::start();
    let ada = operator(&serving, "ada", None);
    let refused = |token: &str, says: &str| {
        let (code, told) = remote(&serving, token, &["tokens"]);
        assert!(code == Some(1) && told.contains(says), "{told}");
        assert!(!told.contains(token), "{told}");
    };
    assert_eq!(remote(&serving, &ada, &["tokens"]).0, Some(0));
    let api = serving.issuer.token();
    refused(api.trim(), "audience");
    let forged = format!("{}A", &ada[..ada.len() - 2]);
    refused(&forged, "not a valid one");
    refused("zzz", "not a valid one");
    let jti = lines(&serving.issuer.run(&["tokens", "--json", "--subject", "ada"]).stdout);
    let jti = jti[0]["jti"].as_str().unwrap().to_owned();
    // A revocation counts at once, for a token that is used here.
    local(&serving, &["revoke", "--jti", &jti, "--reason", "left"]);
    refused(&ada, "not a valid one");
    // Every route asks for a token.
    let described: Value = serde_json::from_str(&serving.get("openapi.json").unwrap()).unwrap();
    let mut asked = 0;
    for (path, methods) in described["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            if !path.starts_with("/admin/") {
                continue;
            }
            asked += 1;
            let url = format!("{}{path}", serving.url);
            let agent = ureq::Agent::config_builder().http_status_as_error(false).build();
            let agent: ureq::Agent = agent.into();
            let response = match method.as_str() {
                "get" => agent.get(url).call(),
                _ => agent.post(url).send(""),
            };
            let response = response.unwrap();
            assert_eq!(response.status(), 401, "{method} {path}");
            let challenge = response.headers()["www-authenticate"].to_str().unwrap();
            assert!(challenge.starts_with("Bearer "), "{challenge}");
        }
    }
    assert!(asked >= 11);
}

#[test]
fn an_operators_token_counts_only_from_its_networks() {
    let limited = |network: &'static str| {
        let name = "name = \"edgepass-operator\"";
        let networks = format!("{name}\nnetworks = [{network:?}]");
        let serving = Serving::start_prepared(|text| text.replace(name, &networks), |_| {});
        serving.wait_until_ready();
        let token = operator(&serving, "ada", None);
        remote(&serving, &token, &["tokens"])
    };
    assert_eq!(limited("127.0.0.0/8").0, Some(0));
    let (code, says) = limited("203.0.113.0/24");
    assert!(code == Some(1) && says.contains("from this network"), "{says}");
}

#[test]
fn an_answer_of_something_else_is_no_success() {
    let bodies = ["{}", "[]", "\"x\"", "<html>", "{\"records\": [{}]}", ""];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let order = ["issue", "--role", "invoice-reader"];
    let revocation = ["revoke", "--jti", "x", "--reason", "test"];
    let commands = [&["tokens"][..], &["audit"], &order, &revocation, &["policy", "apply"]];
    let answers: Vec<&str> = commands.iter().flat_map(|_| bodies).collect();
    std::thread::spawn(move || {
        for body in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut part = [0; 4096];
            while !request.ends_with(b"\r\n\r\n") && !request.ends_with(b"}") {
                let length = stream.read(&mut part).unwrap();
                request.extend_from_slice(&part[..length]);
            }
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close");
            stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        }
    });
    let elsewhere = Issuer { folder: tempfile::tempdir().unwrap() };
    for arguments in commands {
        for body in bodies {
            let mut command = elsewhere.command(&[arguments, &["--server", &url]].concat());
            let output = crate::ended(command.env("EDGEPASS_TOKEN", "a.b.c"));
            assert_refused(&output, 3, "not that of an issuer");
            assert!(output.stdout.is_empty(), "{arguments:?} {body}");
        }
    }
}

#[test]
fn a_bootstrap_token_is_printed_once_and_lives_for_fifteen_minutes() {
    let issuer = Issuer { folder: tempfile::tempdir().unwrap() };
    let made = issuer.run(&["init", ".", "--bootstrap", "--json"]);
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let token = made["bootstrap_token"].as_str().unwrap();
    let claims = issuer.run_with_input(&["inspect", "-", "--json"], token);
    let claims: Value = serde_json::from_slice(&claims.stdout).unwrap();
    let claims = &claims["claims"];
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 900);
    assert_eq!((&claims["sub"], &claims["aud"]), (&json!("bootstrap"), &claims["iss"]));
    assert!(Issuer::new().run(&["tokens", "--json"]).stdout.is_empty(), "only if asked for");
}

#[test]
fn a_policy_is_compared_and_applied_from_elsewhere() {
    let serving = Serving::start();
    let ada = operator(&serving, "ada", None);
    let file = serving.issuer.path("edgepass.toml");
    let text = fs::read_to_string(&file).unwrap();
    let more = text.replace("max_lifetime = \"30m\"", "max_lifetime = \"20m\"");
    // The files are in a checkout elsewhere, then on the issuer's machine.
    let elsewhere = Issuer { folder: tempfile::tempdir().unwrap() };
    fs::write(elsewhere.path("edgepass.toml"), &more).unwrap();
    let diff = || {
        let mut command = elsewhere.command(&["policy", "diff", "--server", &serving.url]);
        let output = crate::ended(command.env("EDGEPASS_TOKEN", &ada));
        (output.status.code(), told(&output))
    };
    let change = "~ role invoice-clerk: max_lifetime 1800 -> 1200";
    assert_eq!(diff(), (Some(1), format!("{change}\n")));
    fs::write(&file, &more).unwrap();
    let (code, says) = remote(&serving, &ada, &["policy", "apply"]);
    assert_eq!(code, Some(0), "{says}");
    assert_eq!(diff(), (Some(0), "no difference\n".to_owned()));
    let trail = lines(&serving.issuer.run(&["audit", "--json", "--limit", "1"]).stdout);
    assert_eq!(
        (&trail[0]["act"], &trail[0]["actor"]),
        (&json!("policy_applied"), &json!("subject:ada"))
    );
    fs::write(&file, "nonsense").unwrap();
    let (code, says) = remote(&serving, &ada, &["policy", "apply"]);
    assert!(code == Some(1) && says.contains("has kept its policy"), "{says}");
    assert_eq!(diff().0, Some(0));
}

#[test]
fn mistakes_with_the_server_are_told() {
    let serving = Serving::start();
    let ada = operator(&serving, "ada", None);
    let elsewhere = Issuer { folder: tempfile::tempdir().unwrap() };
    let run = |arguments: &[&str], token: Option<&str>| {
        let mut command = elsewhere.command(arguments);
        command.env_remove("EDGEPASS_TOKEN");
        if let Some(token) = token {
            command.env("EDGEPASS_TOKEN", token);
        }
        let output = crate::ended(&mut command);
        (output.status.code(), told(&output))
    };
    let url = serving.url.as_str();
    let nobody = "http://127.0.0.1:9";
    for (arguments, token, code, says) in [
        (&["tokens", "--server", url][..], None, 2, "EDGEPASS_TOKEN"),
        (&["tokens", "--server", "http://auth.example"], Some(&ada), 2, "https URL"),
        (&["tokens", "--server", nobody], Some(&ada), 3, "cannot be reached"),
        (&["serve", "--server", url], Some(&ada), 2, "the issuer's own machine"),
        (&["init", "--server", url], Some(&ada), 2, "the issuer's own machine"),
        (&["doctor", "--server", url], Some(&ada), 2, "the issuer's own machine"),
        (&["client", "add", "x", "--role", "y", "--server", url], Some(&ada), 2, "own machine"),
        (&["tokens", "--server", url, "--server-token", "absent"], None, 2, "cannot be read"),
        (&["issue", "--role", "nobody", "--server", url], Some(&ada), 1, "may not use that role"),
        (&["tokens", "--environment", "a", "--server", url], Some(&ada), 2, "--server"),
    ] {
        let (exit, told) = run(arguments, token.map(String::as_str));
        assert!(exit == Some(code) && told.contains(says), "{arguments:?} {exit:?} {told}");
    }
    // The token itself where a file is meant is not repeated.
    let (code, says) = run(&["tokens", "--server", url, "--server-token", "a.b.c"], None);
    assert!(code == Some(2) && !says.contains("a.b.c"), "{says}");
    // A file of the token is private, as any other secret.
    let file = elsewhere.path("operator.jwt");
    fs::write(&file, &ada).unwrap();
    let with_file = ["tokens", "--server", url, "--server-token", "operator.jwt"];
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(run(&with_file, None).0, Some(2));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(run(&with_file, None).0, Some(0));
}
