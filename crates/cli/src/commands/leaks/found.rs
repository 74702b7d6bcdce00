//! What was found, and what it is.

use std::collections::BTreeMap;

use edgepass_issuer::Config;
use edgepass_issuer::client::Authentication;
use edgepass_issuer::client::secret::is_secret;
use edgepass_issuer::signing_key::{KeyState, jwk_set};
use edgepass_issuer::storage::{KeyStore, TokenStore};
use edgepass_jose::jwk_set::JwkSet;
use edgepass_jose::{Algorithm, CompactJws};
use edgepass_leaks::{Candidate, Kind, STARTS, Written};
use edgepass_store::AnyStore;
use edgepass_verify::native::check_signature;
use edgepass_verify::signature::{Checked, check};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::host;

/// Where something was found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Place {
    /// The file, or what it was found in.
    pub(super) file: String,
    /// The line, from 1. 0: it has none.
    pub(super) line: u64,
    /// The commit that brought it.
    pub(super) commit: Option<String>,
    /// A hash of the address of the commit's author.
    pub(super) author: Option<String>,
}

/// A real token or secret.
pub(super) struct Find {
    pub(super) kind: Kind,
    /// `jti`, or the client's `client_id`.
    pub(super) id: String,
    pub(super) role: Option<String>,
    /// As `edgepass tokens` shows it. A secret is `live` or `ended`.
    pub(super) state: String,
    pub(super) written: Written,
    pub(super) place: Place,
    /// Whether it was revoked just now.
    pub(super) is_revoked: bool,
    /// The token, to be revoked by who holds it.
    pub(super) text: Zeroizing<String>,
}

impl Place {
    /// A place whose texts may be shown: without control characters, not long, and without what a scan would find.
    pub(super) fn new(file: &str, commit: Option<String>) -> Self {
        const MOST: usize = 512;
        let mut file: String = file.chars().filter(|char| !char.is_control()).take(MOST).collect();
        if let Some(at) = STARTS.iter().filter_map(|(start, _)| file.find(start)).min() {
            file.truncate(at);
            file.push_str("(withheld)");
        }
        let commit = commit.filter(|commit| commit.bytes().all(|byte| byte.is_ascii_hexdigit()));
        Self { file, commit, ..Self::default() }
    }
}

impl Find {
    pub(super) fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Token => "token",
            Kind::Secret => "client secret",
        }
    }

    pub(super) fn as_json(&self) -> Value {
        let written = match self.written {
            Written::Plain => "plain",
            Written::Broken => "broken or escaped",
            Written::Base64 => "base64",
        };
        json!({
            "kind": self.kind_name(),
            "id": self.id,
            "role": self.role,
            "state": self.state,
            "written": written,
            "file": self.place.file,
            "line": self.place.line,
            "commit": self.place.commit,
            "author": self.place.author,
            "revoked": self.is_revoked,
        })
    }
}

/// Says what is real.
pub(super) enum Judge {
    /// By the database of the issuer.
    Store { config: Box<Config>, store: Box<AnyStore>, keys: JwkSet, withdrawn: Vec<String> },
    /// By the keys that an issuer publishes.
    Published { issuer: String, keys: JwkSet },
}

impl Judge {
    /// A judge by the database.
    pub(super) async fn of_store(config: Config, store: AnyStore) -> anyhow::Result<Self> {
        let stored = store.keys().await?.keys;
        let set = jwk_set(stored.iter(), 0, None).to_string();
        let withdrawn = stored.iter().filter(|key| key.state == KeyState::Withdrawn);
        let withdrawn = withdrawn.map(|key| key.key_id.clone()).collect();
        let (config, store) = (Box::new(config), Box::new(store));
        Ok(Self::Store { config, store, keys: keys(&set)?, withdrawn })
    }

    /// A judge by a JWK Set.
    pub(super) fn of_keys(issuer: String, set: &str) -> anyhow::Result<Self> {
        Ok(Self::Published { issuer, keys: keys(set)? })
    }

    fn keys(&self) -> &JwkSet {
        match self {
            Self::Store { keys, .. } | Self::Published { keys, .. } => keys,
        }
    }

    fn issuer(&self) -> &str {
        match self {
            Self::Store { config, .. } => &config.issuer,
            Self::Published { issuer, .. } => issuer,
        }
    }

    /// Whether a candidate is of this issuer: by its signature, or its hash.
    pub(super) fn is_real(&self, candidate: &Candidate) -> bool {
        match candidate.kind {
            Kind::Token => self.signed(&candidate.text).is_some(),
            Kind::Secret => self.secret(&candidate.text).is_some(),
        }
    }

    /// What a candidate is. `None`: nothing of this issuer.
    pub(super) async fn judge(
        &self,
        candidate: Candidate,
        place: Place,
    ) -> anyhow::Result<Option<Find>> {
        let Candidate { kind, text, written, .. } = candidate;
        let found = match kind {
            Kind::Token => self.token(&text).await?,
            Kind::Secret => self.secret(&text).map(|(id, state)| (id, None, state.to_owned())),
        };
        Ok(found.map(|(id, role, state)| Find {
            kind,
            id,
            role,
            state,
            written,
            place,
            is_revoked: false,
            text,
        }))
    }

    /// `jti` and `exp` of a text that this issuer signed.
    fn signed(&self, text: &str) -> Option<(String, Option<u64>)> {
        let jws = CompactJws::parse(text, text.len()).ok()?;
        let key_id = jws.header().key_id()?;
        let is_signed = self.keys().keys().iter().any(|key| {
            key.key_id() == Some(key_id)
                && match check(key, &jws) {
                    Checked::Here(is_valid) => is_valid,
                    Checked::ByHost(request) => check_signature(&request),
                }
        });
        let claims = jws.claims().ok()?;
        if !is_signed || claims.string("iss").ok()? != Some(self.issuer()) {
            return None;
        }
        let expiration = claims.expiration().ok()?.map(|at| at.seconds());
        Some((claims.string("jti").ok()??.to_owned(), expiration))
    }

    /// `jti`, role and state of a text that this issuer signed.
    async fn token(&self, text: &str) -> anyhow::Result<Option<(String, Option<String>, String)>> {
        let Some((id, expiration)) = self.signed(text) else { return Ok(None) };
        let now = host::now().numeric_date().seconds();
        let is_over = expiration.is_none_or(|at| now >= at);
        let Self::Store { store, withdrawn, .. } = self else {
            let state = if is_over { "expired" } else { "not expired" };
            return Ok(Some((id, None, state.to_owned())));
        };
        Ok(Some(match store.token(&id).await? {
            Some(record) => {
                let state = record.state(withdrawn.contains(&record.facts.key_id), now);
                (id, Some(record.facts.role), state.to_owned())
            }
            None if is_over => (id, None, "expired".to_owned()),
            None => (id, None, "not recorded".to_owned()),
        }))
    }

    /// `client_id` and state of a secret whose hash a client has.
    fn secret(&self, text: &str) -> Option<(String, &'static str)> {
        if !is_secret(text) {
            return None;
        }
        let Self::Store { config, .. } = self else { return None };
        let now = host::now();
        config.policy.clients.iter().find_map(|client| {
            let Authentication::Secrets(secrets) = &client.authentication else { return None };
            let secret = secrets.iter().find(|secret| secret.hash.matches(text))?;
            let state = if secret.matches(text, now) { "live" } else { "ended" };
            Some((client.id.clone(), state))
        })
    }
}

fn keys(set: &str) -> anyhow::Result<JwkSet> {
    JwkSet::parse(set.as_bytes(), &Algorithm::ALL, |_| true)
        .map_err(|_| anyhow::anyhow!("the JWK Set of the issuer cannot be read"))
}

/// Finds that name the same thing at the same place, once.
pub(super) fn distinct(finds: Vec<Find>) -> Vec<Find> {
    let mut seen = BTreeMap::new();
    for find in finds {
        let Place { file, line, commit, .. } = &find.place;
        let place = (file.clone(), *line, commit.clone(), find.id.clone());
        seen.entry(place).or_insert(find);
    }
    seen.into_values().collect()
}
