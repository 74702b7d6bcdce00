//! Records as JSON: what `/admin/v1` returns and `edgepass --json` prints.

use edgepass_issuer::client::Client;
use edgepass_issuer::signing_key::{KeyState, SealedKey};
use edgepass_issuer::storage::TokenRecord;
use serde_json::{Value, json};

use super::usage::Uses;

/// What decides about the status that is shown of a token.
pub struct TokenView {
    withdrawn: Vec<String>,
    /// The time, in seconds.
    now: u64,
}

impl TokenView {
    /// The view at a time, in seconds, with all keys of the issuer.
    pub fn new(keys: &[SealedKey], now: u64) -> Self {
        let withdrawn = keys.iter().filter(|key| key.state == KeyState::Withdrawn);
        Self { withdrawn: withdrawn.map(|key| key.key_id.clone()).collect(), now }
    }

    /// The record of a token with its use. Its `status` is `live`, `suspended`, `revoked`, `expired` or
    /// `key withdrawn`.
    pub fn token(&self, record: &TokenRecord, uses: &Uses) -> Value {
        let token = &record.facts;
        let mut view = json!({
            "jti": token.jwt_id,
            "role": token.role,
            "scope": token.scope,
            "aud": token.audience,
            "client_id": token.client_id,
            "sub": token.subject,
            "created_by": token.created_by,
            "iat": token.issued_at,
            "exp": token.expiration,
            "kid": token.key_id,
            "policy": token.policy,
            "agreement": token.agreement,
            "grant": token.grant,
            "status": record.state(self.withdrawn.contains(&token.key_id), self.now),
        });
        if let (Some(view), Value::Object(uses)) = (view.as_object_mut(), uses.members(record)) {
            view.extend(uses);
        }
        view
    }
}

/// A key, without its private half.
pub fn key(key: &SealedKey) -> Value {
    json!({
        "kid": key.key_id,
        "alg": key.algorithm.name(),
        "use": key.state.name(),
        "created_at": key.created_at,
        "published_at": key.published_at,
        "signs_since": key.signs_since,
        "retires_at": key.retires_at,
        "pkcs11_uri": key.device_uri(),
    })
}

/// A client, without what it authenticates by.
pub fn client(client: &Client) -> Value {
    let may: Vec<&str> = client.may.iter().map(|change| change.name()).collect();
    json!({
        "client_id": client.id,
        "authentication": client.authentication.name(),
        "roles": client.roles,
        "may": may,
        "introspects": client.introspects,
        "exchanges": client.exchanges,
        "allots": client.allots,
        "reports_use_of": client.reports_use_of,
    })
}
