//! The issuer as its documents show it: keys, status lists, and every edition of each.

use ed25519_dalek::{Signer, SigningKey};
use edgepass_jose::base64url;
use edgepass_status_list::encoder::encode;
use edgepass_status_list::list::{Bits, StatusList};
use edgepass_verify::documents::fetch::{DocumentKind, FetchOrder};
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const JWKS: &str = "https://issuer.example/jwks.json";
const LISTS_URI: &str = "https://issuer.example/lists";

/// Tokens of a run, over all lists.
pub(crate) const TOKENS: u64 = 48;
/// The token at `index` has its status in list `index % LISTS`.
const LISTS: u64 = 4;
/// How old the signed date of a list may be, and for how long a set holds, in milliseconds.
pub const MAX_AGE: u64 = 105_000;
/// In seconds; the run begins here.
pub(crate) const START: u64 = 1_800_000_000;

/// From the lists to the set without a key, in milliseconds, as the issuer waits by default: no cache
/// before the source holds a list by then that the key signed.
const PUBLISHING: u64 = 1_000 + 500;
/// The same without waiting for caches.
const TOO_SOON: u64 = 400;

/// A document as it was from some time on.
#[derive(Clone)]
pub(crate) struct Edition {
    /// In virtual milliseconds.
    pub(crate) since: u64,
    pub(crate) body: String,
    pub(crate) etag: String,
}

/// The issuer.
pub(crate) struct Source {
    keys: Vec<SigningKey>,
    /// When a key leaves the set, if it does.
    withdrawn: Vec<(usize, u64)>,
    /// The key that signs lists.
    list_key: usize,
    lists: Vec<List>,
    sets: Vec<Edition>,
    aggregation: Vec<Edition>,
    /// When the issuer does not run, in virtual milliseconds.
    pub(crate) down: Vec<(u64, u64)>,
}

struct List {
    statuses: StatusList,
    number: u64,
    editions: Vec<Edition>,
}

impl Source {
    pub(crate) fn new() -> Self {
        let list = |_| {
            let statuses = StatusList::all_valid(Bits::One, TOKENS as u32);
            List { statuses, number: 0, editions: Vec::new() }
        };
        let uris: Vec<String> = (0..LISTS).map(uri).collect();
        let body = json!({"status_lists": uris}).to_string();
        let mut source = Self {
            keys: [1, 2, 3].map(|seed| SigningKey::from_bytes(&[seed; 32])).into(),
            withdrawn: Vec::new(),
            list_key: 0,
            lists: (0..LISTS).map(list).collect(),
            sets: Vec::new(),
            aggregation: vec![Edition { since: 0, body, etag: "\"1\"".into() }],
            down: Vec::new(),
        };
        source.publish_lists(0);
        source.publish_set(0);
        source
    }

    /// When the issuer runs next, if it does not at `at`.
    pub(crate) fn back_at(&self, at: u64) -> Option<u64> {
        self.down.iter().find(|(from, to)| (*from..*to).contains(&at)).map(|(_, to)| *to)
    }

    /// A token with this index, under this key.
    pub(crate) fn token(&self, index: u64, key: usize) -> String {
        let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": format!("k{key}")});
        let claims = json!({
            "iss": ISSUER, "sub": "s", "client_id": "c", "jti": index.to_string(), "aud": "api",
            "scope": "a", "iat": START - 60, "exp": START + 3600,
            "status": {"status_list": {"idx": index, "uri": list_uri(index)}},
        });
        self.sign(key, &header, &claims)
    }

    /// Revoke, and publish at `now`.
    pub(crate) fn revoke(&mut self, index: u64, now: u64) {
        let at = (index % LISTS) as usize;
        self.lists[at].statuses.set(index, 1);
        self.publish_list(at, now);
    }

    /// Take a key out of the set. If it signs lists, another signs them all anew before.
    /// When that is done.
    pub(crate) fn withdraw_key(&mut self, key: usize, now: u64, too_soon: bool) -> u64 {
        if self.list_key == key {
            self.list_key = 2;
            self.publish_lists(now);
        }
        let at = now + if too_soon { TOO_SOON } else { PUBLISHING };
        self.withdrawn.push((key, at));
        self.publish_set(at);
        at
    }

    /// The document as the source gave it out at `at`.
    pub(crate) fn edition(&self, order: &FetchOrder, at: u64) -> Option<&Edition> {
        let editions = match order.document {
            DocumentKind::StatusList => {
                let list = order.uri.rsplit('/').next()?.parse::<usize>().ok()?;
                &self.lists.get(list)?.editions
            }
            DocumentKind::JwkSet => &self.sets,
            DocumentKind::Aggregation => &self.aggregation,
            DocumentKind::Metadata => return None,
        };
        editions.iter().rev().find(|edition| edition.since <= at)
    }

    /// An older document that says that it is the newest.
    pub(crate) fn made_new(&self, order: &FetchOrder, edition: &Edition, now: u64) -> Edition {
        let payload = edition.body.split('.').nth(1).and_then(base64url::decode);
        let json = payload.unwrap_or_else(|| edition.body.clone().into_bytes());
        let mut claims: Value = serde_json::from_slice(&json).unwrap_or_default();
        claims["iat"] = json!(START + now / 1000);
        let list = order.uri.rsplit('/').next().and_then(|list| list.parse::<usize>().ok());
        let body = match list.and_then(|list| self.lists.get(list)) {
            Some(list) => {
                claims["number"] = json!(list.number);
                self.sign_list(&claims)
            }
            None => claims.to_string(),
        };
        Edition { body, ..edition.clone() }
    }

    /// Sign every list and date the set anew, as the issuer does after a third of their time.
    pub(crate) fn renew(&mut self, now: u64) {
        self.publish_lists(now);
        self.publish_set(now);
    }

    /// Sign every list anew, as the issuer does when it starts.
    pub(crate) fn publish_lists(&mut self, now: u64) {
        (0..self.lists.len()).for_each(|list| self.publish_list(list, now));
    }

    fn publish_list(&mut self, at: usize, now: u64) {
        let list = &mut self.lists[at];
        list.number += 1;
        let (number, issued_at) = (list.number, START + now / 1000);
        let claims = json!({
            "sub": uri(at as u64), "iat": issued_at, "exp": issued_at + 3600, "ttl": 5,
            "number": number,
            "status_list": {
                "bits": 1, "lst": encode(&list.statuses), "aggregation_uri": LISTS_URI,
            },
        });
        let body = self.sign_list(&claims);
        let etag = format!("\"{number}\"");
        self.lists[at].editions.push(Edition { since: now, body, etag });
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
        // A set is as old as its keys; how long it holds is said anew.
        let changes = self.withdrawn.iter().map(|(_, at)| *at).filter(|at| now >= *at);
        let issued_at = START + changes.max().unwrap_or_default() / 1000;
        let expiration = START + (now + MAX_AGE) / 1000;
        let body = json!({"keys": keys, "iat": issued_at, "exp": expiration}).to_string();
        let etag = format!("\"{}\"", self.sets.len());
        // A set without a key is made before its time.
        let place = self.sets.partition_point(|set| set.since <= now);
        self.sets.insert(place, Edition { since: now, body, etag });
    }

    fn sign_list(&self, claims: &Value) -> String {
        let header =
            json!({"alg": "EdDSA", "typ": "statuslist+jwt", "kid": format!("k{}", self.list_key)});
        self.sign(self.list_key, &header, claims)
    }

    fn sign(&self, key: usize, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| base64url::encode(value.to_string().as_bytes());
        let input = format!("{}.{}", part(header), part(claims));
        format!("{input}.{}", base64url::encode(&self.keys[key].sign(input.as_bytes()).to_bytes()))
    }
}

/// Where the token with this index has its status.
pub(crate) fn list_uri(index: u64) -> String {
    uri(index % LISTS)
}

fn uri(list: u64) -> String {
    format!("{LISTS_URI}/{list}")
}
