//! Runs the program as users do, and checks exit codes and error texts.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "these are tests"
)]

mod acts;
mod admin;
mod agreements;
mod audit;
mod backup;
mod connections;
mod hostile;
mod keys;
mod policy;
mod postgres;
mod review;
mod rust_server;
mod serving;
mod targets;
#[path = "../../../store/src/postgres/test_server.rs"]
mod test_server;
mod tls;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct Issuer {
    folder: tempfile::TempDir,
}

impl Issuer {
    fn new() -> Self {
        let issuer = Self { folder: tempfile::tempdir().unwrap() };
        let output = issuer.run(&["init", "."]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        issuer
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgepass"));
        command.current_dir(self.folder.path()).args(arguments);
        command.env_remove("EDGEPASS_MASTER_KEY").env_remove("EDGEPASS_CONFIG");
        command.env_remove("EDGEPASS_DATABASE_URL");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        ended(&mut self.command(arguments))
    }

    fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs `serve` with a changed configuration, then restores the file. Returns the output.
    fn serve_with(&self, from: &str, to: &str) -> Output {
        let file = self.path("edgepass.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(&file, text.replacen(from, to, 1)).unwrap();
        let output = self.run(&["serve"]);
        fs::write(&file, text).unwrap();
        output
    }

    fn token(&self) -> String {
        let output = self.run(&["issue", "--role", "invoice-reader"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Output of a command that must end by itself within 10 s. A `serve` that keeps running is a
/// failure.
fn ended(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = child.id().to_string();
    let (sender, output) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    if let Ok(output) = output.recv_timeout(std::time::Duration::from_secs(10)) {
        return output.unwrap();
    }
    Command::new("kill").arg(id).status().unwrap();
    panic!("{command:?} still runs after 10 s");
}

/// Standard output and standard error.
fn told(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Checks the exit code, and that stderr is exactly one line and contains `says`.
fn assert_refused(output: &Output, code: i32, says: &str) {
    let text = said(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(says), "{text:?} does not say {says:?}");
    assert_eq!(text.trim_end().lines().count(), 1, "{text:?}");
}

#[test]
fn init_never_overwrites() {
    let issuer = Issuer::new();
    let before = fs::read(issuer.path("edgepass.toml")).unwrap();
    assert_refused(&issuer.run(&["init", "."]), 2, "never overwrites");
    fs::remove_file(issuer.path("edgepass.toml")).unwrap();
    assert_refused(&issuer.run(&["init", "."]), 2, "never overwrites");
    fs::write(issuer.path("edgepass.toml"), before).unwrap();
    issuer.token();
}

#[test]
fn init_refuses_arguments_that_make_no_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = Issuer { folder };
    assert_refused(&issuer.run(&["init", "x", "--issuer", "ftp://x"]), 2, "https URL");
    assert!(!issuer.path("x/data").exists());
    let broken_out = "https://api.example\" # x";
    assert_refused(&issuer.run(&["init", "y", "--audience", broken_out]), 2, "--audience");
    assert!(!issuer.path("y").exists());
}

#[test]
fn an_invalid_configuration_is_reported_with_file_line_and_remedy() {
    let issuer = Issuer::new();
    for (from, to, says) in [
        ("data_dir", "data_directory", "unknown field `data_directory`"),
        ("lifetime = \"10m\"", "lifetime = 10", "a unit, such as \"10s\""),
        ("max_lifetime = \"30m\"", "max_lifetime = \"48h\"", "from \"1s\" to \"1d\""),
        ("deadline = \"10s\"", "deadline = \"5s\"", "raise deadline to at least \"9s\""),
        ("roles = [", "roles = [\"nobody\", ", "there is no role \"nobody\""),
    ] {
        let output = issuer.serve_with(from, to);
        assert_refused(&output, 2, says);
        assert!(said(&output).contains("edgepass.toml:"), "{}", said(&output));
    }
}

#[test]
fn the_master_key_must_be_the_right_one_and_private() {
    let issuer = Issuer::new();
    let wrong = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let output = ended(issuer.command(&["serve"]).env("EDGEPASS_MASTER_KEY", wrong));
    assert_refused(&output, 2, "does not open the signing keys");
    let output = ended(issuer.command(&["serve"]).env("EDGEPASS_MASTER_KEY", "short"));
    assert_refused(&output, 2, "43 characters");

    let file = issuer.path("master.key");
    let chmod = |mode: &str| {
        assert!(Command::new("chmod").arg(mode).arg(&file).status().unwrap().success());
    };
    chmod("644");
    assert_refused(&issuer.run(&["serve"]), 2, "chmod 600");
    chmod("600");
    fs::write(&file, "not a key").unwrap();
    assert_refused(&issuer.run(&["serve"]), 2, "43 characters");
    fs::remove_file(&file).unwrap();
    assert_refused(&issuer.run(&["serve"]), 2, "cannot be read");
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let issuer = Issuer::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output =
        issuer.serve_with("listen = \"127.0.0.1:8787\"", &format!("listen = \"{address}\""));
    assert_refused(&output, 2, "another process listens on");
}

#[test]
fn a_folder_that_cannot_be_written_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let issuer = Issuer { folder };
    assert_refused(&issuer.run(&["init", "file/below"]), 2, "cannot be created");
}

#[test]
fn without_init_the_error_names_init() {
    let issuer = Issuer { folder: tempfile::tempdir().unwrap() };
    assert_refused(&issuer.run(&["serve"]), 2, "run `edgepass init`");
    let issuer = Issuer::new();
    fs::remove_dir_all(issuer.path("data")).unwrap();
    assert_refused(&issuer.run(&["issue", "--role", "invoice-reader"]), 2, "run `edgepass init`");
}

#[test]
fn the_policy_is_enforced_and_says_what_is_allowed() {
    let issuer = Issuer::new();
    for (arguments, says) in [
        (["--role", "nobody", "--ttl", "1m"], "allowed: invoice-reader, invoice-clerk"),
        (["--role", "invoice-reader", "--ttl", "2h"], "at most \"1h\""),
        (["--role", "invoice-reader", "--scope", "admin"], "allowed: invoices:read"),
    ] {
        let output = issuer.run(&[["issue"].as_slice(), &arguments].concat());
        assert_refused(&output, 1, says);
    }
    let output = issuer.run(&["issue", "--role", "invoice-reader", "--ttl", "90"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("a unit, such as \"10s\""));
    let output = issuer.run(&["issue", "--role", "invoice-reader", "--subject", ""]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(issuer.run(&["tokens", "--json"]).stdout, b"");
}

#[test]
fn a_token_of_another_issuer_gets_a_status_entry_and_is_revoked_by_it() {
    let issuer = Issuer::new();
    let allot = |jti: &str, time: &str| {
        let iss = ["--iss", "https://login.example", "--expires-in", time];
        issuer.run(&[["status", "allot", "--jti", jti, "--json"].as_slice(), &iss].concat())
    };
    let list = |output: &Output| {
        assert_eq!(output.status.code(), Some(0), "{}", said(output));
        lines(&output.stdout)[0]["status"]["status_list"].clone()
    };
    let assert_said = |output: &Output, code: i32, says: &str| {
        assert_eq!(output.status.code(), Some(code));
        assert!(told(output).contains(says), "{}", told(output));
    };
    let (one, two) = (list(&allot("one", "10m")), list(&allot("two", "10m")));
    assert!(one["uri"].as_str().unwrap().starts_with("http://127.0.0.1:8787/"));
    assert_ne!(one, two);

    // The same jti with another time is another token.
    assert_said(&allot("one", "20m"), 1, "another token has this jti");
    assert_said(&allot("late", "25h"), 1, "at most 24 hours ahead");
    assert_said(&allot(" one", "10m"), 1, "white space at its ends");
    assert_said(&allot("", "10m"), 2, "--jti");

    // 3: recorded, but nothing publishes, because no `serve` runs.
    assert_said(&issuer.run(&["revoke", "--jti", "one", "--reason", "leak", "--json"]), 3, "one");
    let tokens = lines(&issuer.run(&["tokens", "--json"]).stdout);
    let revoked = |jti: &str| {
        let token = tokens.iter().find(|token| token["jti"] == jti).unwrap();
        assert_eq!(
            (&token["role"], &token["aud"]),
            (&"status-entry".into(), &"https://login.example".into())
        );
        token["status"] == "revoked"
    };
    assert!(revoked("one") && !revoked("two"), "{tokens:?}");
}

/// The JSON values in these lines.
pub(crate) fn lines(text: &[u8]) -> Vec<serde_json::Value> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[test]
fn tokens_and_the_trail_are_filtered_and_followed() {
    let issuer = Issuer::new();
    let issue = |role: &str, subject: &str| {
        let arguments = ["issue", "--role", role, "--subject", subject];
        assert_eq!(issuer.run(&arguments).status.code(), Some(0));
    };
    for number in 0..12 {
        issue("invoice-reader", if number % 3 == 0 { "ada" } else { "bob" });
    }
    let ask = |command: &str, arguments: &[&str]| {
        let output = issuer.run(&[&[command, "--json"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
        lines(&output.stdout)
    };
    let all = ask("tokens", &[]);
    assert_eq!(all.len(), 12);
    assert_eq!(ask("tokens", &["--subject", "ada"]).len(), 4);
    assert_eq!(ask("tokens", &["--subject", "ada", "--role", "nobody"]).len(), 0);
    assert_eq!(ask("tokens", &["--client", all[0]["client_id"].as_str().unwrap()]).len(), 12);
    assert_eq!(ask("tokens", &["--client", "nobody"]).len(), 0);
    assert_eq!(ask("tokens", &["--limit", "3"]), all[..3]);
    assert_eq!(ask("tokens", &["--limit", "100"]), all);
    assert_eq!(ask("tokens", &["--since", "1h"]).len(), 12);
    assert_eq!(ask("tokens", &["--since", "2100-01-01T00:00:00Z"]).len(), 0);
    let jti = all[5]["jti"].as_str().unwrap();
    assert_eq!(ask("tokens", &["--jti", jti]), all[5..6]);

    issuer.run(&["revoke", "--jti", jti, "--reason", "test"]);
    issuer.run(&["revoke", "--subject", "ada", "--reason", "test"]);
    let trail = ask("audit", &[]);
    assert_eq!(trail.len(), 16, "policy, keys, tokens, two acts");
    assert_eq!(ask("audit", &["--limit", "2"]), trail[14..]);
    let of_one = ask("audit", &["--jti", jti]);
    assert_eq!(of_one.len(), 2);
    assert_eq!(of_one[1]["act"], "token_revoked");
    assert_eq!(ask("audit", &["--subject", "ada"]).len(), 6, "four issues and two acts");
    assert_eq!(ask("audit", &["--subject", "ada", "--limit", "1"])[0]["act"], "statuses_changed");
    assert_eq!(ask("audit", &["--since", "2100-01-01T00:00:00+01:00"]).len(), 0);
    for bad in [["--since", "yesterday"], ["--limit", "0"], ["--limit", "-1"]] {
        let output = issuer.run(&[&["audit"], bad.as_slice()].concat());
        assert_eq!(output.status.code(), Some(2), "{bad:?}: {}", said(&output));
    }

    // Followed: the newest ten, oldest first, then what comes.
    let mut followed = issuer.command(&["tokens", "--json", "--follow"]);
    let mut followed = followed.stdout(Stdio::piped()).spawn().unwrap();
    let mut reader = std::io::BufReader::new(followed.stdout.take().unwrap());
    let mut next = || -> serde_json::Value {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    };
    let shown: Vec<_> = (0..10).map(|_| next()["jti"].clone()).collect();
    let newest: Vec<_> = all[..10].iter().rev().map(|token| token["jti"].clone()).collect();
    assert_eq!(shown, newest);
    issue("invoice-reader", "eve");
    assert_eq!(next()["sub"], "eve");
    followed.kill().unwrap();
    followed.wait().unwrap();
}

#[test]
fn clients_are_added_and_listed() {
    let issuer = Issuer::new();
    let file = issuer.path("edgepass.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let output = issuer.run(&[
        "client",
        "add",
        "billing",
        "--role",
        "invoice-reader",
        "--may",
        "revoke",
        "--json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let added = lines(&output.stdout);
    assert!(added[0]["client_secret"].as_str().unwrap().len() > 30);
    let after = std::fs::read_to_string(&file).unwrap();
    assert!(after.starts_with(&before), "what was there stays");
    let listed = lines(&issuer.run(&["client", "list", "--json"]).stdout);
    let billing = serde_json::json!({
        "client_id": "billing", "authentication": "secret", "roles": ["invoice-reader"],
        "may": ["revoke"], "introspects": [], "exchanges": [], "allots": false,
        "reports_use_of": [],
    });
    assert_eq!(listed.last(), Some(&billing));
    // With a key, the configuration holds nothing secret.
    let with_key = ["client", "add", "bot", "--role", "invoice-reader", "--new-key", "bot.jwk"];
    let output = issuer.run(&with_key);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let private = std::fs::read_to_string(issuer.path("bot.jwk")).unwrap();
    let private: serde_json::Value = serde_json::from_str(&private).unwrap();
    let after = std::fs::read_to_string(&file).unwrap();
    assert!(after.contains(private["x"].as_str().unwrap()));
    assert!(!after.contains(private["d"].as_str().unwrap()));
    let server = ["client", "add", "api", "--introspects", "https://api.example"];
    assert_eq!(issuer.run(&server).status.code(), Some(0));
    let after = std::fs::read_to_string(&file).unwrap();
    // A private key is refused, and so is a file that exists.
    for bad in [
        &["client", "add", "other", "--role", "invoice-reader", "--jwks", "bot.jwk"][..],
        &["client", "add", "other", "--role", "invoice-reader", "--new-key", "bot.jwk"],
        &["client", "add", "other", "--role", "invoice-reader", "--jwks", "a", "--new-key", "b"],
    ] {
        let output = issuer.run(bad);
        assert_eq!(output.status.code(), Some(2), "{bad:?}: {}", said(&output));
    }
    for bad in [
        &["client", "add", "billing", "--role", "invoice-reader"][..],
        &["client", "add", "other", "--role", "nobody"],
        &["client", "add", "a:b", "--role", "invoice-reader"],
        &["client", "add", "\"\n[[client]]", "--role", "invoice-reader"],
        &["client", "add", "other"],
        &["client", "add", "other", "--role", "invoice-reader", "--may", "anything"],
    ] {
        let output = issuer.run(bad);
        assert_eq!(output.status.code(), Some(2), "{bad:?}: {}", said(&output));
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), after, "nothing was added");
}

#[test]
fn tokens_are_listed_with_their_status() {
    let issuer = Issuer::new();
    let tokens = [issuer.token(), issuer.token()];
    let output = issuer.run_with_input(&["revoke", "-", "--reason", "test"], &tokens[0]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stdout).contains("recorded, not published"));

    // Already revoked, but no `serve` runs: still not published.
    let output = issuer.run_with_input(&["revoke", "-", "--reason", "test"], &tokens[0]);
    assert_eq!(output.status.code(), Some(3));
    let output = issuer.run(&["revoke", "--jti", "-starts-with-a-hyphen", "--reason", "-"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));

    let list = |arguments: &[&str]| -> Vec<serde_json::Value> {
        let output = issuer.run(&[["tokens", "--json"].as_slice(), arguments].concat());
        lines(&output.stdout)
    };
    assert_eq!(list(&[]).len(), 2);
    assert_eq!(list(&["--live"]).len(), 1);
    assert_eq!(list(&["--role", "invoice-clerk"]).len(), 0);
    let revoked = list(&[]).iter().filter(|token| token["status"] == "revoked").count();
    assert_eq!(revoked, 1);
    let text = String::from_utf8(issuer.run(&["tokens"]).stdout).unwrap();
    for column in ["ID", "ROLE", "SCOPES", "AUDIENCE", "CREATED BY", "ISSUED", "EXPIRES", "STATUS"]
    {
        assert!(text.lines().next().unwrap().contains(column), "{text}");
    }
}

#[test]
fn inspect_is_marked_unverified_and_escapes_control_characters() {
    let issuer = Issuer::new();
    let token = issuer.token();
    let output = issuer.run_with_input(&["inspect", "-"], &token);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("UNVERIFIED"));
    assert_refused(&issuer.run_with_input(&["inspect", "-"], "nonsense"), 1, "not a token");
    assert_refused(&issuer.run_with_input(&["inspect", "-"], ""), 2, "holds no token");
    // {"alg":"a"} . {"x":"<escape>[31m"}
    let escape = "eyJhbGciOiJhIn0.eyJ4IjoiXHUwMDFiWzMxbSJ9.";
    let output = issuer.run_with_input(&["inspect", "-"], escape);
    assert!(!output.stdout.contains(&0x1b), "an escape sequence reached the terminal");
    // {"alg":"a"} . {"\u001b[31mx\nVERIFIED":1}
    let name = "eyJhbGciOiJhIn0.eyJcdTAwMWJbMzFteFxuVkVSSUZJRUQiOjF9.";
    let output = issuer.run_with_input(&["inspect", "-"], name);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains('\u{1b}') && !text.contains("\nVERIFIED"), "{text}");
}

#[test]
fn a_token_in_the_arguments_is_refused() {
    let issuer = Issuer::new();
    let token = issuer.token();
    let output = issuer.run(&["inspect", token.trim()]);
    assert_refused(&output, 2, "shell histories");
    assert!(!said(&output).contains("eyJ"));
    let token = issuer.token();
    let output = issuer.run(&["revoke", &token, "--reason", "x"]);
    assert_refused(&output, 2, "shell histories");
    assert!(!said(&output).contains(&token));
    let (token, joined) = (token.trim(), format!("--jti={}", token.trim()));
    for arguments in [
        &["verify", "--batch", token][..],
        &["verify", "-", "--status", token],
        &["revoke", "--jti-file", token],
        &["revoke", &joined],
        &["--config", token, "tokens"],
        &["issue", "--unknown", token],
        &[token],
    ] {
        let output = issuer.run(arguments);
        assert_refused(&output, 2, "shell histories");
        assert!(!said(&output).contains("eyJ"), "{arguments:?}");
    }
}

#[test]
fn an_unusable_line_is_answered_with_the_expected_form_and_no_text_of_the_line() {
    let issuer = Issuer { folder: tempfile::tempdir().unwrap() };
    let lines = [
        (r#"{"policy": {"issuer": "i", "audience": "a"}}"#, "missing field `now`"),
        (r#"{"now": "x, expected eyJhbGciOiJIUzI1NiJ9"}"#, "now: expected f64"),
        (
            r#"{"now": 1, "token": "", "jwks": {}, "policy": {"issuer": "i"}}"#,
            "policy: missing field `audience`",
        ),
        (
            r#"{"now": 1, "token": "", "jwks": {}, "policy": {"audiance": "a"}}"#,
            "policy: expected one of `profile`, `issuer`",
        ),
        ("nonsense", "not a JSON object"),
    ];
    let input: Vec<&str> = lines.iter().map(|(line, _)| *line).collect();
    let output = issuer.run_with_input(&["verify", "--batch", "-"], &input.join("\n"));
    let answers = String::from_utf8(output.stdout).unwrap();
    assert_eq!(answers.lines().count(), lines.len());
    for (answer, (line, expected)) in answers.lines().zip(lines) {
        assert!(answer.contains(expected), "{line}: {answer}");
        assert!(!answer.contains("eyJ") && !answer.contains("audiance"), "{answer}");
    }
}

#[test]
fn with_json_a_failure_is_an_object_on_stderr() {
    let issuer = Issuer { folder: tempfile::tempdir().unwrap() };
    for (arguments, code, expected) in [
        (["--json", "inspect", "-"], 1, "not a token"),
        (["--json", "issue", "--role=nobody"], 2, "edgepass.toml"),
    ] {
        let output = issuer.run_with_input(&arguments, "nonsense");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let told: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(told["exit_code"], code);
        assert!(told["error"].as_str().unwrap().contains(expected), "{told}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn verify_exits_by_its_verdict() {
    let issuer = Issuer::new();
    let token = issuer.token();
    let verify = |jwks: &Path, extra: &[&str]| {
        let base = [
            "verify",
            "-",
            "--issuer",
            "http://127.0.0.1:8787",
            "--audience",
            "https://api.example",
            "--jwks",
            jwks.to_str().unwrap(),
        ];
        issuer.run_with_input(&[base.as_slice(), extra].concat(), &token)
    };
    let keys = issuer.path("keys.json");
    fs::write(&keys, "{\"keys\":[]}").unwrap();
    let output = verify(&keys, &["--status", "none"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("key_not_found"));
    assert_refused(&verify(&issuer.path("absent.json"), &[]), 2, "a URL or a file");
    fs::write(&keys, "nonsense").unwrap();
    assert_refused(&verify(&keys, &[]), 2, "not a JWK Set");
    let output = issuer.run_with_input(
        &["verify", "-", "--issuer", "http://127.0.0.1:1", "--audience", "a"],
        &token,
    );
    assert_eq!(output.status.code(), Some(1)); // the issuer differs: nothing is fetched
    assert_eq!(
        issuer.run_with_input(&["revoke", "--jti", "nobody", "--reason", "x"], "").status.code(),
        Some(1)
    );
}

#[test]
fn help_has_examples_and_completions_are_written() {
    let issuer = Issuer { folder: tempfile::tempdir().unwrap() };
    let help = String::from_utf8(issuer.run(&["--help"]).stdout).unwrap();
    assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
    for shell in ["bash", "zsh", "fish"] {
        let output = issuer.run(&["completions", shell]);
        assert!(output.stdout.len() > 1000, "{shell}");
    }
}

#[test]
fn a_batch_is_answered_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgepass"));
        ended(command.current_dir(folder.path()).args(arguments))
    };
    let line = r#"{"id":"a","token":"x","jwks":{"keys":[]},"now":1,
        "policy":{"issuer":"https://i.example","audience":"a"}}"#
        .replace('\n', " ");
    let file = folder.path().join("lines.jsonl");
    fs::write(&file, format!("{line}\n\nnot json\n{line}\n")).unwrap();
    let output = run(&["verify", "--batch", "lines.jsonl"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let answers = String::from_utf8(output.stdout).unwrap();
    let verdicts: Vec<&str> = answers
        .lines()
        .map(|line| if line.contains("\"error\"") { "error" } else { "rejected" })
        .collect();
    assert_eq!(verdicts, ["rejected", "error", "rejected"], "{answers}");
    assert!(answers.contains("\"code\":\"token_malformed\""), "{answers}");
    let tally = String::from_utf8(output.stderr).unwrap();
    assert!(tally.contains("3 lines: 0 accepted, 2 rejected, 1 unusable"), "{tally}");

    for wrong in [
        &["verify", "--batch", "absent.jsonl"][..],
        &["verify", "--batch", "lines.jsonl", "--issuer", "https://i.example"],
        &["verify", "lines.jsonl"],
    ] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}
