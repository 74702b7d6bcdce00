//! Issuing: records a token, checks its claims with the issuer's own verifier, signs them once, and
//! verifies the token.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use edgepass_jose::{ClaimsSet, CompactJws, base64url, json::JsonObject};
use edgepass_status_list::StatusReference;
use edgepass_verify::checks::judge_unsigned;
use edgepass_verify::policy::PolicyError;
use edgepass_verify::{Policy, UnixMillis, VerifyError};
use serde::Serialize;

use crate::audit::{Act, AuditEntry};
use crate::config::{Config, ListSchedule};
use crate::entropy::{Entropy, NoEntropy};
use crate::keys::{KeySchedule, Keys, OpenError};
use crate::own_token;
use crate::paths::LISTS;
use crate::policy::agreement::AgreementDetail;
use crate::policy::version::{LivePolicy, PolicyUser};
use crate::policy::{Grant, IssuerPolicy};
use crate::proof::Proofs;
use crate::replacement::Replaces;
use crate::signing_key::{SigningFailed, TokenType};
use crate::status_index::ExpiryWindow;
use crate::storage::{
    KeyStore, NewList, NewToken, PolicyStore, Recorded, StatusSlot, StoreError, TokenStore,
};
use crate::token_facts::{Confirmation, TokenFacts};
use crate::used_id::{IdKind, UsedId};
use crate::vault::Vault;

/// The longest subject and client ID, in bytes. With a longer one, verifiers could refuse a token
/// that is recorded already.
const MAX_NAME_BYTES: usize = 1024;

/// An issuer: signs tokens and status lists under one issuer identifier.
pub struct Issuer<S> {
    store: Arc<S>,
    issuer: String,
    token_type: TokenType,
    policy: RwLock<Arc<LivePolicy>>,
    lists: ListSchedule,
    schedule: KeySchedule,
    proofs: Proofs,
    vault: Vault,
    /// Policies of the issuer's own verifier, by audience.
    pub(crate) own_policies: RwLock<HashMap<String, Arc<Policy>>>,
    keys: RwLock<Arc<Keys>>,
}

/// A signed token, with the values that a response contains.
pub struct IssuedToken {
    /// The compact serialization. It is a credential: never log it.
    pub token: String,
    /// The claim `jti`.
    pub jwt_id: String,
    /// The claim `scope`.
    pub scope: String,
    /// Lifetime, in seconds.
    pub lifetime: u64,
    /// Name of the list that holds the token's status.
    pub list_id: String,
}

/// Who gets a token, and what the token inherits from the request.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// The claim `client_id`.
    pub client_id: String,
    /// The claim `sub`.
    pub subject: String,
    /// The actor that requests the token, as in [`AuditEntry::actor`].
    pub actor: String,
    /// The claim `cnf`: the key or certificate that the token is bound to.
    pub confirmation: Option<Confirmation>,
    /// The token that this one is exchanged for.
    pub parent: Option<Parent>,
    /// Identifiers that the request uses, each of which may be used once.
    pub once: Vec<UsedId>,
    /// The token that this one replaces.
    pub replaces: Option<Replaces>,
}

impl Recipient {
    /// A recipient of a token that is not bound and has no parent.
    pub fn new(client_id: String, subject: String, actor: String) -> Self {
        Self {
            client_id,
            subject,
            actor,
            confirmation: None,
            parent: None,
            once: Vec::new(),
            replaces: None,
        }
    }
}

/// The token that another one is exchanged for (RFC 8693).
#[derive(Clone, Debug)]
pub struct Parent {
    /// Its `jti`.
    pub jwt_id: String,
    /// `jti` of the token of the party that acts. The new token ends with it as well.
    pub actor: Option<String>,
    /// The claim `act` of the new token.
    pub act: Option<JsonObject>,
}

/// A granted token that is not recorded yet, with the keys at the time of the grant.
/// [`Issuer::issue`] consumes it, so that it is issued at most once.
pub struct Granted {
    new: NewToken,
    /// The claim `act`.
    act: Option<JsonObject>,
    /// The networks from which the token may be used. Empty: from any.
    networks: Vec<String>,
    /// What it says of its agreement.
    detail: Option<AgreementDetail>,
    keys: Arc<Keys>,
}

/// The claims of an access token.
///
/// Source: [RFC 9068 §2.2](https://www.rfc-editor.org/rfc/rfc9068#section-2.2).
#[derive(Serialize)]
struct Claims<'t> {
    iss: &'t str,
    sub: &'t str,
    aud: &'t str,
    client_id: &'t str,
    iat: u64,
    exp: u64,
    jti: &'t str,
    scope: &'t str,
    /// RFC 7800 §3.1
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<&'t Confirmation>,
    /// RFC 8693 §4.1
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<JsonObject>,
    /// [`NETWORKS`](edgepass_verify::checks::networks::NETWORKS)
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    edgepass_networks: &'t [String],
    /// RFC 9396 §9.1
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_details: Option<[&'t AgreementDetail; 1]>,
    /// draft-ietf-oauth-status-list-20 §6.2
    status: Status,
}

#[derive(Serialize)]
struct Status {
    status_list: Reference,
}

#[derive(Serialize)]
struct Reference {
    idx: u64,
    uri: String,
}

/// Claims that the issuer's own verifier accepted before they are signed. No other claims are
/// signed as a token.
struct Approved(String);

/// The reason why no token was issued.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The host provides no randomness.
    #[error("no random identifier could be made for the token")]
    Entropy(#[from] NoEntropy),
    /// The record could not be made durable.
    #[error("the token could not be recorded")]
    Store(#[from] StoreError),
    /// An act blocks the issuing of matching tokens, so nothing was recorded.
    #[error("matching tokens are being revoked or suspended; try again in a second")]
    Blocked,
    /// An identifier that may be used once was used before, so nothing was recorded.
    #[error("the request was made before: its jti may be used once")]
    Used(IdKind),
    /// The token that this one would be exchanged for is unknown, expired, or not valid any more.
    #[error(
        "the token that is exchanged is not valid any more, or was exchanged eight times in a row"
    )]
    ParentNotValid,
    /// The token that this one would replace is not valid any more.
    #[error("the token to be replaced is not valid any more")]
    NotReplaced,
    /// The role needs approval, and access does not stand, or not for as long as the token.
    #[error("the role needs approval, and access is not granted now")]
    NoAccess,
    /// The signature could not be made.
    #[error("the token could not be signed")]
    Signing(#[from] SigningFailed),
    /// The issuer's own verifier refuses the claims or the token, or the subject or client ID is
    /// empty.
    #[error("the issuer's own verifier refuses the token")]
    NotAcceptable(#[source] VerifyError),
    /// The issuer's own verifier would look up no status, or one at another list or index than
    /// recorded.
    #[error("the token names another status list or index than recorded")]
    ForeignStatus,
    /// The policy of the issuer's own verifier is not valid.
    #[error("the issuer's own policy is not valid")]
    OwnPolicy(#[source] PolicyError),
}

impl<S: KeyStore + PolicyStore> Issuer<S> {
    /// Opens the stored keys, records the policy's version, and creates the issuer.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open(
        store: Arc<S>,
        config: &Config,
        vault: impl Into<Vault>,
        user: &PolicyUser,
    ) -> Result<Self, OpenError> {
        let vault = vault.into();
        let keys = Keys::open(store.keys().await?, &vault, config.token_type)?;
        let policy = LivePolicy::record(Arc::clone(&config.policy), &*store, user).await?;
        Ok(Self {
            store,
            policy: RwLock::new(Arc::new(policy)),
            issuer: config.issuer.clone(),
            token_type: config.token_type,
            lists: config.status.clone(),
            schedule: config.keys,
            proofs: Proofs::new(&vault.master, config.dpop_nonce)?,
            vault,
            own_policies: RwLock::default(),
            keys: RwLock::new(Arc::new(keys)),
        })
    }

    /// Records another policy, and uses it from now on. The old one stays in use if this fails.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn use_policy(
        &self,
        policy: Arc<IssuerPolicy>,
        user: &PolicyUser,
    ) -> Result<(), StoreError> {
        let policy = LivePolicy::record(policy, &*self.store, user).await?;
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        Ok(())
    }
}

impl<S: KeyStore> Issuer<S> {
    /// Opens the stored keys again if they have changed.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. The keys that were opened before stay in use.
    pub async fn reload_keys(&self) -> Result<(), OpenError> {
        let stored = self.store.keys().await?;
        if stored != *self.keys().stored() {
            let keys = Arc::new(Keys::open(stored, &self.vault, self.token_type)?);
            *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        }
        Ok(())
    }
}

impl<S> Issuer<S> {
    /// The policy in use.
    pub fn policy(&self) -> Arc<LivePolicy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The keys that were opened last.
    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The form and the schedule of status lists.
    pub fn list_schedule(&self) -> &ListSchedule {
        &self.lists
    }

    /// The rules of key changes.
    pub fn key_schedule(&self) -> KeySchedule {
        self.schedule
    }

    /// The `typ` of access tokens.
    pub(crate) fn token_type(&self) -> TokenType {
        self.token_type
    }

    pub(crate) fn proofs(&self) -> &Proofs {
        &self.proofs
    }

    pub(crate) fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The issuer identifier.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The storage of tokens, lists and keys.
    pub fn store(&self) -> &Arc<S> {
        &self.store
    }

    /// The public URI of the document at `path`. Not for the metadata: their URL follows from the
    /// issuer identifier (RFC 8414 §3).
    pub fn public_uri(&self, path: &str) -> String {
        format!("{}/{path}", self.lists.base_uri)
    }

    /// The URI of a status list. It is also the list's claim `sub`.
    pub fn list_uri(&self, list_id: &str) -> String {
        self.public_uri(&format!("{LISTS}{list_id}"))
    }

    /// Creates a token from a grant of `policy`: assigns its `jti`, its dates and its key. Records
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`IssueError::Entropy`]; [`IssueError::NoAccess`]; [`IssueError::NotAcceptable`] if the subject or the client ID is
    /// empty, is longer than 1,024 bytes, or has control characters.
    pub fn grant(
        &self,
        policy: &LivePolicy,
        grant: &Grant,
        recipient: &Recipient,
        entropy: &mut impl Entropy,
        now: UnixMillis,
    ) -> Result<Granted, IssueError> {
        for (claim, text) in [("sub", &recipient.subject), ("client_id", &recipient.client_id)] {
            if text.is_empty() || text.len() > MAX_NAME_BYTES || text.chars().any(char::is_control)
            {
                return Err(IssueError::NotAcceptable(VerifyError::ClaimInvalid(claim.into())));
            }
        }
        if policy.approval(&grant.role).is_some() && grant.access.is_none() {
            return Err(IssueError::NoAccess);
        }
        let keys = self.keys();
        let issued_at = now.numeric_date().seconds();
        let expiration = issued_at.saturating_add(grant.lifetime);
        let facts = TokenFacts {
            jwt_id: jwt_id(entropy, now)?,
            role: grant.role.clone(),
            client_id: recipient.client_id.clone(),
            subject: recipient.subject.clone(),
            audience: grant.audience.clone(),
            scope: grant.scope.to_string(),
            key_id: keys.signing_key_id().to_owned(),
            created_by: recipient.actor.clone(),
            policy: Some(policy.number()),
            agreement: grant.agreement.clone(),
            grant: grant.access.clone(),
            parent: recipient.parent.as_ref().map(|parent| parent.jwt_id.clone()),
            confirmation: recipient.confirmation.clone(),
            issued_at,
            expiration,
        };
        let list = self.new_list(policy, expiration, entropy)?;
        let (once, replaces) = (recipient.once.clone(), recipient.replaces.clone());
        let act = recipient.parent.as_ref().and_then(|parent| parent.act.clone());
        let actor = recipient.parent.as_ref().and_then(|parent| parent.actor.clone());
        let (networks, detail) = (grant.networks.clone(), grant.detail.clone());
        let new = NewToken { facts, list, actor, once, replaces };
        Ok(Granted { new, act, networks, detail, keys })
    }

    /// The lists for tokens of each role's default and longest lifetime, issued now or in a minute,
    /// one for each window. The publisher opens and publishes them, so that a token seldom names a
    /// list that is not published. `now` is in seconds.
    ///
    /// # Errors
    ///
    /// [`NoEntropy`].
    pub(crate) fn lists_ahead(
        &self,
        entropy: &mut impl Entropy,
        now: u64,
    ) -> Result<Vec<NewList>, NoEntropy> {
        let mut lists: Vec<NewList> = Vec::new();
        let policy = self.policy();
        let roles = policy.roles.iter();
        for lifetime in roles.flat_map(|role| [role.lifetime, role.max_lifetime]) {
            for issued_at in [now, now.saturating_add(60)] {
                let list = self.new_list(&policy, issued_at.saturating_add(lifetime), entropy)?;
                if lists.iter().all(|other| other.window != list.window) {
                    lists.push(list);
                }
            }
        }
        Ok(lists)
    }

    /// A list to open for tokens that expire at `expiration`, in seconds.
    ///
    /// # Errors
    ///
    /// [`NoEntropy`].
    pub(crate) fn new_list(
        &self,
        policy: &IssuerPolicy,
        expiration: u64,
        entropy: &mut impl Entropy,
    ) -> Result<NewList, NoEntropy> {
        Ok(NewList {
            window: ExpiryWindow::of(expiration, policy.longest_lifetime()),
            capacity: self.lists.capacity,
            bits: self.lists.bits,
            secret: entropy.bytes()?,
        })
    }

    /// The claims of an access token, as JSON.
    fn claims(
        &self,
        token: &TokenFacts,
        act: Option<JsonObject>,
        networks: &[String],
        detail: Option<&AgreementDetail>,
        slot: &StatusSlot,
    ) -> Result<String, IssueError> {
        let claims = Claims {
            iss: &self.issuer,
            sub: &token.subject,
            aud: &token.audience,
            client_id: &token.client_id,
            iat: token.issued_at,
            exp: token.expiration,
            jti: &token.jwt_id,
            scope: &token.scope,
            cnf: token.confirmation.as_ref(),
            act,
            edgepass_networks: networks,
            authorization_details: detail.map(|detail| [detail]),
            status: Status {
                status_list: Reference { idx: slot.index, uri: self.list_uri(&slot.list_id) },
            },
        };
        let text = serde_json::to_string(&claims);
        text.map_err(|_| IssueError::NotAcceptable(VerifyError::TokenMalformed))
    }

    /// Judges claims with the issuer's own verifier before they are signed. Their status must be at
    /// `slot`.
    fn approve(
        &self,
        claims: String,
        slot: &StatusSlot,
        policy: &Policy,
        now: UnixMillis,
    ) -> Result<Approved, IssueError> {
        let set = ClaimsSet::parse(claims.as_bytes());
        let set = set.map_err(|_| IssueError::NotAcceptable(VerifyError::TokenMalformed))?;
        let status = judge_unsigned(&set, policy, now).map_err(IssueError::NotAcceptable)?;
        let is_own = |status: &StatusReference| {
            status.uri == self.list_uri(&slot.list_id) && status.index == slot.index
        };
        if status.as_ref().is_some_and(is_own) {
            Ok(Approved(claims))
        } else {
            Err(IssueError::ForeignStatus)
        }
    }
}

impl<S: TokenStore> Issuer<S> {
    /// Records the token with its audit entry, and signs it once the issuer's own verifier has
    /// accepted its claims. Returns the token only if the record is durable and the verifier
    /// accepts the signed token.
    ///
    /// # Errors
    ///
    /// [`IssueError`]. A record may then exist for a token that was never handed out.
    pub async fn issue(
        &self,
        Granted { new, act, networks, detail, keys }: Granted,
        now: UnixMillis,
    ) -> Result<IssuedToken, IssueError> {
        let token = &new.facts;
        let entry = AuditEntry {
            at_ms: now.0,
            actor: token.created_by.clone(),
            policy: token.policy,
            act: Act::TokenIssued {
                jwt_id: token.jwt_id.clone(),
                role: token.role.clone(),
                client_id: token.client_id.clone(),
                subject: token.subject.clone(),
                audience: token.audience.clone(),
                scope: token.scope.clone(),
                expiration: token.expiration,
                agreement: token.agreement.clone(),
                grant: token.grant.clone(),
                parent: token.parent.clone(),
            },
        };
        let slot = match self.store.record_issue(&new, &entry).await? {
            Recorded::At(slot) => slot,
            Recorded::Blocked => return Err(IssueError::Blocked),
            Recorded::Used(kind) => return Err(IssueError::Used(kind)),
            Recorded::NotReplaced => return Err(IssueError::NotReplaced),
            Recorded::NotChild => return Err(IssueError::ParentNotValid),
            Recorded::NoAccess => return Err(IssueError::NoAccess),
        };
        let policy = self.own_policy(&token.audience)?;
        let claims = self.claims(token, act, &networks, detail.as_ref(), &slot)?;
        let approved = self.approve(claims, &slot, &policy, now)?;
        let text = keys.sign_token(&approved.0)?;
        if !keys.is_proven(&token.audience) {
            check(&text, &self.list_uri(&slot.list_id), &policy, &keys, now)?;
            keys.prove(&token.audience);
        } else if !keys.confirm(&text, &approved.0) {
            return Err(IssueError::NotAcceptable(VerifyError::SignatureInvalid));
        }
        Ok(IssuedToken {
            token: text,
            lifetime: token.expiration.saturating_sub(token.issued_at),
            jwt_id: new.facts.jwt_id,
            scope: new.facts.scope,
            list_id: slot.list_id,
        })
    }
}

/// A new `jti`: 48 bits of the time and 80 random ones. The records of tokens that are issued one after the
/// other are close to each other in the database's index.
fn jwt_id(entropy: &mut impl Entropy, now: UnixMillis) -> Result<String, NoEntropy> {
    let [_, _, time @ ..] = now.0.to_be_bytes();
    Ok(base64url::encode(&[&time[..], &entropy.bytes::<10>()?].concat()))
}

/// Judges a signed token by the issuer's own verifier. A refused token must not be handed out.
fn check(
    text: &str,
    list_uri: &str,
    policy: &Policy,
    keys: &Keys,
    now: UnixMillis,
) -> Result<(), IssueError> {
    let jws = CompactJws::parse(text, own_token::MAX_BYTES);
    let jws = jws.map_err(|_| IssueError::NotAcceptable(VerifyError::TokenMalformed))?;
    let named = own_token::judge(&jws, policy, keys, now).map_err(IssueError::NotAcceptable)?;
    if named == list_uri { Ok(()) } else { Err(IssueError::ForeignStatus) }
}
