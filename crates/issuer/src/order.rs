//! A token that an operator orders: by the command line, or over HTTP with a token of the issuer's own.

use std::time::Duration;

use edgepass_jose::{Scope, base64url};
use edgepass_verify::UnixMillis;
use edgepass_verify::sender::CertificateThumbprint;
use serde::{Deserialize, Serialize};

use crate::access::GrantError;
use crate::entropy::Entropy;
use crate::issue::{IssueError, IssuedToken, Issuer, Recipient};
use crate::policy::{Grant, RefusedByPolicy, SenderConstraint, TokenRequest};
use crate::replacement::{DEFAULT_GRACE, ReplaceError, replace};
use crate::sidecar;
use crate::storage::{AccessStore, StoreError, TokenStore};
use crate::token_facts::Confirmation;

/// The `client_id` of a token for which the order names none.
pub const CLIENT: &str = "edgepass-cli";

/// What an operator orders. One of `role`, `replace` and `grant` is set.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenOrder {
    /// The role of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// `jti` of the token to replace: see [`replace`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace: Option<String>,
    /// How long the replaced token stays valid, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace: Option<u64>,
    /// The audience, one of the role's. Default: its first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The scope tokens, separated by spaces. Default: all of the role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The lifetime, in seconds. Default: the role's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<u64>,
    /// The claim `client_id`. Default: [`CLIENT`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The claim `sub`. Default: the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// The request for access under which the token is issued, by its name. It says who gets the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// The JWK Thumbprint (RFC 7638) of the key that the token is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpop_key: Option<String>,
    /// The SHA-256 of the certificate that the token is bound to, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// The reason why an ordered token is not issued.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The order is malformed.
    #[error("{0}")]
    Malformed(&'static str),
    /// The policy refuses it.
    #[error(transparent)]
    Policy(#[from] RefusedByPolicy),
    /// The token that was named cannot be replaced.
    #[error(transparent)]
    Replace(#[from] ReplaceError),
    /// Whoever orders has no such grant of access.
    #[error("you have no grant of access with that name; whoever asked for it gets its tokens")]
    NoGrant,
    /// There is no token with that `jti`.
    #[error("this issuer has issued no token with that jti")]
    Unknown,
    /// The role needs approval, or what was approved is less.
    #[error(transparent)]
    Access(#[from] GrantError),
    /// The role needs what the order lacks.
    #[error("{0}")]
    Unbound(&'static str),
    /// Storage failed.
    #[error("no token can be looked up")]
    Store(#[from] StoreError),
}

/// An order that the policy grants.
pub struct GrantedOrder {
    /// What is granted.
    pub grant: Grant,
    /// Who gets it.
    pub recipient: Recipient,
}

impl GrantedOrder {
    /// Whether the token is bound to a key, by DPoP.
    pub fn is_bound_to_key(&self) -> bool {
        matches!(self.recipient.confirmation, Some(Confirmation::Key(_)))
    }
}

impl<S: TokenStore + AccessStore> Issuer<S> {
    /// Checks an order against the policy. Issues nothing.
    ///
    /// # Errors
    ///
    /// [`OrderError`].
    pub async fn grant_order(
        &self,
        order: TokenOrder,
        actor: &str,
        now: UnixMillis,
    ) -> Result<GrantedOrder, OrderError> {
        let scope = order.scope.as_deref().map(Scope::parse).transpose();
        let scope = scope.map_err(|_| OrderError::Malformed("scope is malformed"))?;
        if order.grace.is_some() && order.replace.is_none() {
            return Err(OrderError::Malformed("a grace goes with a token to replace"));
        }
        let policy = self.policy();
        let (grant, recipient) = match (&order.role, &order.replace) {
            (None, None) if order.grant.is_some() => {
                let id = order.grant.as_deref().unwrap_or_default();
                if order.client_id.is_some() || order.sub.is_some() {
                    return Err(OrderError::Malformed(
                        "a grant says who gets the token: name neither",
                    ));
                }
                let access = self.store().access(id).await?.ok_or(OrderError::NoGrant)?;
                if access.asked_by != actor {
                    return Err(OrderError::NoGrant);
                }
                let (audience, lifetime) = (order.audience, order.lifetime);
                let request = TokenRequest { audience, scope, lifetime };
                let grant = access.grant(&policy, request, now)?;
                (grant, Recipient::new(access.client_id, access.subject, actor.to_owned()))
            }
            (Some(role), None) if order.grant.is_none() => {
                let (audience, lifetime) = (order.audience, order.lifetime);
                let request = TokenRequest { audience, scope, lifetime };
                let client = order.client_id.unwrap_or_else(|| CLIENT.to_owned());
                let subject = order.sub.unwrap_or_else(|| client.clone());
                let role = policy.role(role)?;
                if policy.approval(&role.name).is_some() {
                    return Err(GrantError::Needed.into());
                }
                let grant = policy.grant(role, &request, now)?;
                (grant, Recipient::new(client, subject, actor.to_owned()))
            }
            (None, Some(jwt_id)) if order.grant.is_none() => {
                if order.audience.is_some() || order.client_id.is_some() || order.sub.is_some() {
                    return Err(OrderError::Malformed(
                        "a token is replaced by one of its audience, client and subject: name none of them",
                    ));
                }
                let old = self.store().token(jwt_id).await?;
                let old = old.filter(|old| old.facts.role != sidecar::ROLE);
                let old = old.ok_or(OrderError::Unknown)?;
                let grace = order.grace.map_or(DEFAULT_GRACE, Duration::from_secs);
                let (grant, replaces) = replace(&policy, &old, scope, order.lifetime, grace, now)?;
                let facts = old.facts;
                let recipient = Recipient::new(facts.client_id, facts.subject, actor.to_owned());
                let confirmation = facts.confirmation;
                (grant, Recipient { confirmation, replaces: Some(replaces), ..recipient })
            }
            _ => {
                return Err(OrderError::Malformed(
                    "name a role, a token to replace, or a grant of access",
                ));
            }
        };
        let kept = recipient.confirmation.clone();
        let (key, certificate) = (order.dpop_key, order.certificate);
        let confirmation = confirmation(key, certificate.as_deref(), grant.sender, kept)?;
        Ok(GrantedOrder { grant, recipient: Recipient { confirmation, ..recipient } })
    }

    /// Issues the token of an order.
    ///
    /// # Errors
    ///
    /// [`IssueError`].
    pub async fn issue_order(
        &self,
        order: &GrantedOrder,
        entropy: &mut impl Entropy,
        now: UnixMillis,
    ) -> Result<IssuedToken, IssueError> {
        let granted = self.grant(&self.policy(), &order.grant, &order.recipient, entropy, now)?;
        self.issue(granted, now).await
    }
}

/// What the token is bound to: what is asked for, or else what the replaced token is bound to. The role
/// may demand one of the two.
fn confirmation(
    key: Option<String>,
    certificate: Option<&str>,
    demanded: SenderConstraint,
    kept: Option<Confirmation>,
) -> Result<Option<Confirmation>, OrderError> {
    if key.is_none() && certificate.is_none() && kept.is_some() {
        return match (demanded, &kept) {
            (SenderConstraint::Mtls, Some(Confirmation::Key(_)))
            | (SenderConstraint::Dpop, Some(Confirmation::Certificate(_))) => {
                Err(OrderError::Unbound(
                    "the role needs another binding by now than the token has: name it",
                ))
            }
            _ => Ok(kept),
        };
    }
    let certificate = match certificate {
        None => None,
        Some(text) => Some(
            CertificateThumbprint::from_hex(&text.replace(':', ""))
                .ok_or(OrderError::Malformed("a certificate is named by 64 hexadecimal digits"))?,
        ),
    };
    if key.as_deref().is_some_and(|key| base64url::decode_array::<32>(key).is_none()) {
        return Err(OrderError::Malformed(
            "a DPoP key is named by its JWK Thumbprint, 43 characters of base64url",
        ));
    }
    match (demanded, &key, &certificate) {
        (_, Some(_), Some(_)) => {
            Err(OrderError::Malformed("a token is bound to a key or to a certificate, not to both"))
        }
        (SenderConstraint::Dpop, None, _) => {
            Err(OrderError::Unbound("the role needs a DPoP key: name its thumbprint"))
        }
        (SenderConstraint::Mtls, _, None) => {
            Err(OrderError::Unbound("the role needs a client certificate: name its SHA-256"))
        }
        _ => {
            let certificate = certificate.map(|own| own.as_str().to_owned());
            let certificate = certificate.map(Confirmation::Certificate);
            Ok(key.map(Confirmation::Key).or(certificate))
        }
    }
}
