//! The audit trail and its log: damage of each kind, proofs, witnesses, erasure.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::keys::run_sql;
use crate::serving::Serving;
use crate::targets::DIRECTORY;
use crate::{assert_refused, said, told};

impl Serving {
    /// Runs `edgepass audit` with these arguments.
    fn audit(&self, arguments: &[&str]) -> Output {
        self.issuer.run(&[&["audit"], arguments].concat())
    }

    /// The value that `audit verify --json` prints.
    fn verified(&self, arguments: &[&str]) -> Value {
        let output = self.audit(&[&["verify", "--json"], arguments].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)))
    }

    /// Waits until every entry is in the log. Returns how many there are.
    pub(crate) fn wait_until_logged(&self) -> u64 {
        self.wait_for("every entry is in the log", || {
            let output = self.audit(&["verify", "--json"]);
            serde_json::from_slice(&output.stdout).is_ok_and(|verified: Value| {
                verified["entries"] == verified["logged"] && verified["damage"].is_null()
            })
        });
        self.verified(&[])["entries"].as_u64().unwrap()
    }

    fn log_key(&self) -> String {
        let output = self.audit(&["key", "--json"]);
        let key: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(key["url"], format!("{}/audit-log", self.url));
        key["key"].as_str().unwrap().to_owned()
    }

    /// Looks at the published log as a witness.
    fn witness(&self, key: &str) -> Output {
        let url = format!("{}/audit-log", self.url);
        let options = ["--name", "witness.example/w", "--signing-key", "witness.key"];
        let options = [&["witness", &url, "--key", key, "--state", "kept"], &options[..]].concat();
        self.audit(&options)
    }
}

/// Eight tokens and what came before them, all in the log.
fn logged() -> (Serving, u64) {
    let serving = Serving::start_with(DIRECTORY);
    for number in 0..8 {
        serving.issue(&["invoice-reader", "--subject", &format!("s{number}")]);
    }
    let entries = serving.wait_until_logged();
    serving.wait_for("the target has the whole log", || {
        let kept = fs::read_to_string(serving.issuer.path("public/audit-log/checkpoint"));
        kept.is_ok_and(|kept| kept.lines().nth(1) == Some(&entries.to_string()))
    });
    (serving, entries)
}

/// What somebody does who can write to the database file: the triggers stop nobody.
fn tamper(database: &Path, statement: &str) {
    const TRIGGERS: &str = "DROP TRIGGER IF EXISTS audit_is_append_only_update; \
                            DROP TRIGGER IF EXISTS audit_is_append_only_delete;";
    run_sql(database, format!("{TRIGGERS} {statement}"));
}

#[test]
fn damage_of_every_kind_is_found_with_its_place() {
    let (mut serving, last) = logged();
    serving.terminate();
    let database = serving.issuer.path("data/edgepass.db");
    let whole = fs::read(&database).unwrap();
    fs::copy(serving.issuer.path("public/audit-log/checkpoint"), serving.issuer.path("kept"))
        .unwrap();
    let copy = "INSERT INTO audit SELECT $1, at_ms, leaf, salt, private FROM audit WHERE seq = 5";
    let at_the_end = copy.replace("$1", &(last + 1).to_string());
    let renumbered = format!(
        "UPDATE audit SET seq = -seq - 1 WHERE seq > 5; UPDATE audit SET seq = -seq WHERE seq < 0; {}",
        copy.replace("$1", "6")
    );
    let cut_off = format!("DELETE FROM audit WHERE seq = {last}");
    let missing_at_the_end = format!("entry {last} is missing");
    let is_a_copy = format!("entry {} is a copy of entry 5", last + 1);
    for (statement, says) in [
        (
            "UPDATE audit SET leaf = replace(leaf, 'invoices:read', 'invoices:write') WHERE seq = 5",
            "entry 5 is not the one that was logged",
        ),
        ("UPDATE audit SET leaf = '{' WHERE seq = 5", "entry 5 is not readable"),
        (
            "UPDATE audit SET private = replace(private, 's', 't') WHERE seq = 5",
            "personal values of entry 5",
        ),
        (
            "UPDATE audit SET salt = NULL, private = NULL WHERE seq = 5",
            "values of entry 5 are gone, and no entry says",
        ),
        ("UPDATE audit SET at_ms = 0 WHERE seq = 5", "the time of entry 5 was changed"),
        ("DELETE FROM audit WHERE seq = 5", "entry 5 is missing"),
        (&cut_off, &missing_at_the_end),
        (
            "UPDATE audit SET seq = -5 WHERE seq = 5; UPDATE audit SET seq = 5 WHERE seq = 6; \
             UPDATE audit SET seq = 6 WHERE seq = -5",
            "entry 5 is not the one that was logged",
        ),
        (&at_the_end, &is_a_copy),
        (&renumbered, "entry 6 is not the one that was logged"),
        (
            "UPDATE log_tiles SET hashes = CAST(substr(hashes, 1, 127) || x'00' || substr(hashes, 129) AS BLOB)",
            "entry 4 is not the one that was logged",
        ),
        (
            "UPDATE log SET checkpoint = replace(checkpoint, '/audit-log', '/audit-dog')",
            "not validly signed",
        ),
    ] {
        tamper(&database, statement);
        let verified = serving.audit(&["verify"]);
        assert!(told(&verified).contains(says), "{statement}: {}", told(&verified));
        assert_eq!(verified.status.code(), Some(1), "{statement}");
        fs::write(&database, &whole).unwrap();
    }
    assert_eq!(serving.verified(&["--checkpoint", "kept"])["damage"], Value::Null);
    // Without a checkpoint from elsewhere these would not show.
    let anew = "DELETE FROM log_tiles; UPDATE log SET size = 0, checkpoint = ''";
    let shortened = format!("DELETE FROM audit WHERE seq > 4; {anew}");
    let changed =
        format!("UPDATE audit SET leaf = replace(leaf, 'invoices:read', 'invoices:write'); {anew}");
    let covers = format!("covers {last} entries, and the trail has 4");
    for (statement, says) in
        [(&shortened, covers.as_str()), (&changed, "is not one of these entries")]
    {
        tamper(&database, statement);
        assert_eq!(serving.verified(&[])["damage"], Value::Null, "{statement}");
        let verified = serving.audit(&["verify", "--checkpoint", "kept"]);
        assert!(told(&verified).contains(says), "{statement}: {}", told(&verified));
        assert_eq!(verified.status.code(), Some(1), "{statement}");
        fs::write(&database, &whole).unwrap();
    }
}

#[test]
fn nothing_is_published_over_a_log_that_the_database_does_not_continue() {
    let (mut serving, last) = logged();
    serving.terminate();
    let database = serving.issuer.path("data/edgepass.db");
    let whole = fs::read(&database).unwrap();
    let kept = serving.issuer.path("public/audit-log/checkpoint");
    let before = fs::read_to_string(&kept).unwrap();
    let anew = "DELETE FROM log_tiles; UPDATE log SET size = 0, checkpoint = ''";
    let shortened = format!("DELETE FROM audit WHERE seq = {last}; {anew}");
    // With a new key, and with the old one.
    for statement in [&shortened, "DELETE FROM log_tiles; DELETE FROM log"] {
        tamper(&database, statement);
        serving.restart();
        serving.wait_for("serve has looked at the target", || {
            serving.get("audit-log/checkpoint").is_err()
                && serving.get(".well-known/jwks.json").is_err()
        });
        std::thread::sleep(std::time::Duration::from_millis(1500));
        assert!(serving.get("readyz").is_err());
        assert_eq!(fs::read_to_string(&kept).unwrap(), before);
        serving.kill();
        for end in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{end}", database.display()));
        }
        fs::write(&database, &whole).unwrap();
    }
    // A target that has lost its log gets all of it again.
    fs::remove_dir_all(serving.issuer.path("public/audit-log")).unwrap();
    serving.restart();
    serving.wait_for("the log is back", || {
        fs::read_to_string(&kept).is_ok_and(|kept| kept.lines().nth(1) == before.lines().nth(1))
    });
    assert!(serving.issuer.path(&format!("public/audit-log/tile/0/000.p/{last}")).exists());
}

#[test]
fn serve_does_not_start_behind_a_checkpoint_from_elsewhere() {
    let more = "[audit]\ncheckpoints = [\"kept\", \"of-a-witness-that-has-not-begun\"]\n";
    let mut serving = Serving::start_with(more);
    serving.issue(&["invoice-reader"]);
    serving.wait_until_logged();
    assert_eq!(serving.witness(&serving.log_key()).status.code(), Some(0));
    serving.issue(&["invoice-reader"]);
    let last = serving.wait_until_logged();
    serving.restart();
    serving.wait_until_ready();
    serving.terminate();
    let database = serving.issuer.path("data/edgepass.db");
    let whole = fs::read(&database).unwrap();
    let anew = "DELETE FROM log_tiles; UPDATE log SET size = 0, checkpoint = ''";
    tamper(&database, &format!("DELETE FROM audit WHERE seq > {}; {anew}", last - 2));
    assert_refused(&serving.issuer.run(&["serve"]), 2, "does not continue the checkpoint");
    fs::write(&database, whole).unwrap();
    fs::write(serving.issuer.path("kept"), "").unwrap();
    assert_refused(&serving.issuer.run(&["serve"]), 2, "is not a checkpoint");
}

#[test]
fn an_entry_is_proven_to_who_has_the_key_alone() {
    let (serving, _) = logged();
    let jti = serving.issue(&["invoice-reader", "--subject", "ada"]);
    let last = serving.wait_until_logged();
    let key = serving.log_key();
    let proof = serving.audit(&["prove", "--jti", &jti]);
    assert_eq!(proof.status.code(), Some(0), "{}", told(&proof));
    let proof = String::from_utf8(proof.stdout).unwrap();
    assert!(proof.starts_with("c2sp.org/tlog-proof@v1\n"), "{proof}");
    let verify = |proof: &str, key: &str| {
        // In an empty folder: neither configuration nor database.
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("proof"), proof).unwrap();
        let arguments = ["audit", "verify", "--proof", "proof", "--key", key];
        let mut command = serving.issuer.command(&arguments);
        crate::ended(command.current_dir(folder.path()))
    };
    let verified = verify(&proof, &key);
    let text = told(&verified);
    assert_eq!(verified.status.code(), Some(0), "{text}");
    assert!(text.contains(&format!("entry {last} of {last}")), "{text}");
    assert!(text.contains(&jti) && !text.contains("ada"), "{text}");
    let changed = proof.replace(&format!("index {}", last - 1), &format!("index {}", last - 2));
    for (proof, key, says) in [
        (changed.as_str(), key.as_str(), "does not include the entry"),
        (&proof, &key_of_another(), "not"),
        ("x", &key, "malformed"),
    ] {
        let refused = verify(proof, key);
        assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
        assert!(said(&refused).contains(says), "{}", told(&refused));
    }
    let unknown = serving.audit(&["prove", "999"]);
    assert_eq!(unknown.status.code(), Some(1), "{}", told(&unknown));
    let private = serving.audit(&["prove", "--jti", &jti, "--private", "--json"]);
    assert!(told(&private).contains("ada"), "{}", told(&private));
}

/// The key of a log of another issuer.
fn key_of_another() -> String {
    let other = Serving::start();
    other.wait_until_logged();
    other.log_key()
}

#[test]
fn a_witness_cosigns_what_continues_and_nothing_else() {
    let (mut serving, last) = logged();
    let key = serving.log_key();
    let first = serving.witness(&key);
    assert!(
        told(&first).contains(&format!("cosigned {last} entries, 0 before")),
        "{}",
        told(&first)
    );
    for _ in 0..3 {
        serving.issue(&["invoice-reader"]);
    }
    let more = serving.wait_until_logged();
    let second = serving.witness(&key);
    let says = format!("cosigned {more} entries, {last} before");
    assert!(told(&second).contains(&says), "{}", told(&second));
    let witness = said(&second);
    let witness = witness.trim().strip_prefix("key of the witness: ").unwrap();
    let verified = serving.audit(&["verify", "--checkpoint", "kept", "--witness", witness]);
    assert_eq!(verified.status.code(), Some(0), "{}", told(&verified));
    let uncosigned = format!("{}/audit-log/checkpoint", serving.url);
    let refused = serving.audit(&["verify", "--checkpoint", &uncosigned, "--witness", witness]);
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(said(&refused).contains("witness.example/w"), "{}", told(&refused));

    // A log that was made anew from a changed trail, at an issuer without targets.
    serving.terminate();
    let database = serving.issuer.path("data/edgepass.db");
    fs::remove_dir_all(serving.issuer.path("public")).unwrap();
    tamper(
        &database,
        "UPDATE audit SET leaf = replace(leaf, 'invoices:read', 'invoices:write'); \
         DELETE FROM log_tiles; UPDATE log SET size = 0, checkpoint = ''",
    );
    serving.restart();
    serving.wait_until_ready();
    serving.wait_for("the log is made anew", || serving.get("audit-log/checkpoint").is_ok());
    let kept = fs::read(serving.issuer.path("kept")).unwrap();
    let refused = serving.witness(&key);
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(said(&refused).contains("does not continue"), "{}", told(&refused));
    assert_eq!(fs::read(serving.issuer.path("kept")).unwrap(), kept);
    // What was signed instead is evidence.
    let forked = fs::read_to_string(serving.issuer.path("kept.refused")).unwrap();
    assert_eq!(forked, serving.get("audit-log/checkpoint").unwrap());
    let both = ["verify", "--checkpoint", "kept", "--checkpoint", "kept.refused"];
    let split = serving.audit(&both);
    assert_eq!(split.status.code(), Some(1), "{}", told(&split));
    assert!(told(&split).contains("the log was shown in two versions"), "{}", told(&split));
}

#[test]
fn one_witness_works_with_a_state_at_a_time() {
    let (serving, _) = logged();
    let key = serving.log_key();
    assert_eq!(serving.witness(&key).status.code(), Some(0));
    let lock = fs::File::open(serving.issuer.path("kept.lock")).unwrap();
    lock.lock().unwrap();
    assert_refused(&serving.witness(&key), 2, "another witness works with kept");
    lock.unlock().unwrap();
    assert_eq!(serving.witness(&key).status.code(), Some(0));
    assert_refused(&serving.witness("x"), 2, "--key");
    let url = ["witness", "ftp://x", "--key", &key, "--state", "kept", "--name", "w"];
    let output = serving.audit(&[&url[..], &["--signing-key", "witness.key"]].concat());
    assert_refused(&output, 2, "no http or https URL");
}

#[test]
fn who_a_person_is_can_be_erased_and_the_log_still_verifies() {
    let (serving, _) = logged();
    // So many that entries move to other pages of the database.
    for _ in 0..25 {
        serving.issue(&["invoice-reader", "--subject", "ada"]);
    }
    let jti = serving.issue(&["invoice-reader", "--subject", "ada"]);
    serving.act(&["revoke", "--jti", &jti], 1);
    let of_ada = told(&serving.audit(&["list", "--subject", "ada"]));
    assert_eq!(of_ada.matches("token_issued").count(), 26, "{of_ada}");
    assert_eq!(of_ada.matches("token_revoked").count(), 1, "{of_ada}");
    let nobody = serving.audit(&["list", "--subject", "Ada"]);
    assert!(told(&nobody).contains("no entry fits"), "{}", told(&nobody));
    let before = serving.wait_until_logged();
    let checkpoint = serving.get("audit-log/checkpoint").unwrap();
    fs::write(serving.issuer.path("kept"), checkpoint).unwrap();
    let arguments = ["erase", "--subject", "ada", "--reason", "request 7"];
    let counted = serving.issuer.run(&[&arguments[..], &["--dry-run"]].concat());
    assert!(told(&counted).contains("27 entries would be erased"), "{}", told(&counted));
    assert!(told(&serving.audit(&["list"])).contains("ada"));
    let erased = serving.issuer.run(&arguments);
    assert!(told(&erased).contains("27 entries erased"), "{}", told(&erased));
    for file in ["edgepass.db", "edgepass.db-wal"] {
        let octets = fs::read(serving.issuer.path("data").join(file)).unwrap();
        let personal = br#""actor":"cli:unknown","subject":"ada""#;
        let is_there = octets.windows(personal.len()).any(|part| part == personal);
        assert!(!is_there, "{file} still has the name");
    }
    let trail = told(&serving.audit(&["list"]));
    assert!(!trail.contains("\"ada\"") && trail.contains("subject=\"erased\""), "{trail}");
    serving.wait_until_logged();
    let verified = serving.verified(&["--checkpoint", "kept"]);
    assert_eq!((verified["damage"].clone(), verified["erased"].clone()), (Value::Null, 27.into()));
    assert_eq!(verified["entries"], before + 1, "the erasure is an entry");
}

#[test]
fn the_trail_is_exported_for_programs_and_spreadsheets() {
    let (serving, last) = logged();
    let lines = |arguments: &[&str]| {
        let output = serving.audit(&[&["export"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let all = lines(&[]);
    assert_eq!(u64::try_from(all.len()).unwrap(), last);
    let entry: Value = serde_json::from_str(all.last().unwrap()).unwrap();
    assert_eq!(entry["position"], last);
    assert_eq!(entry["entry"]["subject"], "s7");
    let table = lines(&["--format", "csv"]);
    assert_eq!(table.len(), all.len() + 1);
    assert!(table[0].starts_with("position,time,actor,act"), "{}", table[0]);
    assert!(lines(&["--to", "2026-01-01"]).is_empty());
    assert!(lines(&["--from", "2100-01-01T00:00:00Z"]).is_empty());
    let wrong = serving.audit(&["export", "--from", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", told(&wrong));
}
