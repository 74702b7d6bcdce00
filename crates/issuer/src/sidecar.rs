//! Status entries for tokens of other issuers: an index in a status list of this issuer makes such a
//! token revocable.

use std::time::Duration;

use edgepass_verify::UnixMillis;

use crate::audit::{Act, AuditEntry};
use crate::config::LIFETIME_CAP;
use crate::entropy::{Entropy, NoEntropy};
use crate::issue::Issuer;
use crate::storage::{NewToken, Recorded, StatusSlot, StoreError, TokenStore};
use crate::token_facts::TokenFacts;

/// The role of such tokens in records. No role of a policy has this name.
pub const ROLE: &str = "status-entry";

/// A token of another issuer.
#[derive(Clone, Debug)]
pub struct ForeignToken {
    /// Its `jti`, or another identifier that no second token has.
    pub jwt_id: String,
    /// Its `exp`, in seconds.
    pub expiration: u64,
    /// Its `iss`.
    pub issuer: String,
    /// Its `sub`.
    pub subject: String,
    /// The client that asks; [`CLIENT`](crate::order::CLIENT) for an operator.
    pub client_id: String,
    /// The actor, as in [`AuditEntry::actor`].
    pub actor: String,
}

/// The reason why a token gets no status entry.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum AllotError {
    /// `jti`, `iss` or `sub` is empty, longer than 1,024 bytes, or has control characters or white
    /// space at its ends. Holds the name.
    #[error(
        "{0} must be a text of 1 to 1024 bytes, without control characters and white space at its ends"
    )]
    Text(&'static str),
    /// `exp` is past, or more than 24 hours ahead.
    #[error("exp must be in the future, and at most 24 hours ahead")]
    Expiration,
    /// Another token, or another client's, has this `jti`.
    #[error("another token has this jti")]
    Taken,
    /// An act blocks such entries.
    #[error("matching tokens are being revoked or suspended; try again in a second")]
    Blocked,
    /// The host provides no randomness.
    #[error("no list could be opened")]
    Entropy(#[from] NoEntropy),
    /// Storage failed.
    #[error("the entry could not be recorded")]
    Store(#[from] StoreError),
}

impl<S: TokenStore> Issuer<S> {
    /// Allots a status entry. Asked again for the same token, returns the same entry.
    ///
    /// # Errors
    ///
    /// [`AllotError`].
    pub async fn allot(
        &self,
        token: ForeignToken,
        entropy: &mut impl Entropy,
        now: UnixMillis,
    ) -> Result<StatusSlot, AllotError> {
        for (name, text) in
            [("jti", &token.jwt_id), ("iss", &token.issuer), ("sub", &token.subject)]
        {
            let is_plain = text.trim() == text && !text.chars().any(char::is_control);
            if !(1..=1024).contains(&text.len()) || !is_plain {
                return Err(AllotError::Text(name));
            }
        }
        let issued_at = now.numeric_date().seconds();
        let left = Duration::from_secs(token.expiration.saturating_sub(issued_at));
        if left.is_zero() || left > LIFETIME_CAP {
            return Err(AllotError::Expiration);
        }
        if let Some(slot) = self.allotted(&token).await? {
            return Ok(slot);
        }
        let policy = self.policy();
        let facts = TokenFacts {
            jwt_id: token.jwt_id.clone(),
            role: ROLE.to_owned(),
            client_id: token.client_id.clone(),
            subject: token.subject.clone(),
            audience: token.issuer.clone(),
            scope: String::new(),
            key_id: String::new(),
            created_by: token.actor.clone(),
            policy: Some(policy.number()),
            agreement: None,
            grant: None,
            parent: None,
            confirmation: None,
            issued_at,
            expiration: token.expiration,
        };
        let list = self.new_list(&policy, token.expiration, entropy)?;
        let new = NewToken { facts, list, actor: None, once: Vec::new(), replaces: None };
        let entry = AuditEntry {
            at_ms: now.0,
            actor: token.actor.clone(),
            policy: Some(policy.number()),
            act: Act::StatusAllotted {
                jwt_id: token.jwt_id.clone(),
                client_id: token.client_id.clone(),
                issuer: token.issuer.clone(),
                subject: token.subject.clone(),
                expiration: token.expiration,
            },
        };
        match self.store().record_issue(&new, &entry).await {
            Ok(Recorded::At(slot)) => Ok(slot),
            Ok(_) => Err(AllotError::Blocked),
            // A request for the same token was faster.
            Err(StoreError::Duplicate(_)) => self.allotted(&token).await?.ok_or(AllotError::Taken),
            Err(error) => Err(error.into()),
        }
    }

    /// The entry that the token has already.
    async fn allotted(&self, token: &ForeignToken) -> Result<Option<StatusSlot>, AllotError> {
        let Some(record) = self.store().token(&token.jwt_id).await? else { return Ok(None) };
        let known = &record.facts;
        let is_same = known.role == ROLE
            && known.client_id == token.client_id
            && known.audience == token.issuer
            && known.subject == token.subject
            && known.expiration == token.expiration;
        if is_same { Ok(Some(record.slot)) } else { Err(AllotError::Taken) }
    }
}
