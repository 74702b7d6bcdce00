//! Issuing: record a token, have our own verifier approve its claims, sign them once, and verify the token.

use std::sync::{Arc, PoisonError, RwLock};

use edgepass_jose::{ClaimsSet, base64url, json::JsonObject};
use edgepass_status_list::StatusReference;
use edgepass_verify::checks::judge_unsigned;
use edgepass_verify::documents::fetch::DocumentKind;
use edgepass_verify::policy::{OneOrMany, PolicyError};
use edgepass_verify::verifier::{KeySource, Progress, Verifier};
use edgepass_verify::{Policy, PolicyConfig, Requirements, Sender, UnixMillis, VerifyError};
use serde_json::{Value, json};

use crate::audit::{Act, AuditEntry};
use crate::config::{Config, ListSchedule};
use crate::entropy::{Entropy, NoEntropy};
use crate::keys::{KeySchedule, Keys, OpenError};
use crate::paths::LISTS;
use crate::policy::Grant;
use crate::seal::MasterKey;
use crate::signing_key::SigningFailed;
use crate::status_index::ExpiryWindow;
use crate::storage::{NewList, NewToken, Recorded, StatusSlot, Store, StoreError};
use crate::token_facts::TokenFacts;

/// Signs tokens and lists under one issuer identifier.
pub struct Issuer<S> {
    store: Arc<S>,
    issuer: String,
    lifetimes: Vec<u64>,
    longest_lifetime: u64,
    lists: ListSchedule,
    schedule: KeySchedule,
    master: MasterKey,
    keys: RwLock<Arc<Keys>>,
}

/// A token and what is known of it.
pub struct IssuedToken {
    /// The compact serialization. It is a credential: never log it.
    pub token: String,
    /// `jti`.
    pub jwt_id: String,
    /// `scope`.
    pub scope: String,
    /// In seconds.
    pub lifetime: u64,
    /// The list that its status lies in.
    pub list_id: String,
}

/// For whom and by whom a grant is turned into a token.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// `client_id`.
    pub client_id: String,
    /// `sub`.
    pub subject: String,
    /// Who asks, for the audit trail.
    pub actor: String,
}

/// A token that the policy grants, not recorded yet, and the keys of that moment. Issuing consumes it, so it is
/// issued at most once.
pub struct Granted {
    new: NewToken,
    keys: Arc<Keys>,
}

/// Claims that our own verifier accepts, once they are signed. Nothing else is signed as a token.
struct Approved(JsonObject);

/// Why no token left the issuer.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// The record could not be made durable.
    #[error("the token could not be recorded")]
    Store(#[from] StoreError),
    /// Tokens like this one are being revoked or suspended at this moment.
    #[error("tokens like this one are being revoked at this moment; try again in a second")]
    BeingRevoked,
    /// The signature could not be made.
    #[error(transparent)]
    Signing(#[from] SigningFailed),
    /// Our own verifier refuses the claims or the token.
    #[error("the token does not pass our own verifier")]
    NotAcceptable(#[source] VerifyError),
    /// Our own verifier would look for the token's status elsewhere than where it is recorded.
    #[error("the token names another status list than its own")]
    ForeignStatus,
    /// Our own policy is none.
    #[error("the issuer's own policy is not valid")]
    OwnPolicy(#[source] PolicyError),
}

impl<S: Store> Issuer<S> {
    /// Open the stored keys.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open(
        store: Arc<S>,
        config: &Config,
        master: MasterKey,
    ) -> Result<Self, OpenError> {
        let keys = Keys::open(store.keys().await?, &master)?;
        let roles = config.policy.roles.iter();
        Ok(Self {
            store,
            issuer: config.issuer.clone(),
            lifetimes: roles.flat_map(|role| [role.lifetime, role.max_lifetime]).collect(),
            longest_lifetime: config.policy.longest_lifetime(),
            lists: config.status.clone(),
            schedule: config.keys,
            master,
            keys: RwLock::new(Arc::new(keys)),
        })
    }

    /// Open the keys again, if they changed.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: those opened before stay.
    pub async fn reload_keys(&self) -> Result<(), OpenError> {
        let stored = self.store.keys().await?;
        if stored != *self.keys().stored() {
            let keys = Arc::new(Keys::open(stored, &self.master)?);
            *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        }
        Ok(())
    }

    /// The keys.
    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How status lists are made.
    pub fn list_schedule(&self) -> &ListSchedule {
        &self.lists
    }

    /// When keys change.
    pub fn key_schedule(&self) -> KeySchedule {
        self.schedule
    }

    pub(crate) fn master_key(&self) -> &MasterKey {
        &self.master
    }

    /// The issuer identifier.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The storage.
    pub fn store(&self) -> &Arc<S> {
        &self.store
    }

    /// Where a published document is found.
    pub fn public_uri(&self, path: &str) -> String {
        format!("{}/{path}", self.lists.base_uri)
    }

    /// The URI of a status list; it is the list's `sub`.
    pub fn list_uri(&self, list_id: &str) -> String {
        self.public_uri(&format!("{LISTS}{list_id}"))
    }

    /// Turn a grant into a token to be issued.
    ///
    /// # Errors
    ///
    /// [`IssueError::Entropy`]; [`IssueError::NotAcceptable`] for a recipient without a name.
    pub fn grant(
        &self,
        grant: &Grant,
        recipient: &Recipient,
        entropy: &mut impl Entropy,
        now: UnixMillis,
    ) -> Result<Granted, IssueError> {
        for (claim, text) in [("sub", &recipient.subject), ("client_id", &recipient.client_id)] {
            if text.is_empty() {
                return Err(IssueError::NotAcceptable(VerifyError::ClaimInvalid(claim.into())));
            }
        }
        let keys = self.keys();
        let issued_at = now.numeric_date().seconds();
        let expiration = issued_at + grant.lifetime;
        let facts = TokenFacts {
            jwt_id: base64url::encode(&entropy.bytes::<16>()?),
            role: grant.role.clone(),
            client_id: recipient.client_id.clone(),
            subject: recipient.subject.clone(),
            audience: grant.audience.clone(),
            scope: grant.scope.to_string(),
            key_id: keys.signing_key_id().to_owned(),
            created_by: recipient.actor.clone(),
            issued_at,
            expiration,
        };
        let list = self.new_list(expiration, entropy)?;
        Ok(Granted { new: NewToken { facts, list }, keys })
    }

    /// The lists that tokens issued now or in a minute may need: they are opened and published before
    /// the first token that names them.
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
        for lifetime in &self.lifetimes {
            for issued_at in [now, now.saturating_add(60)] {
                let list = self.new_list(issued_at.saturating_add(*lifetime), entropy)?;
                if lists.iter().all(|other| other.window != list.window) {
                    lists.push(list);
                }
            }
        }
        Ok(lists)
    }

    /// A list for tokens that expire at `expiration`, in seconds.
    ///
    /// # Errors
    ///
    /// [`NoEntropy`].
    fn new_list(&self, expiration: u64, entropy: &mut impl Entropy) -> Result<NewList, NoEntropy> {
        Ok(NewList {
            window: ExpiryWindow::of(expiration, self.longest_lifetime),
            capacity: self.lists.capacity,
            bits: self.lists.bits,
            secret: entropy.bytes()?,
        })
    }

    /// Record the token with its audit entry, and sign it once our own verifier has approved its claims. It is
    /// returned only when the record is durable and our own verifier accepts the token.
    ///
    /// # Errors
    ///
    /// [`IssueError`]. After one, a record may exist for a token that nobody holds.
    pub async fn issue(
        &self,
        Granted { new, keys }: Granted,
        now: UnixMillis,
    ) -> Result<IssuedToken, IssueError> {
        let token = &new.facts;
        let entry = AuditEntry {
            at_ms: now.0,
            actor: token.created_by.clone(),
            act: Act::TokenIssued {
                jwt_id: token.jwt_id.clone(),
                role: token.role.clone(),
                client_id: token.client_id.clone(),
                subject: token.subject.clone(),
                audience: token.audience.clone(),
                scope: token.scope.clone(),
                expiration: token.expiration,
            },
        };
        let slot = match self.store.record_issue(&new, &entry).await? {
            Recorded::At(slot) => slot,
            Recorded::BeingRevoked => return Err(IssueError::BeingRevoked),
        };
        let policy = self.own_policy(&token.audience)?;
        let approved = self.approve(self.claims(token, &slot), &slot, &policy, now)?;
        let text = keys.sign_token(&approved.0)?;
        check(&text, &self.list_uri(&slot.list_id), policy, &keys, now)?;
        Ok(IssuedToken {
            token: text,
            lifetime: token.expiration - token.issued_at,
            jwt_id: new.facts.jwt_id,
            scope: new.facts.scope,
            list_id: slot.list_id,
        })
    }

    /// The claims of an access token.
    ///
    /// Source: [RFC 9068 §2.2](https://www.rfc-editor.org/rfc/rfc9068#section-2.2),
    /// draft-ietf-oauth-status-list-20 §6.2.
    fn claims(&self, token: &TokenFacts, slot: &StatusSlot) -> JsonObject {
        let claims = json!({
            "iss": self.issuer,
            "sub": token.subject,
            "aud": token.audience,
            "client_id": token.client_id,
            "iat": token.issued_at,
            "exp": token.expiration,
            "jti": token.jwt_id,
            "scope": token.scope,
            "status": { "status_list": { "idx": slot.index, "uri": self.list_uri(&slot.list_id) } },
        });
        match claims {
            Value::Object(claims) => claims,
            _ => JsonObject::new(),
        }
    }

    /// Have our own verifier judge claims that are to be signed.
    fn approve(
        &self,
        claims: JsonObject,
        slot: &StatusSlot,
        policy: &Policy,
        now: UnixMillis,
    ) -> Result<Approved, IssueError> {
        let text = Value::Object(claims.clone()).to_string();
        let set = ClaimsSet::parse(text.as_bytes());
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

    fn own_policy(&self, audience: &str) -> Result<Policy, IssueError> {
        let audience = OneOrMany::One(audience.to_owned());
        let mut config = PolicyConfig::new(self.issuer.clone(), audience);
        config.status.uri_prefixes = Some(vec![self.public_uri(LISTS)]);
        config.try_into().map_err(IssueError::OwnPolicy)
    }
}

/// Run our own verifier over a signed token: what it refuses must not leave.
fn check(
    text: &str,
    list_uri: &str,
    policy: Policy,
    keys: &Keys,
    now: UnixMillis,
) -> Result<(), IssueError> {
    let mut verifier = Verifier::new(policy, KeySource::Given(keys.own().clone()))
        .map_err(IssueError::OwnPolicy)?;
    let mut check = verifier.begin(text, Sender::default(), Requirements::default());
    match verifier.advance(&mut check, now) {
        // The list of a token that was recorded a moment ago need not be published yet: that it
        // is asked for means that everything before it passed.
        Progress::Fetch(order)
            if order.document == DocumentKind::StatusList && order.uri == list_uri =>
        {
            Ok(())
        }
        Progress::Fetch(_) => Err(IssueError::ForeignStatus),
        Progress::Decided(verdict) => match verdict.outcome {
            Ok(_) => Ok(()),
            Err(error) => Err(IssueError::NotAcceptable(error)),
        },
        Progress::CheckSignature(_) | Progress::CheckReplay(_) | Progress::Wait(_) => {
            Err(IssueError::NotAcceptable(VerifyError::SignatureInvalid))
        }
    }
}
