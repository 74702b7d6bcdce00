//! Backups, made while `serve` runs, and restored after losses.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::keys::run_sql;
use crate::policy::with_environments;
use crate::serving::Serving;
use crate::targets::DIRECTORY;
use crate::{Issuer, assert_refused, lines, said, told};

/// An issued token, and where its status is.
struct Token {
    text: String,
    jti: String,
    slot: (String, u64),
}

impl Serving {
    fn issued(&self) -> Token {
        let text = self.issuer.token().trim().to_owned();
        let claims = URL_SAFE_NO_PAD.decode(text.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        let status = &claims["status"]["status_list"];
        let slot = (status["uri"].as_str().unwrap().to_owned(), status["idx"].as_u64().unwrap());
        Token { text, jti: claims["jti"].as_str().unwrap().to_owned(), slot }
    }

    fn revoke(&self, token: &Token) {
        self.act(&["revoke", "--jti", &token.jti], 1);
    }

    /// The code of the verdict: `None` for an accepted token.
    fn code(&self, token: &Token) -> Option<String> {
        let output = self.issuer.run_with_input(&["verify", "--json"], &token.text);
        let verdict = &lines(&output.stdout)[0];
        verdict["code"].as_str().map(str::to_owned)
    }

    fn assert_revoked(&self, token: &Token) {
        assert_eq!(self.code(token).as_deref(), Some("token_revoked"));
    }

    fn backup(&self, file: &str) -> Value {
        let output = self.issuer.run(&["backup", file, "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        lines(&output.stdout)[0].clone()
    }

    /// Stops `serve` and loses the database.
    fn lose(&mut self) {
        self.kill();
        fs::remove_dir_all(self.issuer.path("data")).unwrap();
    }

    fn restored(&self, arguments: &[&str]) -> Value {
        let output = self.issuer.run(&[&["restore", "--json"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let mode = fs::metadata(self.issuer.path("data/edgepass.db")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let names = fs::read_dir(self.issuer.path("data")).unwrap();
        assert!(names.into_iter().all(|name| {
            let name = name.unwrap().file_name().into_string().unwrap();
            ["edgepass.db", "serve.lock"].contains(&name.as_str())
        }));
        lines(&output.stdout)[0].clone()
    }

    fn serve_again(&mut self) {
        self.restart();
        self.wait_until_ready();
    }

    fn kid_of(&self, state: &str) -> String {
        let keys = self.issuer.run(&["keys", "list", "--json"]).stdout;
        let keys: Vec<Value> = serde_json::from_slice(&keys).unwrap();
        let key = keys.iter().find(|key| key["use"] == state);
        key.map_or("", |key| key["kid"].as_str().unwrap()).to_owned()
    }

    /// What `serve` logs in its first moments.
    fn log_of_serve(&self) -> String {
        let mut serve = self.issuer.command(&["serve"]).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1500));
        assert!(self.get("readyz").is_err(), "it must not be ready");
        serve.kill().unwrap();
        said(&serve.wait_with_output().unwrap())
    }
}

fn master_key(issuer: &Issuer) -> String {
    fs::read_to_string(issuer.path("master.key")).unwrap().trim().to_owned()
}

fn contains(file: &Path, part: &[u8]) -> bool {
    fs::read(file).unwrap().windows(part.len()).any(|window| window == part)
}

#[test]
fn a_backup_is_made_while_tokens_are_issued_and_has_no_master_key() {
    let serving = Serving::start_with(DIRECTORY);
    let made = std::thread::scope(|scope| {
        let issuing = scope.spawn(|| {
            for _ in 0..30 {
                serving.send("oauth/token", &serving.secret, "grant_type=client_credentials");
            }
        });
        let made: Vec<Value> = (0..3).map(|at| serving.backup(&format!("b{at}.db"))).collect();
        issuing.join().unwrap();
        made
    });
    let counts: Vec<_> = made.iter().map(|made| made["tokens"].as_u64().unwrap()).collect();
    assert!(counts.is_sorted(), "{counts:?}");
    let file = serving.issuer.path("b2.db");
    let found = fs::metadata(&file).unwrap();
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert_eq!(made[2]["bytes"], found.len());
    let key = master_key(&serving.issuer);
    let bytes = URL_SAFE_NO_PAD.decode(&key).unwrap();
    assert!(!contains(&file, key.as_bytes()) && !contains(&file, &bytes));
    let private = fs::read_dir(serving.issuer.folder.path()).unwrap();
    let names = private.map(|name| name.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.contains("partial")));

    let text = serving.issuer.run(&["backup", "text.db"]);
    assert!(told(&text).contains("the master key is not in it"), "{}", told(&text));
    for (file, says) in [
        ("b2.db", "already exists"),
        ("data/edgepass.db", "already exists"),
        ("data/edgepass.db-journal", "is in data_dir"),
        ("public/copy.db", "which is public"),
        ("nowhere/copy.db", "cannot be used"),
    ] {
        assert_refused(&serving.issuer.run(&["backup", file]), 2, says);
    }
    let without = Issuer::new();
    fs::remove_dir_all(without.path("data")).unwrap();
    assert_refused(&without.run(&["backup", "b.db"]), 2, "edgepass restore FILE");
}

#[test]
fn a_restored_backup_takes_nothing_back_and_uses_no_index_again() {
    let mut serving = Serving::start_with(DIRECTORY);
    let (before, kept) = (serving.issued(), serving.issued());
    serving.backup("backup.db");
    let (known, unknown) = (serving.issued(), serving.issued());
    // A list that is opened after the backup.
    run_sql(
        &serving.issuer.path("data/edgepass.db"),
        "UPDATE status_lists SET next_counter = capacity",
    );
    let in_new_list = serving.issued();
    assert!(![&before, &known].iter().any(|token| token.slot.0 == in_new_list.slot.0));
    for token in [&before, &unknown, &in_new_list] {
        serving.revoke(token);
    }
    let lists: HashSet<_> = serving.list_paths().into_iter().collect();
    assert!(serving.list_paths().iter().any(|path| in_new_list.slot.0.ends_with(path)));
    serving.lose();
    let restored = serving.restored(&["backup.db"]);
    assert_eq!(restored["adopted_statuses"], 3, "{restored}");
    assert!(restored["adopted_lists"].as_u64().unwrap() >= 1, "{restored}");
    assert_eq!(restored["withdrawn_keys"], serde_json::json!([]));
    serving.serve_again();

    for token in [&before, &unknown, &in_new_list] {
        serving.assert_revoked(token);
    }
    for token in [&kept, &known] {
        assert_eq!(serving.code(token), None, "it was not revoked");
    }
    assert_eq!(serving.status(&before.jti), "revoked");
    let epoch = restored["epoch"].as_str().unwrap();
    assert_eq!(epoch.len(), 12);
    let old = [&before, &kept, &known, &unknown, &in_new_list].map(|token| token.slot.clone());
    let old_lists: HashSet<_> = old.iter().map(|slot| &slot.0).collect();
    for _ in 0..5 {
        let token = serving.issued();
        assert!(token.slot.0.ends_with(&format!("-{epoch}")), "{:?}", token.slot);
        assert!(!old_lists.contains(&token.slot.0));
        assert_eq!(serving.code(&token), None);
        serving.revoke(&token);
        serving.assert_revoked(&token);
    }
    // The old lists are published on, those without a record too.
    let now: HashSet<_> = serving.list_paths().into_iter().collect();
    assert!(lists.is_subset(&now), "{lists:?} {now:?}");
    for path in &lists {
        assert_eq!(serving.public(path), serving.get(path).unwrap(), "{path}");
    }
    let trail = serving.issuer.run(&["audit", "--json"]).stdout;
    let entry = lines(&trail).into_iter().find(|entry| entry["act"] == "database_restored");
    assert_eq!(entry.unwrap()["epoch"], epoch);
    // The log of the audit trail begins anew, beside the one that it cannot continue.
    let old_log = serving.public("audit-log/checkpoint");
    serving.wait_until_logged();
    let path = format!("audit-log/{epoch}/checkpoint");
    serving.wait_for("the new log is published", || !serving.public(&path).is_empty());
    let origin = serving.url.replace("http://", "");
    assert!(serving.get(&path).unwrap().starts_with(&format!("{origin}/audit-log/{epoch}\n")));
    assert_eq!(serving.public("audit-log/checkpoint"), old_log);
}

#[test]
fn a_copy_that_is_put_back_is_refused_and_restored_as_the_log_says() {
    let mut serving = Serving::start_with(DIRECTORY);
    let token = serving.issued();
    let database = serving.issuer.path("data/edgepass.db");
    serving.backup("copy.db");
    serving.revoke(&token);
    serving.kill();
    let put_back = || {
        for ending in ["-wal", "-shm"] {
            let _ = fs::remove_file(serving.issuer.path(&format!("data/edgepass.db{ending}")));
        }
        fs::copy(serving.issuer.path("copy.db"), &database).unwrap();
    };
    put_back();
    let log = serving.log_of_serve();
    assert!(log.contains("was an old copy put back?"), "{log}");
    assert!(log.contains("edgepass restore FILE"), "{log}");
    // Also after it has made as many editions as the lost one: it lacks a revocation.
    put_back();
    run_sql(&database, "UPDATE status_lists SET number = number + 1000");
    let log = serving.log_of_serve();
    assert!(log.contains("was an old copy put back?"), "{log}");

    // With its write-ahead log, since `serve` was killed.
    fs::create_dir(serving.issuer.path("away")).unwrap();
    let restore = serving.issuer.run(&["restore", "data/edgepass.db"]);
    assert_refused(&restore, 2, "restore never overwrites");
    for name in ["edgepass.db", "edgepass.db-wal", "edgepass.db-shm"] {
        let from = serving.issuer.path("data").join(name);
        if from.exists() {
            fs::rename(from, serving.issuer.path("away").join(name)).unwrap();
        }
    }
    let restored = serving.restored(&["away/edgepass.db"]);
    assert_eq!(restored["adopted_statuses"], 1, "{restored}");
    serving.serve_again();
    serving.assert_revoked(&token);
    assert_eq!(serving.code(&serving.issued()), None);
}

#[test]
fn a_key_that_was_withdrawn_after_the_backup_stays_so() {
    let mut serving = Serving::start_with(DIRECTORY);
    let token = serving.issued();
    serving.wait_for("the keys are recorded as published", || {
        let keys = serving.issuer.run(&["keys", "list", "--json"]).stdout;
        let keys: Vec<Value> = serde_json::from_slice(&keys).unwrap();
        keys.iter().all(|key| key["published_at"].is_u64())
    });
    serving.backup("backup.db");
    let (signing, standby) = (serving.kid_of("signing"), serving.kid_of("standby"));
    let compromise = serving.issuer.run(&["keys", "compromise", &signing]);
    assert_eq!(compromise.status.code(), Some(0), "{}", said(&compromise));
    let lost = serving.kid_of("standby");
    serving.lose();
    let restored = serving.restored(&["backup.db"]);
    let withdrawn = restored["withdrawn_keys"].as_array().unwrap();
    assert!(withdrawn.len() == 2 && withdrawn.contains(&lost.as_str().into()), "{restored}");
    assert_eq!(serving.kid_of("signing"), standby);
    assert!(!["", &lost, &signing].contains(&serving.kid_of("standby").as_str()));
    serving.serve_again();
    assert_eq!(serving.code(&token).as_deref(), Some("key_not_found"));
    assert_eq!(serving.code(&serving.issued()), None);
    assert!(!serving.public(".well-known/jwks.json").contains(&signing));
}

#[test]
fn lists_that_a_lost_key_signed_are_taken_over() {
    let mut serving = Serving::start_with(DIRECTORY);
    let old = serving.issued();
    serving.backup("backup.db");
    serving.wait_for("the keys are recorded as published", || {
        run_sql(
            &serving.issuer.path("data/edgepass.db"),
            "UPDATE signing_keys SET published_at = published_at - 40",
        );
        serving.issuer.run(&["keys", "rotate"]).status.code() == Some(0)
    });
    // The key that signs now is of the backup, the next one is not.
    serving.wait_for("the next key is recorded as published", || {
        run_sql(
            &serving.issuer.path("data/edgepass.db"),
            "UPDATE signing_keys SET published_at = published_at - 40",
        );
        serving.issuer.run(&["keys", "rotate"]).status.code() == Some(0)
    });
    let lost = serving.kid_of("signing");
    let (by_lost, revoked) = (serving.issued(), serving.issued());
    serving.revoke(&old);
    serving.revoke(&revoked);
    serving.lose();
    let restored = serving.restored(&["backup.db"]);
    assert!(restored["withdrawn_keys"].as_array().unwrap().contains(&lost.as_str().into()));
    serving.serve_again();
    serving.assert_revoked(&old);
    assert_eq!(serving.code(&by_lost).as_deref(), Some("key_not_found"));
    for path in serving.list_paths() {
        assert_eq!(serving.public(&path), serving.get(&path).unwrap(), "{path}");
    }
}

#[test]
fn restore_refuses_what_it_cannot_do_and_leaves_no_database() {
    let mut serving = Serving::start_with(DIRECTORY);
    serving.issued();
    serving.backup("backup.db");
    let restore = |serving: &Serving, file: &str| serving.issuer.run(&["restore", file]);
    assert_refused(&restore(&serving, "backup.db"), 2, "stop `edgepass serve` first");
    serving.kill();
    assert_refused(&restore(&serving, "backup.db"), 2, "restore never overwrites");
    serving.lose();
    fs::write(serving.issuer.path("nonsense.db"), "nonsense").unwrap();
    let whole = fs::read(serving.issuer.path("backup.db")).unwrap();
    fs::write(serving.issuer.path("half.db"), &whole[..whole.len() / 2]).unwrap();
    for (file, says) in [("absent.db", "cannot be copied"), ("nonsense.db", ""), ("half.db", "")] {
        let output = restore(&serving, file);
        assert_ne!(output.status.code(), Some(0), "{file}");
        assert!(said(&output).contains(says), "{}", said(&output));
    }
    let mut other_key = serving.issuer.command(&["restore", "backup.db"]);
    let other_key = other_key.env("EDGEPASS_MASTER_KEY", "A".repeat(43));
    assert_refused(&crate::ended(other_key), 2, "use the master key of the time of the backup");

    // A target that shows nothing, such as a disk that is not mounted.
    let (public, away) = (serving.issuer.path("public"), serving.issuer.path("away"));
    fs::rename(&public, &away).unwrap();
    let refused = restore(&serving, "backup.db");
    assert_refused(&refused, 3, "it holds no documents of this issuer");
    assert!(said(&refused).contains("--without-targets"));
    assert!(!serving.issuer.path("data/edgepass.db").exists());
    let names = fs::read_dir(serving.issuer.path("data")).unwrap().count();
    assert_eq!(names, 1, "only the lock is left");
    fs::remove_dir_all(&public).unwrap();
    fs::rename(&away, &public).unwrap();
    // What an interrupted command has left.
    for name in ["edgepass.db.restoring", "edgepass.db.restoring-wal"] {
        fs::write(serving.issuer.path("data").join(name), "left").unwrap();
    }
    let output = restore(&serving, "backup.db");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(told(&output).contains("cannot be listed, introspected or revoked one by one"));
}

#[test]
fn without_a_target_restore_says_what_cannot_be_known() {
    let mut serving = Serving::start();
    let token = serving.issued();
    serving.backup("backup.db");
    serving.revoke(&token);
    serving.lose();
    assert_refused(&serving.issuer.run(&["restore", "backup.db"]), 2, "there is no [[target]]");
    let output = serving.issuer.run(&["restore", "backup.db", "--without-targets"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(told(&output).contains("unknown  revocations"), "{}", told(&output));
    serving.serve_again();
    assert_eq!(serving.code(&token), None, "nothing shows that it was revoked");
    let fresh = serving.issued();
    assert_ne!(fresh.slot.0, token.slot.0);
    serving.revoke(&token);
    serving.assert_revoked(&token);
}

#[test]
fn a_target_that_was_left_out_stops_the_issuer_until_a_backup_of_now_is_restored() {
    let mut serving = Serving::start_with(DIRECTORY);
    let token = serving.issued();
    serving.backup("backup.db");
    serving.revoke(&token);
    serving.lose();
    let (public, away) = (serving.issuer.path("public"), serving.issuer.path("away"));
    fs::rename(&public, &away).unwrap();
    let restored = serving.restored(&["backup.db", "--without-targets"]);
    assert_eq!(restored["unread_targets"].as_array().unwrap().len(), 1);
    serving.serve_again();
    let fresh = serving.issued();
    serving.kill();
    fs::remove_dir_all(&public).unwrap();
    fs::rename(&away, &public).unwrap();
    let log = serving.log_of_serve();
    assert!(log.contains("was an old copy put back?"), "{log}");

    serving.backup("now.db");
    serving.lose();
    let restored = serving.restored(&["now.db"]);
    assert_eq!(restored["adopted_statuses"], 1, "{restored}");
    serving.serve_again();
    serving.assert_revoked(&token);
    assert_eq!(serving.code(&fresh), None);
}

fn rewrap(issuer: &Issuer, key: Option<&str>) -> Output {
    let mut command = issuer.command(&["keys", "rewrap", "--new-key", "new.key"]);
    if let Some(key) = key {
        command.env("EDGEPASS_MASTER_KEY", key);
    }
    crate::ended(&mut command)
}

#[test]
fn another_master_key_opens_everything_afterwards_and_the_old_one_nothing() {
    let mut serving = Serving::start();
    let token = serving.issued();
    serving.backup("backup.db");
    let issuer = &serving.issuer;
    assert_refused(&rewrap(issuer, None), 2, "stop `edgepass serve` first");
    assert!(!issuer.path("new.key").exists());
    serving.kill();
    let issuer = &serving.issuer;
    assert_refused(&rewrap(issuer, Some(&"A".repeat(43))), 2, "does not open");
    assert!(!issuer.path("new.key").exists(), "the old master key opens everything");
    serving.issued();

    let output = rewrap(issuer, None);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let mode = fs::metadata(issuer.path("new.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (old, new) = (master_key(issuer), fs::read_to_string(issuer.path("new.key")).unwrap());
    let text = told(&output);
    assert!(!text.contains(&old) && !text.contains(new.trim()), "it prints no key");
    assert!(text.contains("sealed 2 keys again"), "{text}");
    let serve = issuer.run(&["serve"]);
    assert_refused(&serve, 2, "does not open the signing keys");
    // Again: nothing is left to do.
    let again = rewrap(issuer, None);
    assert!(told(&again).contains("sealed 0 keys again"), "{}", told(&again));
    fs::rename(issuer.path("master.key"), issuer.path("old.key")).unwrap();
    fs::rename(issuer.path("new.key"), issuer.path("master.key")).unwrap();
    fs::copy(issuer.path("master.key"), issuer.path("new.key")).unwrap();
    assert_refused(&rewrap(issuer, None), 2, "the new master key is the present one");
    assert!(
        Command::new("chmod").arg("644").arg(issuer.path("new.key")).status().unwrap().success()
    );
    assert_refused(&rewrap(issuer, None), 2, "chmod 600");
    serving.serve_again();
    assert_eq!(serving.code(&token), None);
    assert_eq!(serving.code(&serving.issued()), None);
    let trail = lines(&serving.issuer.run(&["audit", "--json"]).stdout);
    let entry = trail.iter().find(|entry| entry["act"] == "keys_rewrapped").unwrap();
    assert_eq!(entry["key_ids"].as_array().unwrap().len(), 2);
    // The key of the audit log was sealed again, too: the log goes on.
    let entries = serving.wait_until_logged();
    assert!(entries >= u64::try_from(trail.len()).unwrap(), "{entries}");

    // The backup from before opens with the old key alone.
    serving.lose();
    let restore = ["restore", "backup.db", "--without-targets"];
    assert_refused(&serving.issuer.run(&restore), 2, "of the time of the backup");
    let mut with_old = serving.issuer.command(&restore);
    let output = crate::ended(with_old.env("EDGEPASS_MASTER_KEY", old));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn each_environment_has_its_own_backup_and_the_master_key_is_changed_in_all_or_none() {
    let mut serving = with_environments(DIRECTORY);
    let prod = ["--environment", "prod"];
    let issue = |serving: &Serving| {
        let issue = ["issue", "--role", "invoice-reader", "--json"];
        let output = serving.issuer.run(&[issue.as_slice(), &prod].concat());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        lines(&output.stdout)[0]["jti"].as_str().unwrap().to_owned()
    };
    let jti = issue(&serving);
    assert_refused(&serving.issuer.run(&["backup", "b.db"]), 2, "dev, prod");
    let made = serving.issuer.run(&[["backup", "b.db", "--json"].as_slice(), &prod].concat());
    assert_eq!(lines(&made.stdout)[0]["environment"], "prod", "{}", said(&made));
    let revoke = ["revoke", "--jti", &jti, "--reason", "x"];
    let revoked = serving.issuer.run(&[revoke.as_slice(), &prod].concat());
    assert_eq!(revoked.status.code(), Some(0), "{}", said(&revoked));
    serving.kill();
    fs::remove_dir_all(serving.issuer.path("data/prod")).unwrap();
    let restored = serving.issuer.run(&[["restore", "b.db", "--json"].as_slice(), &prod].concat());
    assert_eq!(restored.status.code(), Some(0), "{}", said(&restored));
    assert_eq!(lines(&restored.stdout)[0]["adopted_statuses"], 1);

    let refused = [["keys", "rewrap", "--new-key", "new.key"].as_slice(), &prod].concat();
    assert_refused(&serving.issuer.run(&refused), 2, "concerns all environments");
    let database = serving.issuer.path("data/prod/edgepass.db");
    run_sql(
        &database,
        "CREATE TRIGGER refuse BEFORE UPDATE OF sealed ON signing_keys \
         BEGIN SELECT RAISE(ABORT, 'no'); END",
    );
    let failed = rewrap(&serving.issuer, None);
    assert_refused(&failed, 3, "the old master key opens them");
    run_sql(&database, "DROP TRIGGER refuse");
    serving.serve_again();
    issue(&serving);
    serving.kill();
    // The file is there from before.
    let done = rewrap(&serving.issuer, None);
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    assert!(told(&done).contains("of the environment prod again"), "{}", told(&done));
    fs::rename(serving.issuer.path("new.key"), serving.issuer.path("master.key")).unwrap();
    serving.serve_again();
    issue(&serving);
}
