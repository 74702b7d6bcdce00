//! Publishing to a directory, also after the directory was changed or the database rolled back.

use std::fs;

use serde_json::Value;

use crate::keys::run_sql;
use crate::said;
use crate::serving::Serving;

pub(crate) const DIRECTORY: &str = "[[target]]\nkind = \"directory\"\npath = \"public\"\n";

impl Serving {
    pub(crate) fn public(&self, path: &str) -> String {
        fs::read_to_string(self.issuer.path("public").join(path)).unwrap_or_default()
    }

    pub(crate) fn list_paths(&self) -> Vec<String> {
        let lists: Value = serde_json::from_str(&self.public("status-list-aggregation")).unwrap();
        let uris = lists["status_lists"].as_array().unwrap().iter();
        let path = |uri: &Value| uri.as_str().unwrap().replace(&format!("{}/", self.url), "");
        uris.map(path).collect()
    }
}

#[test]
fn every_document_lies_at_the_target_before_revoke_returns() {
    let serving = Serving::start_with(DIRECTORY);
    let jti = serving.issue(&["invoice-reader"]);
    let lists = serving.list_paths();
    assert!(!lists.is_empty(), "lists are opened and published before they are needed");
    let before: Vec<String> = lists.iter().map(|path| serving.public(path)).collect();
    serving.act(&["revoke", "--jti", &jti], 1);
    let after: Vec<String> = lists.iter().map(|path| serving.public(path)).collect();
    let changed = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert_eq!(changed, 1, "a revocation touches its own list alone");
    for path in lists.iter().map(String::as_str).chain([
        ".well-known/jwks.json",
        ".well-known/oauth-authorization-server",
        "status-list-aggregation",
    ]) {
        assert_eq!(serving.public(path), serving.get(path).unwrap(), "{path}");
    }
}

#[test]
fn a_list_that_somebody_else_changed_is_put_right() {
    let serving = Serving::start_with(DIRECTORY);
    let jti = serving.issue(&["invoice-reader"]);
    let paths = serving.list_paths();
    for path in &paths {
        fs::write(serving.issuer.path("public").join(path), "eyJ").unwrap();
    }
    serving.act(&["revoke", "--jti", &jti], 1);
    let is_right = |path: &&String| serving.public(path) == serving.get(path).unwrap();
    assert!(paths.iter().any(|path| is_right(&path)), "the list of the act was not put right");
}

#[test]
fn a_database_that_was_rolled_back_takes_no_revocation_back() {
    roll_back(Since::TheRevocation);
}

#[test]
fn a_database_that_was_rolled_back_brings_no_withdrawn_key_back() {
    roll_back(Since::AKeyChange);
}

#[test]
fn a_database_from_before_every_list_of_today_is_noticed() {
    roll_back(Since::LongAgo);
}

/// Changes since the database copy that is restored.
#[derive(PartialEq)]
enum Since {
    TheRevocation,
    AKeyChange,
    LongAgo,
}

fn roll_back(since: Since) {
    let mut serving = Serving::start_with(DIRECTORY);
    let jti = serving.issue(&["invoice-reader"]);
    serving.kill();
    let database = || ["edgepass.db", "edgepass.db-wal", "edgepass.db-shm"];
    for file in database() {
        let from = serving.issuer.path("data").join(file);
        if from.exists() {
            fs::copy(from, serving.issuer.path(file)).unwrap();
        }
    }
    serving.restart();
    serving.wait_until_ready();
    serving.act(&["revoke", "--jti", &jti], 1);
    let keys = serving.issuer.run(&["keys", "list", "--json"]);
    let keys: Value = serde_json::from_slice(&keys.stdout).unwrap();
    if since == Since::AKeyChange {
        let kid = keys[0]["kid"].as_str().unwrap();
        let compromise = serving.issuer.run(&["keys", "compromise", kid]);
        assert_eq!(compromise.status.code(), Some(0));
    }
    let mut paths = serving.list_paths();
    paths.push(".well-known/jwks.json".into());
    let published: Vec<String> = paths.iter().map(|path| serving.public(path)).collect();
    serving.kill();
    for file in database() {
        let to = serving.issuer.path("data").join(file);
        let _ = fs::remove_file(&to);
        if serving.issuer.path(file).exists() {
            fs::copy(serving.issuer.path(file), to).unwrap();
        }
    }
    if since == Since::LongAgo {
        let forget = "DELETE FROM tokens; DELETE FROM status_lists";
        run_sql(&serving.issuer.path("data/edgepass.db"), forget);
    }
    serving.restart();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert!(serving.get("readyz").is_err(), "it must not be ready");
    if since == Since::AKeyChange {
        // A rotation makes the keys look newer, but must not hide the rollback.
        let old_enough = "UPDATE signing_keys SET published_at = 1 WHERE use = 'standby'";
        run_sql(&serving.issuer.path("data/edgepass.db"), old_enough);
        let rotate = serving.issuer.run(&["keys", "rotate"]);
        assert_eq!(rotate.status.code(), Some(3), "{}", said(&rotate));
    }
    for path in &paths {
        assert!(serving.get(path).is_err(), "the endpoint serves a document of the old database");
    }
    let still: Vec<String> = paths.iter().map(|path| serving.public(path)).collect();
    assert!(published == still, "a newer document was replaced by an older one");
    // The noticed rollback is not forgotten, even if the target is empty later.
    fs::rename(serving.issuer.path("public"), serving.issuer.path("elsewhere")).unwrap();
    fs::create_dir(serving.issuer.path("public")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    for path in &paths {
        assert!(serving.get(path).is_err(), "{path} is served after all");
    }
}

#[test]
fn documents_have_validators_codings_and_no_history() {
    let serving = Serving::start();
    serving.issue(&["invoice-reader"]);
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let get = |path: &str, name: &str, value: &str| {
        let request = agent.get(format!("{}/{path}", serving.url)).header(name, value);
        let response = request.call().unwrap();
        let header = |name: &str| {
            let value = response.headers().get(name);
            value.map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        let headers =
            ["etag", "cache-control", "content-type", "content-encoding", "vary"].map(header);
        (response.status().as_u16(), headers)
    };
    let named: Value =
        serde_json::from_str(&serving.get("status-list-aggregation").unwrap()).unwrap();
    let uri = named["status_lists"][0].as_str().unwrap();
    let list = uri.strip_prefix(&serving.url).unwrap().trim_start_matches('/');
    for (path, media_type) in [
        (list, "application/statuslist+jwt"),
        ("status-list-aggregation", "application/json"),
        (".well-known/jwks.json", "application/jwk-set+json"),
        (".well-known/oauth-authorization-server", "application/json"),
    ] {
        let (status, [etag, caching, found, coding, vary]) = get(path, "accept-encoding", "gzip");
        assert_eq!((status, found.as_str(), coding.as_str()), (200, media_type, "gzip"), "{path}");
        assert_eq!(
            (caching.as_str(), vary.as_str()),
            ("public, max-age=1, must-revalidate", "accept-encoding")
        );
        let (_, [same, .., coding, _]) = get(path, "accept-encoding", "br, gzip;q=0");
        assert_eq!((same, coding.as_str()), (etag.clone(), ""));
        assert_eq!(get(path, "if-none-match", &etag).0, 304, "{path}");
        assert_eq!(get(path, "if-none-match", "\"x\", *").0, 304, "{path}");
        assert_eq!(get(path, "if-none-match", "\"x\"").0, 200, "{path}");
    }
    assert_eq!(get(&format!("{list}?time=1800000000"), "accept", "*/*").0, 501);
    assert_eq!(get("status-lists/0-0", "accept", "*/*").0, 404);
    let metadata: Value =
        serde_json::from_str(&serving.get(".well-known/oauth-authorization-server").unwrap())
            .unwrap();
    assert_eq!(
        metadata["status_list_aggregation_endpoint"],
        format!("{}/status-list-aggregation", serving.url)
    );
}

#[test]
fn a_key_compromised_while_a_target_is_away_leaves_it_when_it_is_back() {
    let mut serving = Serving::start_with(DIRECTORY);
    let keys = serving.issuer.run(&["keys", "list", "--json"]);
    let keys: Value = serde_json::from_slice(&keys.stdout).unwrap();
    let signing = keys.as_array().unwrap().iter().find(|key| key["use"] == "signing").unwrap();
    let signing = signing["kid"].as_str().unwrap();
    let (public, away) = (serving.issuer.path("public"), serving.issuer.path("away"));
    fs::rename(&public, &away).unwrap();
    fs::write(&public, "no directory").unwrap();
    let compromise = serving.issuer.run(&["keys", "compromise", signing]);
    assert_eq!(compromise.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&compromise.stdout).contains("not published yet"));
    // The issuer's own endpoint does not wait for the target.
    assert!(!serving.get(".well-known/jwks.json").unwrap().contains(signing));
    let report = serving.issuer.run(&["doctor"]);
    assert_eq!(report.status.code(), Some(1));
    let report = String::from_utf8(report.stdout).unwrap();
    assert!(report.contains("is not ready") && report.contains("WRONG target"), "{report}");

    // Also after a restart: first the lists, then, once caches have them, the JWK Set.
    serving.kill();
    fs::remove_file(&public).unwrap();
    fs::rename(&away, &public).unwrap();
    serving.restart();
    serving.wait_until_ready();
    let again = serving.issuer.run(&["keys", "compromise", signing]);
    assert_eq!(again.status.code(), Some(0), "{}", String::from_utf8_lossy(&again.stdout));
    assert!(!serving.public(".well-known/jwks.json").contains(signing));
    let written = |path: &str| fs::metadata(public.join(path)).unwrap().modified().unwrap();
    for path in serving.list_paths() {
        let before = written(".well-known/jwks.json").duration_since(written(&path)).unwrap();
        assert!(before.as_millis() > 900, "{path}: {before:?}");
    }
    let report = serving.issuer.run(&["doctor"]);
    assert_eq!(report.status.code(), Some(0), "{}", String::from_utf8_lossy(&report.stdout));
}
