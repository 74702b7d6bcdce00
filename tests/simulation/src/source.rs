//! The issuer and its documents: keys, status lists, and every edition of each.

use ed25519_dalek::{Signer, SigningKey};
use edgepass_jose::base64url;
use edgepass_status_list::encoder::encode;
use edgepass_status_list::list::{Bits, StatusList};
use edgepass_verify::documents::fetch::{DocumentKind, FetchOrder};
use edgepass_verify::documents::status_head::Digest;
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const JWKS: &str = "https://issuer.example/jwks.json";
const LISTS_URI: &str = "https://issuer.example/lists";
pub(crate) const HEAD: &str = "https://issuer.example/status-head";

/// Number of tokens in a run, over all lists.
pub(crate) const TOKENS: u64 = 48;
/// The token at `index` has its status in list `index % LISTS`.
const LISTS: u64 = 4;
/// Maximum age of the `iat` of a list, and lifetime of a JWK Set, in milliseconds.
pub const MAX_AGE: u64 = 105_000;
/// Start of the run, in seconds since the epoch.
pub(crate) const START: u64 = 1_800_000_000;

/// Time from re-signing the lists to the set without the withdrawn key, in milliseconds: the
/// issuer's default. After it no shared cache holds a list that the key signed.
const PUBLISHING: u64 = 1_000 + 500;
/// The same, but too short for the shared caches.
const TOO_SOON: u64 = 400;

/// A document, and when it was published.
#[derive(Clone)]
pub(crate) struct Edition {
    /// When it was published, in virtual milliseconds.
    pub(crate) since: u64,
    /// Whether it says something else than the edition before, beside its dates.
    is_changed: bool,
    pub(crate) body: String,
    pub(crate) etag: String,
}

/// The issuer: its keys and every edition of its documents.
pub(crate) struct Source {
    keys: Vec<SigningKey>,
    /// Withdrawn keys, and when each leaves the set.
    withdrawn: Vec<(usize, u64)>,
    /// The keys that sign lists and heads, each with the time from which on it does.
    list_keys: Vec<(u64, usize)>,
    /// Whether lists name a status head.
    pub(crate) has_head: bool,
    lists: Vec<List>,
    sets: Vec<Edition>,
    aggregation: Vec<Edition>,
    /// When the issuer is down: start and end, in virtual milliseconds.
    pub(crate) down: Vec<(u64, u64)>,
}

struct List {
    statuses: StatusList,
    number: u64,
    editions: Vec<Edition>,
}

impl Source {
    pub(crate) fn new(has_head: bool) -> Self {
        let list = |_| {
            let statuses = StatusList::all_valid(Bits::One, TOKENS as u32);
            List { statuses, number: 0, editions: Vec::new() }
        };
        let uris: Vec<String> = (0..LISTS).map(uri).collect();
        let body = json!({"status_lists": uris}).to_string();
        let mut source = Self {
            keys: [1, 2, 3].map(|seed| SigningKey::from_bytes(&[seed; 32])).into(),
            withdrawn: Vec::new(),
            list_keys: vec![(0, 0)],
            has_head,
            lists: (0..LISTS).map(list).collect(),
            sets: Vec::new(),
            aggregation: vec![Edition::new(body, "\"1\"".into())],
            down: Vec::new(),
        };
        source.publish_lists(0);
        source.publish_set(0);
        source
    }

    /// When the issuer is up again, if it is down at `at`.
    pub(crate) fn back_at(&self, at: u64) -> Option<u64> {
        self.down.iter().find(|(from, to)| (*from..*to).contains(&at)).map(|(_, to)| *to)
    }

    /// Signs a token with the given index and key.
    pub(crate) fn token(&self, index: u64, key: usize) -> String {
        let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": format!("k{key}")});
        let claims = json!({
            "iss": ISSUER, "sub": "s", "client_id": "c", "jti": index.to_string(), "aud": "api",
            "scope": "a", "iat": START - 60, "exp": START + 3600,
            "status": {"status_list": {"idx": index, "uri": list_uri(index)}},
        });
        self.sign(key, &header, &claims)
    }

    /// Revokes a token and publishes its list at `now`.
    pub(crate) fn revoke(&mut self, index: u64, now: u64) {
        let at = (index % LISTS) as usize;
        self.lists[at].statuses.set(index, 1);
        self.publish_list(at, now, true);
    }

    /// Takes a key out of the set. If it signs the lists, another key first signs them all. Returns
    /// when the set without the key is published.
    pub(crate) fn withdraw_key(&mut self, key: usize, now: u64, too_soon: bool) -> u64 {
        if self.list_key(now) == key {
            self.list_keys.push((now, 2));
            self.publish_lists(now);
        }
        let at = now + if too_soon { TOO_SOON } else { PUBLISHING };
        self.withdrawn.push((key, at));
        self.publish_set(at);
        at
    }

    /// The edition that the source served at `at`.
    pub(crate) fn edition(&self, order: &FetchOrder, at: u64) -> Option<Edition> {
        let editions = match order.document {
            DocumentKind::StatusHead => return Some(self.head(at)),
            DocumentKind::StatusList => {
                let list = order.uri.rsplit('/').next()?.parse::<usize>().ok()?;
                &self.lists.get(list)?.editions
            }
            DocumentKind::JwkSet => &self.sets,
            DocumentKind::Aggregation => &self.aggregation,
            DocumentKind::Metadata => return None,
        };
        editions.iter().rev().find(|edition| edition.since <= at).cloned()
    }

    /// The key that signs lists and heads at `at`.
    fn list_key(&self, at: u64) -> usize {
        self.list_keys.iter().rev().find(|(from, _)| *from <= at).map_or(0, |(_, key)| *key)
    }

    /// The number of the head at `at`: of all changes so far.
    pub(crate) fn number(&self, at: u64) -> usize {
        let lists = self.lists.iter().flat_map(|list| &list.editions);
        lists.chain(&self.sets).filter(|edition| edition.is_changed && edition.since <= at).count()
    }

    /// The head that the source signs at `at`.
    fn head(&self, at: u64) -> Edition {
        let current =
            |editions: &[Edition]| editions.iter().rev().find(|it| it.since <= at).cloned();
        let mut lists = serde_json::Map::new();
        for (index, list) in self.lists.iter().enumerate() {
            if let Some(edition) = current(&list.editions) {
                let claims = payload(&edition.body);
                let digest = digest_of_list(&claims);
                lists.insert(format!("lists/{index}"), json!([claims["number"], digest]));
            }
        }
        let set = current(&self.sets).map(|set| Digest::of(set.body.as_bytes()).encoded());
        let claims = json!({
            "sub": HEAD, "iat": (START * 1000 + at) as f64 / 1000.0, "number": self.number(at), "wait": 25,
            "jwk_set": set, "lists": lists,
        });
        Edition { since: at, ..Edition::new(self.sign_head(&claims, at), String::new()) }
    }

    fn sign_head(&self, claims: &Value, at: u64) -> String {
        let key = self.list_key(at);
        self.sign(
            key,
            &json!({"alg": "EdDSA", "typ": "statushead+jwt", "kid": format!("k{key}")}),
            claims,
        )
    }

    /// The head, as if signed at `now` for what `held` has, for a broken rule.
    pub(crate) fn head_of(&self, head: &Edition, held: &[(String, String)], now: u64) -> Edition {
        let mut claims = payload(&head.body);
        claims["iat"] = json!((START * 1000 + now) as f64 / 1000.0);
        for (uri, body) in held {
            let name = uri.trim_start_matches("https://issuer.example/");
            claims["lists"][name] = json!([0, digest_of_list(&payload(body))]);
        }
        Edition { body: self.sign_head(&claims, now), ..head.clone() }
    }

    /// Copies an older document, with the `iat` of now and, for a list, the newest `number`.
    pub(crate) fn made_new(&self, order: &FetchOrder, edition: &Edition, now: u64) -> Edition {
        let mut claims = payload(&edition.body);
        claims["iat"] = json!(START + now / 1000);
        let list = order.uri.rsplit('/').next().and_then(|list| list.parse::<usize>().ok());
        let body = match list.and_then(|list| self.lists.get(list)) {
            Some(list) => {
                claims["number"] = json!(list.number);
                self.sign_list(&claims, now)
            }
            None => claims.to_string(),
        };
        Edition { body, ..edition.clone() }
    }

    /// Signs every list and dates the set again, as the issuer does after a third of their
    /// lifetime.
    pub(crate) fn renew(&mut self, now: u64) {
        self.publish_lists(now);
        self.publish_set(now);
    }

    /// Signs every list again and publishes it.
    pub(crate) fn publish_lists(&mut self, now: u64) {
        (0..self.lists.len()).for_each(|list| self.publish_list(list, now, false));
    }

    fn publish_list(&mut self, at: usize, now: u64, is_changed: bool) {
        let list = &mut self.lists[at];
        list.number += 1;
        let (number, issued_at) = (list.number, START + now / 1000);
        let mut claims = json!({
            "sub": uri(at as u64), "iat": issued_at, "exp": issued_at + 3600, "ttl": 5,
            "number": number,
            "status_list": {
                "bits": 1, "lst": encode(&list.statuses), "aggregation_uri": LISTS_URI,
            },
        });
        if self.has_head {
            claims["head_uri"] = json!(HEAD);
        }
        let body = self.sign_list(&claims, now);
        let etag = format!("\"{number}\"");
        let edition = Edition { since: now, is_changed, ..Edition::new(body, etag) };
        self.lists[at].editions.push(edition);
    }

    fn publish_set(&mut self, now: u64) {
        let jwk = |at: &usize| {
            let x = base64url::encode(self.keys[*at].verifying_key().as_bytes());
            json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": format!("k{at}"), "x": x})
        };
        let is_gone =
            |key: &usize| self.withdrawn.iter().any(|(gone, at)| gone == key && now >= *at);
        let keys: Vec<Value> =
            (0..self.keys.len()).filter(|key| !is_gone(key)).map(|key| jwk(&key)).collect();
        // `iat` is the time of the last withdrawal; `exp` moves with every edition.
        let changes = self.withdrawn.iter().map(|(_, at)| *at).filter(|at| now >= *at);
        let issued_at = START + changes.max().unwrap_or_default() / 1000;
        let expiration = START + (now + MAX_AGE) / 1000;
        let body = json!({"keys": keys, "iat": issued_at, "exp": expiration}).to_string();
        let etag = format!("\"{}\"", self.sets.len());
        // `now` is in the future for a set without a withdrawn key, so the order has to be kept.
        let place = self.sets.partition_point(|set| set.since <= now);
        self.sets
            .insert(place, Edition { since: now, is_changed: true, ..Edition::new(body, etag) });
    }

    fn sign_list(&self, claims: &Value, now: u64) -> String {
        let key = self.list_key(now);
        let header = json!({"alg": "EdDSA", "typ": "statuslist+jwt", "kid": format!("k{key}")});
        self.sign(key, &header, claims)
    }

    fn sign(&self, key: usize, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| base64url::encode(value.to_string().as_bytes());
        let input = format!("{}.{}", part(header), part(claims));
        format!("{input}.{}", base64url::encode(&self.keys[key].sign(input.as_bytes()).to_bytes()))
    }
}

impl Edition {
    /// An edition from the start of the run.
    pub(crate) fn new(body: String, etag: String) -> Self {
        Self { since: 0, is_changed: false, body, etag }
    }
}

/// The claims of a signed document, or the members of another.
fn payload(body: &str) -> Value {
    let payload = body.split('.').nth(1).and_then(base64url::decode);
    let json = payload.unwrap_or_else(|| body.as_bytes().to_vec());
    serde_json::from_slice(&json).unwrap_or_default()
}

fn digest_of_list(claims: &Value) -> String {
    let lst = claims["status_list"]["lst"].as_str().unwrap_or_default();
    Digest::of(lst.as_bytes()).encoded()
}

/// The URI of the list with the status of the token at `index`.
pub(crate) fn list_uri(index: u64) -> String {
    uri(index % LISTS)
}

fn uri(list: u64) -> String {
    format!("{LISTS_URI}/{list}")
}
