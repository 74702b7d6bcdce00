//! Token exchange: a token of this issuer for a narrower one.
//!
//! Source: [RFC 8693](https://www.rfc-editor.org/rfc/rfc8693). The RFC links the two tokens in no
//! way. Here the new token has at most the scope and the time of the old one, its audience, subject
//! and binding, and is revoked with it.

use edgepass_jose::json::JsonObject;
use edgepass_jose::{ClaimsSet, Scope};
use edgepass_verify::UnixMillis;
use edgepass_verify::checks::networks::NETWORKS;
use edgepass_verify::checks::purpose::DETAILS;
use serde_json::{Map, Value};

use crate::client::Client;
use crate::issue::{Parent, Recipient};
use crate::policy::agreement::AgreementDetail;
use crate::policy::version::LivePolicy;
use crate::policy::{Grant, RefusedByPolicy, TokenRequest};
use crate::storage::TokenRecord;

/// The most actors that the claim `act` names, one inside the other.
pub const MAX_ACTORS: usize = 4;

/// A valid token of this issuer: its claims and its record, as
/// [`Issuer::valid_token`](crate::Issuer::valid_token) returns them.
pub type ValidToken = (ClaimsSet, TokenRecord);

/// A request to exchange a token.
pub struct Exchange<'r> {
    /// The client that asks.
    pub client: &'r Client,
    /// The token to exchange.
    pub subject: &'r ValidToken,
    /// The token of the party that will act. `None`: the client acts.
    pub actor: Option<&'r ValidToken>,
    /// The scope asked for. `None`: that of the token.
    pub scope: Option<Scope>,
    /// The audience asked for. `None`: that of the token.
    pub audience: Option<&'r str>,
}

/// The reason why a token is not exchanged.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ExchangeError {
    /// The token is another client's, and the client may not exchange tokens of that audience.
    #[error("the client may not exchange this token: it is another client's")]
    NotTheClients,
    /// The token of the actor is not for the client that asks.
    #[error("the actor token is another client's")]
    NotTheActors,
    /// The token of the actor was exchanged itself.
    #[error("the actor token was exchanged itself")]
    ActorIsExchanged,
    /// The scope is not within that of the token.
    #[error("the scope must be within that of the token; allowed: {0}")]
    Scope(Scope),
    /// The audience is not that of the token. Holds the token's.
    #[error("the audience must be that of the token: {0}")]
    Audience(String),
    /// `act` would name more than [`MAX_ACTORS`] actors.
    #[error("the token has passed through {MAX_ACTORS} actors already")]
    TooManyActors,
    /// The token names other networks than its role does by now.
    #[error("the networks of the role have changed since the token was issued")]
    Networks,
    /// The token and the role's agreement name regions that have nothing in common.
    #[error("no region of the role's agreement is one of the token's")]
    Regions,
    /// The policy does not grant what is asked for any more.
    #[error(transparent)]
    Policy(#[from] RefusedByPolicy),
}

impl Exchange<'_> {
    /// The grant and the recipient of the new token.
    ///
    /// # Errors
    ///
    /// [`ExchangeError`].
    pub fn grant(
        self,
        policy: &LivePolicy,
        now: UnixMillis,
    ) -> Result<(Grant, Recipient), ExchangeError> {
        let Self { client, subject: (claims, record), actor, scope, audience } = self;
        let parent = &record.facts;
        let is_own = parent.client_id == client.id;
        if !is_own && !client.exchanges.contains(&parent.audience) {
            return Err(ExchangeError::NotTheClients);
        }
        if audience.is_some_and(|audience| audience != parent.audience) {
            return Err(ExchangeError::Audience(parent.audience.clone()));
        }
        // A recorded scope has been parsed before.
        let allowed = Scope::parse(&parent.scope).unwrap_or_default();
        let scope = scope.unwrap_or_else(|| allowed.clone());
        if scope.is_empty() || !scope.missing_in(&allowed).is_empty() {
            return Err(ExchangeError::Scope(allowed));
        }
        let role = policy.role(&parent.role)?;
        // The client may have lost the role since.
        if is_own && parent.created_by == format!("client:{}", client.id) {
            policy.role_of(client, Some(&role.name), None)?;
        }
        let ends = actor.map_or(u64::MAX, |(_, actor)| actor.facts.expiration);
        let left = parent.expiration.min(ends).saturating_sub(now.numeric_date().seconds());
        let request = TokenRequest {
            audience: Some(parent.audience.clone()),
            scope: Some(scope),
            lifetime: Some(left.min(role.lifetime)),
        };
        let mut grant = policy.grant(role, &request, now)?;
        grant.access.clone_from(&parent.grant);
        let networks = claims.get(NETWORKS).map(|own| own.to_value());
        if let Some(Value::Array(own)) = networks {
            let own: Vec<String> =
                own.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            // One claim cannot say that both must fit.
            if !grant.networks.is_empty() && grant.networks != own {
                return Err(ExchangeError::Networks);
            }
            grant.networks = own;
        }
        let details = claims.get(DETAILS).map(|own| own.to_value());
        let before = details.as_ref().and_then(AgreementDetail::find);
        grant.detail = match (grant.detail, before) {
            (None, before) => before,
            (Some(own), before) => Some(own.within(before.as_ref()).ok_or(ExchangeError::Regions)?),
        };
        let actor_id = actor.map(|(_, actor)| actor.facts.jwt_id.clone());
        let actor = match actor {
            Some((_, actor)) if actor.facts.client_id != client.id => {
                return Err(ExchangeError::NotTheActors);
            }
            // Its own actors would have to go into `act` beside those of the subject.
            Some((_, actor)) if actor.facts.parent.is_some() => {
                return Err(ExchangeError::ActorIsExchanged);
            }
            Some((_, actor)) => Some((&actor.facts.subject, &actor.facts.client_id)),
            // A client that narrows its own token acts for nobody else.
            None if is_own => None,
            None => Some((&client.id, &client.id)),
        };
        let before = claims.get("act").map(|act| act.to_value());
        let act = match (actor, before) {
            (None, before) => before.as_ref().and_then(Value::as_object).cloned(),
            (Some((subject, client_id)), before) => {
                if before.as_ref().map_or(0, depth) >= MAX_ACTORS {
                    return Err(ExchangeError::TooManyActors);
                }
                Some(acting(subject, client_id, before))
            }
        };
        let actor = format!("client:{}", client.id);
        let recipient = Recipient::new(client.id.clone(), parent.subject.clone(), actor);
        let jwt_id = parent.jwt_id.clone();
        let recipient = Recipient {
            confirmation: parent.confirmation.clone(),
            parent: Some(Parent { jwt_id, actor: actor_id, act }),
            ..recipient
        };
        Ok((grant, recipient))
    }
}

/// The claim `act`: the current actor, and inside it those before (RFC 8693 §4.1).
fn acting(subject: &str, client_id: &str, before: Option<Value>) -> JsonObject {
    let mut act = Map::from_iter([
        ("sub".to_owned(), subject.into()),
        ("client_id".to_owned(), client_id.into()),
    ]);
    act.extend(before.map(|before| ("act".to_owned(), before)));
    act
}

fn depth(act: &Value) -> usize {
    let (mut depth, mut inner) = (0_usize, Some(act));
    while let Some(act) = inner {
        depth = depth.saturating_add(1);
        inner = act.get("act");
    }
    depth
}
