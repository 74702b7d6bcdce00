//! `edgepass policy`, environments, and a configuration in several files.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::serving::Serving;
use crate::{Issuer, lines, said, told};

const REALISTIC: &str = include_str!("../policy/realistic.toml");
/// What `policy check` says of each mistake of [`BROKEN`]. With EDGEPASS_WRITE=1 the test writes it.
const MESSAGES: &str = "tests/policy/broken.txt";

/// Mistakes: what is replaced in [`REALISTIC`], and by what.
const BROKEN: [(&str, &str); 57] = [
    ("[naming]", "[nameing]"),
    ("audience = \"https://staging.api.example\"", "audience = \"https://staging.api.example"),
    ("issuer = \"https://auth.example\"\n", ""),
    ("issuer = \"https://auth.example\"", "issuer = \"http://auth.example\""),
    ("name = \"staging\"", "name = \"Staging\""),
    ("name = \"staging\"", "name = \"oauth\""),
    ("environment = \"staging\"\n", ""),
    ("environment = \"staging\"", "environment = \"stageing\""),
    ("role = \"[a-z]+(-[a-z]+)+\"", "role = \"[a-z+\""),
    ("name = \"refund-bot\"", "name = \"refunds\""),
    ("id = \"shop\"", "id = \"Shop 1\""),
    ("id = \"shop\"", "id = \"fast-invoices\""),
    ("name = \"payments:refund\"", "name = \"payments:delete\""),
    ("description = \"Pays money back to a customer\"", "description = \"\""),
    ("data = [\"payment\"]\nsubjects", "data = []\nsubjects"),
    ("parties = [\"Example Shop SE\", \"Refunds Ltd\"]", "parties = [\"Refunds Ltd\"]"),
    ("purposes = [\"refunds\"]", "purposes = []"),
    ("start = 2026-01-01", "start = 2040-01-01"),
    ("start = 2026-06-01T00:00:00+02:00", "start = 2026-06-01T00:00:00"),
    ("end = 2036-12-31", "end = \"2036-12-31\""),
    ("scopes = [\"payments:refund\"]", "scopes = [\"payments:refund\", \"orders:read\"]"),
    ("agreement = \"dpa-2026-014\"\n", ""),
    ("agreement = \"dpa-2026-014\"", "agreement = \"dpa-2026-15\""),
    ("agreement = \"dpa-2026-014\"", "agreement = \"dpa-2026-020\""),
    ("audience = [\"https://api.example\", \"https://feed.example\"]", "audience = []"),
    ("lifetime = \"5m\"", "lifetime = \"20m\""),
    ("max_lifetime = \"15m\"", "max_lifetime = \"900\""),
    ("max_lifetime = \"15m\"", "networks = [\"203.0.113.7/24\"]"),
    ("scopes = [\"catalog:read\"]", "scopes = [\"edgepass:opeate\"]"),
    ("scopes = [\"catalog:read\"]", "scopes = [\"edgepass:operate\"]"),
    ("max_lifetime = \"15m\"", "networks = [\"Germany\"]"),
    ("roles = [\"catalog-reader\"]", "roles = [\"catalogue-reader\"]"),
    ("secret_hash = \"sha256:AAAA:", "secret_hash = \"secret:"),
    ("may = [\"revoke\"]", "may = [\"suspend\"]"),
    ("jwks = '", "jwks = 'x"),
    (
        "\"x\": \"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"",
        "\"d\": \"\", \"x\": \"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"",
    ),
    ("\"x\": \"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"", "\"x\": \"11qY\""),
    (
        "roles = [\"refund-bot\"]",
        "roles = [\"refund-bot\"]\nsecret_hash = \"sha256:AAAA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"",
    ),
    ("lifetime = \"5m\"\nclaims", "lifetime = \"61m\"\nclaims"),
    ("repository_id = \"1296269\", ", ""),
    ("repository_id = \"1296269\"", "repository_id = { like = \"12*\" }"),
    ("repository_id = \"1296269\"", "repository_id = \"\""),
    ("repository_id = \"1296269\"", "sub = \"1296269\""),
    (
        "https://token.actions.githubusercontent.com\"\nrole = \"catalog-reader\"\nlifetime = \"5m\"\nclaims = { repository_id = \"1296269\"",
        "https://ci.example\"\nrole = \"catalog-reader\"\nclaims = { sub = \"environment:prod\"",
    ),
    (
        "repository_id = \"1296269\"",
        "iss = \"https://token.actions.githubusercontent.com\", repository_id = \"1296269\"",
    ),
    ("token.actions.githubusercontent.com\"", "token.actions.githubusercontent.com/?a=b\""),
    ("role = \"catalog-reader\"", "role = \"catalogue-reader\""),
    ("roles = [\"refund-bot\"]\nmay_ask", "roles = [\"refund-robot\"]\nmay_ask"),
    ("\"role:on-call\"", "\"on-call\""),
    ("\"subject:ada\", \"subject:bo\"", "\"subject:ada\""),
    ("longest = \"1h\"", "longest = \"31d\""),
    ("ticket = \"PAY-[0-9]+\"", "ticket = \"PAY-[0-9+\""),
    ("payments@example.com", "Payments <payments@example.com>"),
    ("[mail]\nserver = \"smtps://mail.example.com\"\nfrom = \"edgepass@example.com\"\n", ""),
    ("smtps://mail.example.com", "mail.example.com"),
    ("edgepass@example.com", "Edgepass"),
    ("name = \"refunds\"\nenvironment = \"prod\"\n", "name = \"refunds\"\n"),
];

fn check(folder: &Path, text: &str, more: &[&str]) -> (Option<i32>, String) {
    fs::write(folder.join("policy.toml"), text).unwrap();
    let issuer = Issuer { folder: tempfile::tempdir_in(folder).unwrap() };
    let arguments = [&["policy", "check", "--config", "../policy.toml"], more].concat();
    let output = issuer.run(&arguments);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (output.status.code(), String::from_utf8(output.stdout).unwrap().replace("../", ""))
}

#[test]
fn a_realistic_policy_is_right_and_each_mistake_is_named_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = check(folder.path(), REALISTIC, &[]);
    assert_eq!(code, Some(0), "{text}");
    let mut all = format!("As it is:\n{text}");
    let (code, _) = check(folder.path(), REALISTIC, &["--strict"]);
    assert_eq!(code, Some(1));
    for (from, to) in BROKEN {
        assert!(REALISTIC.contains(from), "{from}");
        let (code, text) = check(folder.path(), &REALISTIC.replacen(from, to, 1), &[]);
        assert_eq!(code, Some(1), "{to}: {text}");
        write!(all, "\n{from}  =>  {to}\n{text}").unwrap();
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(MESSAGES);
    if std::env::var_os("EDGEPASS_WRITE").is_some() {
        fs::write(&file, &all).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap();
    for (line, expected) in all.lines().zip(expected.lines()) {
        assert_eq!(line, expected, "EDGEPASS_WRITE=1 writes {MESSAGES}");
    }
    assert_eq!(all.lines().count(), expected.lines().count());
}

#[test]
fn certificates_that_no_proxy_shows_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let digest = "0".repeat(64);
    let text = REALISTIC
        .replacen(
            "scopes = [\"catalog:read\"]",
            "scopes = [\"catalog:read\"]\nsender = \"mtls\"",
            1,
        )
        .replacen(
            "secret_hash = \"sha256:AAAA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"",
            &format!("certificates = [\"{digest}\"]"),
            1,
        );
    let (code, out) = check(folder.path(), &text, &[]);
    assert_eq!(code, Some(0), "{out}");
    let named = |out: &str, what: &str| {
        let end = "needs a client certificate, and none is shown: write [proxy] client_certificate";
        out.lines().any(|line| line.ends_with(&format!("warning: {what}: it {end}")))
    };
    assert!(named(&out, "role catalog-reader") && named(&out, "client shop"), "{out}");
    for (proxy, is_named) in [
        ("forwarded_for = \"x-forwarded-for\"", true),
        ("client_certificate = { header = \"client-cert\", form = \"rfc9440\" }", false),
    ] {
        let text = format!("{text}\n[proxy]\nfrom = [\"192.0.2.1/32\"]\n{proxy}\n");
        let (code, out) = check(folder.path(), &text, &[]);
        assert_eq!(code, Some(0), "{out}");
        assert_eq!(named(&out, "role catalog-reader"), is_named, "{out}");
        assert_eq!(named(&out, "client shop"), is_named, "{out}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once_and_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let text = REALISTIC
        .replace("lifetime = \"5m\"", "lifetime = \"20m\"")
        .replace("may = [\"revoke\"]", "may = [\"suspend\"]");
    let (code, out) = check(folder.path(), &text, &["--json"]);
    assert_eq!(code, Some(1));
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["ok"], false);
    let found = value["findings"].as_array().unwrap();
    let line_of = |text: &str, part: &str| text[..text.find(part).unwrap()].lines().count();
    let expected = ["name = \"invoice-clerk\"", "id = \"fast-invoices\""];
    assert_eq!(found.len(), expected.len(), "{out}");
    for (finding, part) in found.iter().zip(expected) {
        assert_eq!(finding["file"], "policy.toml");
        assert_eq!(finding["level"], "mistake");
        assert_eq!(finding["line"], line_of(&text, part), "{finding}");
    }
}

#[test]
fn an_agreement_that_is_not_in_force_is_refused_by_check_and_at_issue() {
    let issuer = Issuer::new();
    let file = issuer.path("edgepass.toml");
    let text = fs::read_to_string(&file).unwrap();
    let with = |dates: &str| {
        let agreement = format!(
            "[[agreement]]\nid = \"dpa\"\nparties = [\"a\", \"b\"]\npurposes = [\"p\"]\ndata = [\"d\"]\n{dates}\n"
        );
        let text = text.replacen("scopes =", "agreement = \"dpa\"\nscopes =", 1);
        fs::write(&file, format!("{text}\n{agreement}")).unwrap();
        let check = issuer.run(&["policy", "check"]);
        let issued = issuer.run(&["issue", "--role", "invoice-reader", "--json"]);
        ((check.status.code(), told(&check)), (issued.status.code(), told(&issued)))
    };
    for (dates, says) in [
        ("start = 2020-01-01\nend = 2020-12-31", "the agreement dpa has ended"),
        ("start = 2999-01-01", "the agreement dpa has not begun"),
    ] {
        let (check, issued) = with(dates);
        assert_eq!((check.0, issued.0), (Some(1), Some(1)), "{check:?} {issued:?}");
        assert!(check.1.contains("refused: role invoice-reader"), "{check:?}");
        assert!(issued.1.contains(says), "{issued:?}");
    }
    let (check, issued) = with("start = 2020-01-01");
    assert_eq!((check.0, issued.0), (Some(0), Some(0)), "{check:?} {issued:?}");
    // A token ends with its agreement.
    let soon = chrono::DateTime::from_timestamp_millis(edgepass::host::now().0 as i64).unwrap()
        + chrono::Duration::seconds(90);
    let (_, issued) = with(&format!("start = 2020-01-01\nend = {}", soon.format("%FT%TZ")));
    assert_eq!(issued.0, Some(0), "{issued:?}");
    let tokens = lines(&issuer.run(&["tokens", "--json", "--limit", "1"]).stdout);
    assert_eq!(tokens[0]["agreement"], "dpa");
    assert!(tokens[0]["exp"].as_i64().unwrap() <= soon.timestamp(), "{tokens:?}");
    let entries = lines(&issuer.run(&["audit", "--json", "--limit", "1"]).stdout);
    assert_eq!(
        (&entries[0]["agreement"], &entries[0]["policy"]),
        (&json!("dpa"), &tokens[0]["policy"])
    );
}

#[test]
fn a_folder_of_files_is_one_configuration() {
    let issuer = Issuer::new();
    let text = fs::read_to_string(issuer.path("edgepass.toml")).unwrap();
    let (settings, policy) = text.split_at(text.find("# A role:").unwrap());
    fs::create_dir(issuer.path("policy")).unwrap();
    fs::write(
        issuer.path("policy/10-settings.toml"),
        settings.replace("\"master", "\"../master").replace("\"data\"", "\"../data\""),
    )
    .unwrap();
    fs::write(issuer.path("policy/20-billing.toml"), policy).unwrap();
    fs::write(issuer.path("policy/notes.txt"), "no TOML").unwrap();
    let run = |arguments: &[&str]| {
        let output = issuer.run(&[arguments, &["--config", "policy"]].concat());
        (output.status.code(), told(&output))
    };
    assert_eq!(run(&["issue", "--role", "invoice-reader"]).0, Some(0));
    let (code, says) = run(&["client", "add", "new-one", "--role", "invoice-reader"]);
    assert_eq!(code, Some(0), "{says}");
    let added = fs::read_to_string(issuer.path("policy/clients.toml")).unwrap();
    assert!(added.contains("id = \"new-one\""), "{added}");
    assert!(run(&["client", "list"]).1.contains("new-one"));

    fs::write(
        issuer.path("policy/30-twice.toml"),
        "\nlisten = \"127.0.0.1:1\"\n[[role]]\nname = \"\"\naudience = \"a\"\nscopes = [\"a\"]\n",
    )
    .unwrap();
    let (code, says) = run(&["policy", "check"]);
    assert_eq!(code, Some(1));
    assert!(
        says.contains("policy/30-twice.toml:2: mistake: listen is written in another file"),
        "{says}"
    );
    fs::write(
        issuer.path("policy/30-twice.toml"),
        "\n\n[[role]]\nname = \"\"\naudience = \"a\"\nscopes = [\"a\"]\n",
    )
    .unwrap();
    let (_, says) = run(&["policy", "check"]);
    assert!(
        says.contains("policy/30-twice.toml:3: mistake: role: every role needs a name"),
        "{says}"
    );
}

/// The configuration of `init` as one environment: the roles of operators and guards have that audience.
fn as_environment(text: &str, name: &str) -> String {
    let (before, operators) = text.split_at(text.find("edgepass-reader").unwrap());
    let operators = operators.replacen("\"\nscopes", &format!("/{name}\"\nscopes"), 4);
    format!("{before}{operators}")
        .replace("[[role]]", &format!("[[role]]\nenvironment = \"{name}\""))
        .replace("[[client]]", &format!("[[client]]\nenvironment = \"{name}\""))
}

#[test]
fn init_makes_keys_and_data_for_a_configuration_that_exists() {
    let issuer = Issuer::new();
    let text = fs::read_to_string(issuer.path("edgepass.toml")).unwrap();
    let environments = "[[environment]]\nname = \"a\"\n[[environment]]\nname = \"b\"\n";
    let text = as_environment(&text, "a");
    fs::create_dir(issuer.path("policy")).unwrap();
    fs::write(issuer.path("policy/all.toml"), format!("{text}\n{environments}")).unwrap();
    let run = |arguments: &[&str]| {
        let output = issuer.run(&[arguments, &["--config", "policy"]].concat());
        (output.status.code(), told(&output))
    };
    let issue = ["issue", "--role", "invoice-reader", "--environment", "a"];
    let (code, says) = run(&["tokens", "--environment", "a"]);
    assert!(code == Some(2) && says.contains("edgepass init --config"), "{says}");
    let (code, says) = run(&["init"]);
    assert_eq!(code, Some(0), "{says}");
    assert_eq!(says.matches("signing key").count(), 2, "{says}");
    assert!(issuer.path("policy/master.key").exists() && issuer.path("policy/data/b").exists());
    assert_eq!(run(&issue).0, Some(0));
    assert_eq!(run(&["init"]).0, Some(2));
    // A first operator needs a role of an operator, whatever its name.
    let (file, written) = (issuer.path("policy/all.toml"), format!("{text}\n{environments}"));
    fs::write(&file, written.replace("edgepass:operate", "edgepass:read")).unwrap();
    fs::remove_dir_all(issuer.path("policy/data/b")).unwrap();
    let bootstrap = ["init", "--environment", "b", "--bootstrap"];
    let (code, says) = run(&bootstrap);
    assert!(code == Some(2) && says.contains("--bootstrap needs a role"), "{says}");
    assert!(!issuer.path("policy/data/b").exists());
    let of_b = text.split("[[role]]").find(|role| role.contains("edgepass-operator"));
    let of_b = of_b.unwrap().split("[[client]]").next().unwrap().replace("/a\"", "/b\"");
    let of_b = of_b.replace("edgepass-operator", "night-shift").replace("\"a\"", "\"b\"");
    fs::write(&file, format!("{written}\n[[role]]{of_b}")).unwrap();
    let (code, says) = run(&bootstrap);
    assert!(code == Some(0) && says.contains("operator token"), "{says}");
    // Where one environment has keys, a new master key could not open them.
    fs::remove_file(issuer.path("policy/master.key")).unwrap();
    fs::remove_dir_all(issuer.path("policy/data/b")).unwrap();
    let (code, says) = run(&["init", "--environment", "b"]);
    assert!(code == Some(2) && says.contains("master.key cannot be read"), "{says}");
}

#[test]
fn serve_takes_a_changed_file_by_itself_if_told_to_watch() {
    let mut serving = Serving::start();
    serving.kill();
    let watch = serving.issuer.command(&["serve", "--watch"]).stderr(Stdio::null()).spawn();
    serving.replace(watch.unwrap());
    serving.wait_until_ready();
    let body = "grant_type=client_credentials&role=auditor";
    let token = || serving.send("oauth/token", &serving.secret, body).0;
    assert_eq!(token(), 400);
    let file = serving.issuer.path("edgepass.toml");
    let text = fs::read_to_string(&file).unwrap();
    let role = "[[role]]\nname = \"auditor\"\naudience = \"https://api.example\"\nscopes = [\"audit:read\"]\n";
    let more = text.replace("roles = [\"invoice-reader\", ", "roles = [\"auditor\", ");
    // Half of it first, which is no policy.
    fs::write(&file, &more).unwrap();
    fs::write(&file, format!("{more}\n{role}")).unwrap();
    serving.wait_for("the new role is served", || token() == 200);
    fs::write(&file, "nonsense").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(token(), 200);
    // A right policy that every user may write is not taken, until only its rights are mended.
    chmod(&file, "666");
    fs::write(&file, &text).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(token(), 200);
    chmod(&file, "600");
    for _ in 0..20 {
        if token() == 400 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    panic!("the file was not taken after its rights were mended");
}

fn chmod(file: &Path, mode: &str) {
    assert!(Command::new("chmod").arg(mode).arg(file).status().unwrap().success());
}

#[test]
fn a_running_serve_takes_a_new_policy_and_keeps_the_old_one_if_the_new_one_is_wrong() {
    let serving = Serving::start();
    let file = serving.issuer.path("edgepass.toml");
    let run = |arguments: &[&str]| {
        let output = serving.issuer.run(arguments);
        (output.status.code(), told(&output))
    };
    let token = |role: &str| {
        let body = format!("grant_type=client_credentials&role={role}");
        serving.send("oauth/token", &serving.secret, &body)
    };
    assert_eq!(run(&["policy", "diff"]).0, Some(0));
    assert_eq!(token("invoice-reader").0, 200);
    assert_eq!(token("auditor").0, 400);

    let text = fs::read_to_string(&file).unwrap();
    let role = "[[role]]\nname = \"auditor\"\naudience = \"https://api.example\"\nscopes = [\"audit:read\"]\n";
    let more = text
        .replace("roles = [\"invoice-reader\", ", "roles = [\"auditor\", ")
        .replace("max_lifetime = \"30m\"", "max_lifetime = \"20m\"");
    fs::write(&file, format!("{more}\n{role}")).unwrap();
    let (code, says) = run(&["policy", "diff"]);
    assert_eq!(code, Some(1));
    for part in [
        "+ role auditor",
        "~ role invoice-clerk: max_lifetime 1800 -> 1200",
        "~ client example-service: roles [\"invoice-reader\",\"invoice-clerk\"] -> [\"auditor\",\"invoice-clerk\"]",
    ] {
        assert!(says.contains(part), "{says}");
    }
    let (code, says) = run(&["policy", "apply"]);
    assert_eq!(code, Some(0), "{says}");
    assert_eq!(run(&["policy", "diff"]).0, Some(0));
    assert_eq!(token("auditor").0, 200);
    assert_eq!(token("invoice-reader").0, 400);
    assert!(serving.get(".well-known/oauth-authorization-server").unwrap().contains("audit:read"));

    // A wrong one changes nothing, however it reaches the process.
    fs::write(&file, format!("{more}\n{role}\n{role}")).unwrap();
    let (code, says) = run(&["policy", "apply"]);
    assert_eq!(code, Some(2), "{says}");
    let process = serving.id().to_string();
    let signalled = std::process::Command::new("kill").args(["-HUP", &process]).status();
    assert!(signalled.unwrap().success());
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(token("auditor").0, 200);
    fs::write(&file, &text).unwrap();
    assert_eq!(run(&["policy", "apply"]).0, Some(0));
    assert_eq!(token("invoice-reader").0, 200);

    // Each token and each entry names the version that was in use.
    let tokens = serving.tokens();
    let versions: Vec<_> = tokens.iter().map(|token| token["policy"].as_u64().unwrap()).collect();
    assert_eq!(versions, [2, 3, 3, 2]);
    let trail = lines(&serving.issuer.run(&["audit", "--json"]).stdout);
    let applied = trail.iter().filter(|entry| entry["act"] == "policy_applied");
    let applied: Vec<_> = applied
        .map(|entry| (entry["policy"].as_u64().unwrap(), entry["actor"].as_str().unwrap()))
        .collect();
    assert_eq!(applied[applied.len() - 3..], [(2, "serve"), (3, "serve"), (2, "serve")]);
    assert!(trail.iter().all(|entry| entry["policy"].is_u64()));
    let shown = serving.issuer.run(&["policy", "show", "3"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let roles = shown["policy"]["roles"].as_array().unwrap();
    assert!(roles.iter().any(|role| role["name"] == "auditor"), "{shown}");
}

/// Starts an issuer with the environments `dev` and `prod`, and with `more` in its configuration.
pub(crate) fn with_environments(more: &str) -> Serving {
    let serving = Serving::start_prepared(
        |text| {
            let text = as_environment(&text, "dev");
            let prod = "[[role]]\nname = \"invoice-reader\"\nenvironment = \"prod\"\naudience = \"https://api.example\"\nscopes = [\"invoices:read\"]\n";
            format!(
                "{text}\n[[environment]]\nname = \"dev\"\n[[environment]]\nname = \"prod\"\n{prod}\n{more}"
            )
        },
        |issuer| {
            let _ = fs::remove_dir_all(issuer.path("data"));
            for name in ["dev", "prod"] {
                let made = issuer.run(&["init", "--environment", name]);
                assert_eq!(made.status.code(), Some(0), "{}", said(&made));
            }
        },
    );
    serving.wait_until_ready();
    serving
}

#[test]
fn keys_rotate_by_themselves_in_the_environment_that_is_due() {
    let mut serving = with_environments("");
    let kid = |serving: &Serving, environment: &str, state: &str| {
        let told = serving.issuer.run(&["keys", "list", "--json", "--environment", environment]);
        let keys: Vec<Value> = serde_json::from_slice(&told.stdout).unwrap();
        let key = keys.iter().find(|key| key["use"] == state);
        key.map(|key| key["kid"].clone()).unwrap()
    };
    let before = ["dev", "prod"].map(|name| kid(&serving, name, "standby"));
    let signing = kid(&serving, "prod", "signing");
    serving.kill();
    crate::keys::run_sql(
        &serving.issuer.path("data/dev/edgepass.db"),
        "UPDATE signing_keys SET signs_since = 0 WHERE use = 'signing'; \
         UPDATE signing_keys SET created_at = 1, published_at = 1 WHERE use = 'standby'",
    );
    serving.restart();
    serving.wait_until_ready();
    serving
        .wait_for("the standby key of dev signs", || kid(&serving, "dev", "signing") == before[0]);
    assert_ne!(kid(&serving, "dev", "standby"), before[0]);
    assert_eq!(
        (kid(&serving, "prod", "signing"), kid(&serving, "prod", "standby")),
        (signing, before[1].clone())
    );
    let issued = serving.issuer.run(&["issue", "--role", "invoice-reader", "--environment", "dev"]);
    let token = String::from_utf8(issued.stdout).unwrap();
    let verified = serving.issuer.run_with_input(&["verify", "-", "--environment", "dev"], &token);
    assert_eq!(verified.status.code(), Some(0), "{}", said(&verified));
    let trail = serving.issuer.run(&["audit", "--environment", "dev", "--json"]);
    let entries = lines(&trail.stdout);
    let rotated = entries.iter().find(|entry| entry["act"] == "key_rotated").unwrap();
    assert_eq!(rotated["actor"], "serve");
}

#[test]
fn two_secrets_hold_between_their_dates() {
    let secret = |serving: &Serving| {
        let made = serving.issuer.run(&["client-secret", "--json"]);
        assert_eq!(made.status.code(), Some(0), "{}", said(&made));
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("client_secret"), text("secret_hash"))
    };
    let serving = Serving::start();
    let [old, new, gone, future] = [(); 4].map(|()| secret(&serving));
    let file = serving.issuer.path("edgepass.toml");
    let written = fs::read_to_string(&file).unwrap();
    let ask = |secret: &str| {
        let form = "grant_type=client_credentials";
        serving.send("oauth/token", secret, form).0
    };
    let apply = |one: &str, other: &str| {
        let line = written.lines().find(|line| line.starts_with("secret_hash")).unwrap();
        fs::write(&file, written.replace(line, &format!("secrets = [{one}, {other}]"))).unwrap();
        let applied = serving.issuer.run(&["policy", "apply"]);
        assert_eq!(applied.status.code(), Some(0), "{}", said(&applied));
    };
    apply(
        &format!("{{ hash = \"{}\", until = 2099-12-31 }}", old.1),
        &format!("{{ hash = \"{}\", from = 2026-01-01 }}", new.1),
    );
    assert_eq!([&old.0, &new.0, &serving.secret].map(|secret| ask(secret)), [200, 200, 401]);
    apply(
        &format!("{{ hash = \"{}\", until = 2026-01-01 }}", gone.1),
        &format!("{{ hash = \"{}\", from = 2099-01-01 }}", future.1),
    );
    assert_eq!([&gone.0, &future.0, &old.0].map(|secret| ask(secret)), [401, 401, 401]);
}

#[test]
fn environments_have_issuers_keys_and_lists_of_their_own() {
    let serving = with_environments("");
    let run = |arguments: &[&str]| {
        let output = serving.issuer.run(arguments);
        (output.status.code(), told(&output))
    };
    let (code, says) = run(&["issue", "--role", "invoice-reader"]);
    assert_eq!(code, Some(2));
    assert!(says.contains("name one of the environments: dev, prod"), "{says}");
    let issue = |environment: &str| {
        let output = serving.issuer.run(&[
            "issue",
            "--role",
            "invoice-reader",
            "--environment",
            environment,
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let (dev, prod) = (issue("dev"), issue("prod"));
    let verify = |token: &str, arguments: &[&str]| {
        let output = serving.issuer.run_with_input(&[&["verify", "-"], arguments].concat(), token);
        (output.status.code(), told(&output))
    };
    for (token, own, other) in [(&dev, "dev", "prod"), (&prod, "prod", "dev")] {
        assert_eq!(verify(token, &["--environment", own]).0, Some(0));
        // However a verifier is configured: with the other's issuer, or with the other's keys.
        let (code, says) = verify(token, &["--environment", other]);
        assert_eq!(code, Some(1));
        assert!(says.contains("issuer_mismatch"), "{says}");
        let (issuer, keys) = (
            format!("{}/{own}", serving.url),
            format!("{}/{other}/.well-known/jwks.json", serving.url),
        );
        let (code, says) = verify(
            token,
            &["--issuer", &issuer, "--audience", "https://api.example", "--jwks", &keys],
        );
        assert_eq!(code, Some(1));
        assert!(says.contains("key_not_found"), "{says}");
    }
    let metadata: Value =
        serde_json::from_str(&serving.get(".well-known/oauth-authorization-server/prod").unwrap())
            .unwrap();
    assert_eq!(metadata["issuer"], format!("{}/prod", serving.url));
    assert!(serving.get(".well-known/oauth-authorization-server/other").is_err());
    let openid: Value =
        serde_json::from_str(&serving.get(".well-known/openid-configuration/prod").unwrap())
            .unwrap();
    assert_eq!(openid, metadata);
    let body = "grant_type=client_credentials";
    assert_eq!(serving.send("dev/oauth/token", &serving.secret, body).0, 200);
    assert_eq!(serving.send("prod/oauth/token", &serving.secret, body).0, 401);
    assert_eq!(serving.send("oauth/token", &serving.secret, body).0, 404);

    // A command for all environments takes no name of one.
    for command in [&["serve"][..], &["policy", "check"], &["policy", "apply"]] {
        let (code, says) = run(&[command, &["--environment", "dev"]].concat());
        assert!(code == Some(2) && says.contains("all environments"), "{says}");
    }
    // Environments come and go with a restart only, and `apply` says so.
    let file = serving.issuer.path("edgepass.toml");
    let text = fs::read_to_string(&file).unwrap();
    let third = format!("{text}\n[[environment]]\nname = \"test\"\n");
    let (without, _) = text.split_at(text.find("[[environment]]\nname = \"prod\"").unwrap());
    for (changed, says) in [(third.as_str(), "+ environment test"), (without, "- environment prod")]
    {
        fs::write(&file, changed).unwrap();
        let (code, told) = run(&["policy", "diff"]);
        assert!(code == Some(1) && told.contains(says), "{told}");
        let (code, told) = run(&["policy", "apply"]);
        assert!(code == Some(3) && told.contains("restart"), "{told}");
    }
    fs::write(&file, &text).unwrap();
    assert_eq!(run(&["policy", "apply"]).0, Some(0));

    // An operator of one environment changes the policy of no other.
    let changed = text.replace("max_lifetime = \"30m\"", "max_lifetime = \"20m\"");
    let in_both = changed.replace(
        "name = \"invoice-reader\"\nenvironment = \"prod\"",
        "name = \"reader\"\nenvironment = \"prod\"",
    );
    assert_ne!(in_both, changed);
    fs::write(&file, &in_both).unwrap();
    let of_dev =
        ["issue", "--role", "edgepass-operator", "--subject", "ada", "--environment", "dev"];
    let operator = String::from_utf8(serving.issuer.run(&of_dev).stdout).unwrap();
    let apply = |environment: &str| {
        let url = format!("{}/{environment}", serving.url);
        let mut command = serving.issuer.command(&["policy", "apply", "--server", &url]);
        crate::ended(command.env("EDGEPASS_TOKEN", operator.trim())).status.code()
    };
    assert_eq!((apply("dev"), apply("prod")), (Some(0), Some(1)));
    let (code, says) = run(&["policy", "diff"]);
    assert_eq!(code, Some(1));
    assert!(says.contains("prod: role reader") && !says.contains("dev:"), "{says}");
    fs::write(&file, &text).unwrap();
    assert_eq!(run(&["policy", "apply"]).0, Some(0));

    let (code, says) = run(&["revoke", "--environment", "dev", "--all", "--reason", ""]);
    assert_eq!(code, Some(2), "{says}");
    let (code, says) = run(&["revoke", "--environment", "dev", "--all", "--reason", "test"]);
    assert_eq!(code, Some(0), "{says}");
    assert!(says.contains("3 tokens revoked"), "{says}");
    assert_eq!(verify(&dev, &["--environment", "dev"]).0, Some(1));
    assert_eq!(verify(&prod, &["--environment", "prod"]).0, Some(0));
}
