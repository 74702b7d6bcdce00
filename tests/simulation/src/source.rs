//! The issuer as its documents show it: keys, one status list, and every edition of both.

use ed25519_dalek::{Signer, SigningKey};
use edgepass_jose::base64url;
use edgepass_status_list::encoder::encode;
use edgepass_status_list::list::{Bits, StatusList};
use edgepass_verify::fetch::Document;
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const JWKS: &str = "https://issuer.example/jwks.json";
pub(crate) const LIST: &str = "https://issuer.example/lists/1";

/// Entries of the list.
pub(crate) const TOKENS: u64 = 48;
/// In seconds; the run begins here.
pub(crate) const START: u64 = 1_800_000_000;

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
    /// Keys that are published.
    published: Vec<usize>,
    list: StatusList,
    number: u64,
    lists: Vec<Edition>,
    sets: Vec<Edition>,
}

impl Source {
    pub(crate) fn new() -> Self {
        let mut source = Self {
            keys: [1, 2].map(|seed| SigningKey::from_bytes(&[seed; 32])).into(),
            published: vec![0, 1],
            list: StatusList::all_valid(Bits::One, TOKENS as u32),
            number: 0,
            lists: Vec::new(),
            sets: Vec::new(),
        };
        source.publish_list(0);
        source.publish_set(0);
        source
    }

    /// A token with this index, under this key.
    pub(crate) fn token(&self, index: u64, key: usize) -> String {
        let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": format!("k{key}")});
        let claims = json!({
            "iss": ISSUER, "sub": "s", "client_id": "c", "jti": index.to_string(), "aud": "api",
            "scope": "a", "iat": START - 60, "exp": START + 3600,
            "status": {"status_list": {"idx": index, "uri": LIST}},
        });
        self.sign(key, &header, &claims)
    }

    /// Revoke, and publish at `now`.
    pub(crate) fn revoke(&mut self, index: u64, now: u64) {
        self.list.set(index, 1);
        self.publish_list(now);
    }

    /// Take the second key out of the set, and publish that at `now`. The first signs lists.
    pub(crate) fn withdraw_key(&mut self, now: u64) {
        self.published = vec![0];
        self.publish_set(now);
    }

    /// The document as the source gave it out at `at`.
    pub(crate) fn edition(&self, document: Document, at: u64) -> Option<&Edition> {
        let editions = match document {
            Document::StatusList => &self.lists,
            Document::JwkSet => &self.sets,
            Document::Metadata | Document::Aggregation => return None,
        };
        editions.iter().rev().find(|edition| edition.since <= at)
    }

    /// Sign a new edition of the list, as the issuer does before the one before expires.
    pub(crate) fn publish_list(&mut self, now: u64) {
        self.number += 1;
        let issued_at = START + now / 1000;
        let header = json!({"alg": "EdDSA", "typ": "statuslist+jwt", "kid": "k0"});
        let claims = json!({
            "sub": LIST, "iat": issued_at, "exp": issued_at + 3600, "ttl": 5, "number": self.number,
            "status_list": {"bits": 1, "lst": encode(&self.list)},
        });
        let body = self.sign(0, &header, &claims);
        let etag = format!("\"{}\"", self.number);
        self.lists.push(Edition { since: now, body, etag });
    }

    fn publish_set(&mut self, now: u64) {
        let jwk = |at: &usize| {
            let x = base64url::encode(self.keys[*at].verifying_key().as_bytes());
            json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": format!("k{at}"), "x": x})
        };
        let keys: Vec<Value> = self.published.iter().map(jwk).collect();
        let body = json!({"keys": keys, "iat": START + now / 1000}).to_string();
        let etag = format!("\"{}\"", self.sets.len());
        self.sets.push(Edition { since: now, body, etag });
    }

    fn sign(&self, key: usize, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| base64url::encode(value.to_string().as_bytes());
        let input = format!("{}.{}", part(header), part(claims));
        format!("{input}.{}", base64url::encode(&self.keys[key].sign(input.as_bytes()).to_bytes()))
    }
}
