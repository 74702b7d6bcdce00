//! Mistakes of the operator, and attacks by a web page or another user of the machine.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::{Value, json};

use crate::serving::Serving;
use crate::{Issuer, assert_refused};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &std::path::Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn data_are_the_owners_alone_whatever_was_there_before() {
    let issuer = Issuer { folder: tempfile::tempdir().unwrap() };
    fs::create_dir(issuer.path("data")).unwrap();
    set_mode(&issuer.path("data"), 0o755);
    let mut init = issuer.command(&["init", "."]);
    assert_eq!(crate::ended(&mut init).status.code(), Some(0));
    assert_eq!(mode(&issuer.path("data")), 0o700);
    assert_eq!(mode(&issuer.path("data/edgepass.db")), 0o600);
    issuer.token();
    // As after restoring a backup, with the lock file of an earlier version.
    set_mode(&issuer.path("data"), 0o755);
    set_mode(&issuer.path("data/edgepass.db"), 0o644);
    fs::write(issuer.path("data/serve.lock"), "").unwrap();
    set_mode(&issuer.path("data/serve.lock"), 0o666);
    issuer.token();
    for entry in fs::read_dir(issuer.path("data")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    assert_eq!(mode(&issuer.path("data")), 0o700);
    set_mode(&issuer.path("edgepass.toml"), 0o666);
    assert_refused(&issuer.run(&["tokens"]), 2, "chmod o-w");
}

#[test]
fn no_other_user_can_replace_a_file_of_the_configuration_or_add_one() {
    let issuer = Issuer::new();
    set_mode(issuer.folder.path(), 0o777);
    assert_refused(&issuer.run(&["tokens"]), 2, "any user can replace");
    // In a sticky folder, such as /tmp, only the owner of a file can.
    set_mode(issuer.folder.path(), 0o1777);
    assert_eq!(issuer.run(&["tokens"]).status.code(), Some(0));
    set_mode(issuer.folder.path(), 0o700);

    fs::create_dir(issuer.path("policy")).unwrap();
    let text = fs::read_to_string(issuer.path("edgepass.toml")).unwrap();
    let text = text.replace("\"master", "\"../master").replace("\"data\"", "\"../data\"");
    fs::write(issuer.path("policy/all.toml"), text).unwrap();
    let tokens = ["tokens", "--config", "policy"];
    assert_eq!(issuer.run(&tokens).status.code(), Some(0));
    for mode in [0o777, 0o1777] {
        set_mode(&issuer.path("policy"), mode);
        assert_refused(&issuer.run(&tokens), 2, "any user can add a file");
    }
    set_mode(&issuer.path("policy"), 0o700);

    // Where a link leads counts as well.
    fs::create_dir(issuer.path("shared")).unwrap();
    fs::write(issuer.path("shared/scopes"), "").unwrap();
    symlink(issuer.path("shared/scopes"), issuer.path("policy/scopes.toml")).unwrap();
    assert_eq!(issuer.run(&tokens).status.code(), Some(0));
    set_mode(&issuer.path("shared"), 0o777);
    assert_refused(&issuer.run(&tokens), 2, "any user can replace");
    // A link to nothing would silently take its roles away.
    fs::remove_file(issuer.path("shared/scopes")).unwrap();
    assert_refused(&issuer.run(&tokens), 2, "scopes.toml is no file");
}

#[test]
fn no_target_makes_data_key_or_configuration_public() {
    let issuer = Issuer::new();
    fs::create_dir(issuer.path("public")).unwrap();
    symlink(issuer.path("data"), issuer.path("linked")).unwrap();
    symlink(issuer.folder.path(), issuer.path("public/up")).unwrap();
    let target = |path: &str| {
        let table = format!("[[target]]\nkind = \"directory\"\npath = \"{path}\"\n\n# A role:");
        issuer.serve_with("# A role:", &table)
    };
    let whole = issuer.folder.path().to_str().unwrap();
    for path in [
        ".",
        "..",
        "/",
        "data",
        "data/",
        "./data/public",
        "public/../data",
        "linked",
        "linked/deeper/still",
        "public/up",
        "public/up/data",
        "no/../..",
        "edgepass.toml",
        "master.key",
        whole,
    ] {
        let output = target(path);
        let says = crate::said(&output);
        assert_eq!(output.status.code(), Some(2), "{path}: {says}");
        assert!(says.contains("public; name a directory of its own"), "{path}: {says}");
    }
    assert_refused(&target(""), 2, "name a directory of its own");
}

#[test]
fn every_setting_of_the_issuer_refuses_every_wrong_kind_of_value() {
    let issuer = Issuer::new();
    let file = issuer.path("edgepass.toml");
    let good = fs::read_to_string(&file).unwrap();
    // Add the settings that the template leaves out.
    let good = [
        ("fetch_timeout = \"2500ms\"", "stale_if_error = \"60s\"\nmax_list_age = \"5m\""),
        ("suspension = false", "base_uri = \"https://status.example\""),
        ("scopes = [\"invoices:read\"]", "lifetime = \"5m\""),
        ("roles = [\"invoice-reader\", \"invoice-clerk\"]", "may = [\"revoke\"]"),
        ("# A role: one audience", "[[target]]\nkind = \"directory\"\npath = \"public\"\n"),
    ]
    .iter()
    .fold(good, |text, (line, more)| {
        assert!(text.contains(line), "{line}");
        text.replacen(line, &format!("{more}\n{line}"), 1)
    });
    let values =
        ["7", "-1", "0.5", "true", "\"\"", "[]", "[7]", "[\"\"]", "{}", "{ x = 1 }", "1979-05-27"];
    let mut tried = 0;
    let mut taken = Vec::new();
    let lines: Vec<&str> = good.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let Some((name, value)) = line.split_once(" = ") else { continue };
        if line.starts_with('#') {
            continue;
        }
        for wrong in values {
            let mut text = lines.clone();
            let line = format!("{name} = {wrong}");
            text[number] = &line;
            fs::write(&file, text.join("\n")).unwrap();
            let output = issuer.run(&["tokens"]);
            if output.status.code() != Some(2) {
                taken.push(line.clone());
            }
            tried += 1;
        }
        let mut text = lines.clone();
        let line = format!("{name}x = {value}");
        text[number] = &line;
        fs::write(&file, text.join("\n")).unwrap();
        assert_refused(&issuer.run(&["tokens"]), 2, "field");
    }
    // The only values that are valid in their place.
    assert_eq!(taken, ["suspension = true", "may = []"]);
    assert!(tried > 200, "{tried}");
}

/// Response of `POST /status-acts` to these header fields and this body.
fn post(serving: &Serving, fields: &[(&str, &str)], body: &str) -> (u16, Value) {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let mut request = agent.post(format!("{}/status-acts", serving.url));
    request = request.header("authorization", serving.basic());
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let mut answer = request.send(body).unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or_default())
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[test]
fn an_act_over_http_that_selects_by_a_slip_is_refused() {
    let serving = Serving::start();
    let jti = serving.issue(&["invoice-reader"]);
    let act = |fitting: Value| json!({"act": "revoke", "fitting": fitting, "reason": "x"});
    let before = "2100-01-01".len() as u64 + 4_000_000_000;
    for (fitting, says) in [
        (json!({"role": "invoice-raeder"}), "no such role"),
        (json!({"role": "x\nINFO forged"}), "no such role"),
        (json!({"key_id": "nope"}), "no such key"),
        (json!({"role": null, "issued_before": before}), "none of them null"),
        (json!({"client_id": null, "role": "invoice-reader"}), "none of them null"),
        (json!({"issued_before": null, "role": "invoice-reader"}), "none of them null"),
        (json!({"issued_before": "now"}), "none of them null"),
        (json!({"issued_before": -1}), "none of them null"),
        (json!({"rolle": "invoice-reader"}), "none of them null"),
        (json!({"client_id": ""}), "empty name"),
        (json!({"subject": ""}), "empty name"),
        (json!({"role": ["invoice-reader"]}), "none of them null"),
        (json!(null), "none of them null"),
        (json!("invoice-reader"), "none of them null"),
        (json!([]), "none of them null"),
        (json!({}), "nothing is selected"),
    ] {
        for dry_run in [true, false] {
            let mut body = act(fitting.clone());
            body["dry_run"] = dry_run.into();
            let (status, answer) = post(&serving, &[JSON], &body.to_string());
            let said = answer["error_description"].as_str().unwrap_or_default();
            assert_eq!(status, 400, "{body}: {answer}");
            assert!(said.contains(says), "{body}: {answer}");
        }
    }
    let good = act(json!({"role": "invoice-reader"}));
    for (name, value) in [
        ("act", json!(null)),
        ("act", json!("revoked")),
        ("jwt_ids", json!(null)),
        ("jwt_ids", json!([null])),
        ("jwt_ids", json!([""])),
        ("jwt_ids", json!("x")),
        ("reason", json!(null)),
        ("reason", json!(7)),
        ("dry_run", json!(null)),
        ("dry_run", json!("false")),
        ("dryrun", json!(true)),
    ] {
        let mut body = good.clone();
        body[name] = value;
        assert_eq!(post(&serving, &[JSON], &body.to_string()).0, 400, "{body}");
    }
    let twice = good.to_string().replacen('{', r#"{"act":"resume","#, 1);
    assert_eq!(post(&serving, &[JSON], &twice).0, 400, "{twice}");
    assert_eq!(serving.status(&jti), "live");
    let trail = String::from_utf8(serving.issuer.run(&["audit", "--json"]).stdout).unwrap();
    assert!(!trail.contains("statuses_changed"), "{trail}");
}

#[test]
fn no_web_page_acts_with_credentials_that_a_browser_remembers() {
    let serving = Serving::start();
    let jti = serving.issue(&["invoice-reader"]);
    let body = json!({"act": "revoke", "jwt_ids": [jti], "reason": "x"}).to_string();
    for fields in [
        &[("content-type", "text/plain")][..],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[("content-type", "text/plain; application/json")],
        &[("content-type", "multipart/form-data")],
        &[JSON, ("origin", "https://evil.example")],
        &[JSON, ("origin", "null")],
        &[JSON, ("sec-fetch-site", "cross-site")],
        &[JSON, ("sec-fetch-site", "same-site")],
    ] {
        let (status, answer) = post(&serving, fields, &body);
        assert_eq!(status, 400, "{fields:?}: {answer}");
    }
    assert_eq!(serving.status(&jti), "live");
    // The same holds at the endpoints that take a form.
    for path in ["oauth/token", "oauth/revoke"] {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let request = agent.post(format!("{}/{path}", serving.url));
        let request = request.header("authorization", serving.basic());
        let request = request.header("origin", "https://evil.example");
        let form = [("grant_type", "client_credentials"), ("token", "a.b.c")];
        assert_eq!(request.send_form(form).unwrap().status().as_u16(), 400, "{path}");
    }
    let own = [JSON, ("origin", serving.url.as_str()), ("sec-fetch-site", "same-origin")];
    assert_eq!(post(&serving, &own, &body).0, 200);
    assert_eq!(serving.status(&jti), "revoked");
    let other =
        json!({"act": "revoke", "fitting": {"client_id": "gone"}, "reason": "x"}).to_string();
    assert_eq!(
        post(&serving, &[("content-type", "Application/JSON; charset=utf-8")], &other).0,
        200
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_crash_writes_no_memory_to_disk() {
    let serving = Serving::start();
    let limits = fs::read_to_string(format!("/proc/{}/limits", serving.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let words: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(&words[4..6], ["0", "0"], "{core}");
}
