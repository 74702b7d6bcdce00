//! Key rotation and compromised keys.

use serde_json::Value;

use crate::serving::Serving;
use crate::{assert_refused, said};

impl Serving {
    fn keys(&self) -> Vec<Value> {
        serde_json::from_slice(&self.issuer.run(&["keys", "list", "--json"]).stdout).unwrap()
    }

    fn kid(&self, state: &str) -> String {
        let keys = self.keys();
        let key = keys.iter().find(|key| key["use"] == state);
        let key = key.unwrap_or_else(|| panic!("no {state} key: {keys:?}"));
        key["kid"].as_str().unwrap().to_owned()
    }

    /// Changes the configuration and restarts `serve`.
    fn reconfigure(&mut self, from: &str, to: &str) {
        self.kill();
        let file = self.issuer.path("edgepass.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&file, text.replace(from, to)).unwrap();
        self.restart();
        self.wait_until_ready();
    }

    fn served_kids(&self) -> Vec<String> {
        let set: Value = serde_json::from_str(&self.get(".well-known/jwks.json").unwrap()).unwrap();
        let keys = set["keys"].as_array().unwrap().iter();
        keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    /// The exit code of `verify`, which takes issuer and audience from the configuration.
    fn verify(&self, token: &str) -> Option<i32> {
        let named = ["verify", "-", "--issuer", &self.url, "--audience", "https://api.example"];
        let code = self.issuer.run_with_input(&named, token).status.code();
        assert_eq!(self.issuer.run_with_input(&["verify"], token).status.code(), code);
        code
    }

    /// The `kid` of the key that signed the first list.
    fn list_signer(&self) -> String {
        let lists: Value =
            serde_json::from_str(&self.get("status-list-aggregation").unwrap()).unwrap();
        let uri = lists["status_lists"][0].as_str().unwrap();
        let list = self.get(uri.strip_prefix(&self.url).unwrap().trim_start_matches('/')).unwrap();
        let header = self.issuer.run_with_input(&["inspect", "-", "--json"], &list).stdout;
        let header: Value = serde_json::from_slice(&header).unwrap();
        header["header"]["kid"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_key_signs_only_after_it_was_published_for_long_enough() {
    let serving = Serving::start();
    let rotate = serving.issuer.run(&["keys", "rotate"]);
    assert_refused(&rotate, 1, "the standby key has to be published for");
    assert_eq!(serving.keys().len(), 2);
}

#[test]
fn rotation_keeps_live_tokens_and_a_compromised_key_takes_its_tokens_along() {
    // However short the deadline is, the standby key may sign 30 s after its publication.
    let serving = Serving::start_with_deadline();
    let before = serving.issuer.token();
    let (old, standby) = (serving.kid("signing"), serving.kid("standby"));
    settle(&serving);
    let rotate = serving.issuer.run(&["keys", "rotate"]);
    assert_eq!(rotate.status.code(), Some(0), "{}", said(&rotate));
    assert_eq!((serving.kid("signing"), serving.kid("retired")), (standby, old.clone()));
    assert_eq!(serving.served_kids().len(), 3);
    let after = serving.issuer.token();
    assert_eq!((serving.verify(&before), serving.verify(&after)), (Some(0), Some(0)));

    let (signing, standby) = (serving.kid("signing"), serving.kid("standby"));
    let compromise =
        serving.issuer.run(&["keys", "compromise", &signing, "--reason", "it was in a log"]);
    assert_eq!(compromise.status.code(), Some(0), "{}", said(&compromise));
    let text = String::from_utf8_lossy(&compromise.stdout).into_owned();
    assert!(text.contains("was published only recently"), "{text}");
    assert_eq!((serving.kid("withdrawn"), serving.kid("signing")), (signing.clone(), standby));
    let served = serving.served_kids();
    assert!(!served.contains(&signing) && served.contains(&serving.kid("standby")), "{served:?}");
    assert_eq!(serving.list_signer(), serving.kid("signing"));
    // The token of the withdrawn key is refused, that of the retired key is accepted.
    assert_eq!((serving.verify(&after), serving.verify(&before)), (Some(1), Some(0)));

    // A repeated command waits for the same publication.
    let again = serving.issuer.run(&["keys", "compromise", &signing]);
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));
    assert!(String::from_utf8_lossy(&again.stdout).contains("was already withdrawn"));
    assert_refused(&serving.issuer.run(&["keys", "compromise", "x"]), 1, "no key of that name");
    let trail = String::from_utf8(serving.issuer.run(&["audit"]).stdout).unwrap();
    for text in ["key_rotated", "key_compromised", "keys_withdrawn", "it was in a log"] {
        assert!(trail.contains(text), "{text} is missing: {trail}");
    }
    let tokens = serving.tokens();
    assert!(tokens.iter().any(|token| token["status"] == "key withdrawn"), "{tokens:?}");
}

/// Dates the publication of every key 40 s back, so that a test need not wait.
fn settle(serving: &Serving) {
    let database = serving.issuer.path("data/edgepass.db");
    serving.wait_for("the keys are published", || {
        serving.keys().iter().all(|key| key["published_at"].is_u64())
    });
    run_sql(&database, "UPDATE signing_keys SET published_at = published_at - 40");
}

#[test]
fn a_key_stays_as_long_as_its_tokens_whatever_the_configuration_says_later() {
    let mut serving = Serving::start_with_deadline();
    serving.reconfigure("max_lifetime = \"1h\"", "max_lifetime = \"20h\"");
    let arguments = ["issue", "--role", "invoice-reader", "--ttl", "20h", "--json"];
    let issued = serving.issuer.run(&arguments);
    let issued: Value = serde_json::from_slice(&issued.stdout).unwrap();
    assert_eq!(issued["expires_in"], 20 * 3600);
    serving.reconfigure("max_lifetime = \"20h\"", "max_lifetime = \"1h\"");
    serving.reconfigure("overlap = \"25h\"", "overlap = \"2h\"");
    settle(&serving);
    let rotate = serving.issuer.run(&["keys", "rotate"]);
    assert_eq!(rotate.status.code(), Some(0), "{}", said(&rotate));
    let keys = serving.keys();
    let key = keys.iter().find(|key| key["use"] == "retired").unwrap();
    let stays = key["retires_at"].as_u64().unwrap() - key["signs_since"].as_u64().unwrap();
    assert!(stays > 20 * 3600, "{key}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a time is measured here")]
fn a_compromised_key_leaves_the_set_when_no_cache_has_a_list_from_before() {
    let serving = Serving::start();
    let signing = serving.kid("signing");
    let compromise = std::thread::scope(|scope| {
        let compromise = scope.spawn(|| serving.issuer.run(&["keys", "compromise", &signing]));
        serving.wait_for("another key signs the lists", || serving.list_signer() != signing);
        let since = std::time::Instant::now();
        serving.wait_for("the set has lost it", || !serving.served_kids().contains(&signing));
        // Polled every 10 ms; `shared_max_age` is one second.
        assert!(since.elapsed().as_millis() > 900, "after {:?}", since.elapsed());
        compromise.join().unwrap()
    });
    assert_eq!(compromise.status.code(), Some(0), "{}", said(&compromise));
}

#[test]
fn without_serve_a_compromise_is_recorded_and_carried_out_later() {
    let mut serving = Serving::start();
    let token = serving.issuer.token();
    serving.kill();
    let signing = serving.kid("signing");
    let compromise = serving.issuer.run(&["keys", "compromise", &signing]);
    assert_eq!(compromise.status.code(), Some(3), "{}", said(&compromise));
    assert_eq!(serving.kid("compromised"), signing);
    serving.restart();
    serving.wait_until_ready();
    assert_eq!(serving.kid("withdrawn"), signing);
    assert!(!serving.served_kids().contains(&signing));
    assert_eq!(serving.verify(&token), Some(1));
}

#[test]
fn a_compromised_standby_is_replaced_also_when_a_rotation_is_due() {
    // Rotation is due at once, but the standby key is too young to sign.
    let mut serving = Serving::start();
    serving.kill();
    let database = serving.issuer.path("data/edgepass.db");
    let due = "UPDATE signing_keys SET signs_since = 0 WHERE use = 'signing'";
    run_sql(&database, due);
    let standby = serving.kid("standby");
    let compromise = serving.issuer.run(&["keys", "compromise", &standby]);
    assert_eq!(compromise.status.code(), Some(3), "{}", said(&compromise));
    serving.restart();
    serving.wait_until_ready();
    assert_eq!(serving.kid("withdrawn"), standby);
    assert!(serving.served_kids().contains(&serving.kid("standby")));
}

pub(crate) fn run_sql(database: &std::path::Path, statement: impl Into<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        use sqlx::{ConnectOptions, Connection};
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.into()))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    });
}
