//! What a policy allows, but should be looked at: agreements that are not in force, stored secrets,
//! certificates that no proxy shows, and entries that nothing uses.

use edgepass_verify::UnixMillis;

use super::agreement::NotInForce;
use super::federation::Federation;
use super::{SenderConstraint, operator_scopes};
use crate::Config;
use crate::client::{Authentication, Client};
use crate::config::EntryKind;

/// A remark about an entry of a policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Remark {
    /// The kind of the entry.
    pub kind: EntryKind,
    /// The name of the entry.
    pub name: String,
    /// The remark.
    pub concern: Concern,
}

/// What should be looked at.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Concern {
    /// The role's agreement is not in force: no token of the role is issued now.
    #[error("its agreement {agreement} {reason}: no token of this role is issued")]
    NotInForce {
        /// `id` of the agreement.
        agreement: String,
        /// The reason.
        reason: NotInForce,
    },
    /// The client has a stored secret.
    #[error("it authenticates by a secret, which can leak; a key (jwks) stays with the client")]
    Secret,
    /// No secret of the client may be used any more.
    #[error("its secrets have ended: it cannot authenticate")]
    NoSecretLeft,
    /// No role has an audience that the client is named for.
    #[error("{field}: no role has the audience {audience}; is it mistyped?")]
    Audience {
        /// `introspects`, `exchanges` or `reports_use_of`.
        field: &'static str,
        /// The audience.
        audience: String,
    },
    /// A certificate is needed, and no proxy shows one: token requests are refused.
    #[error("it needs a client certificate, and none is shown: write [proxy] client_certificate")]
    NoCertificate,
    /// No client and no federation may use the role. Commands of the issuer can.
    #[error("no client and no federation may use it")]
    Unused,
}

impl Concern {
    /// Whether tokens are refused because of it.
    pub fn refuses(&self) -> bool {
        matches!(self, Self::NotInForce { .. })
    }
}

/// The remarks about the policy of a configuration at a time, in the order of its entries.
pub fn review(config: &Config, now: UnixMillis) -> Vec<Remark> {
    let policy = &config.policy;
    let mut remarks = Vec::new();
    for role in &policy.roles {
        let mut remark = |concern| {
            let (kind, name) = (EntryKind::Role, role.name.clone());
            remarks.push(Remark { kind, name, concern });
        };
        if let Err((agreement, reason)) = policy.left(role, now) {
            remark(Concern::NotInForce { agreement: agreement.to_owned(), reason });
        }
        if role.sender == SenderConstraint::Mtls && !config.proxy_shows_certificates() {
            remark(Concern::NoCertificate);
        }
        let by_client = |client: &Client| client.roles.contains(&role.name);
        let by_rule = |rule: &Federation| rule.role == role.name;
        // The issuer's commands give tokens to its operators.
        let is_for_operators = role.scope.iter().all(operator_scopes::is_one);
        let is_used =
            policy.clients.iter().any(by_client) || policy.federations.iter().any(by_rule);
        if !is_used && !is_for_operators && policy.approval(&role.name).is_none() {
            remark(Concern::Unused);
        }
    }
    let is_known =
        |audience: &String| policy.roles.iter().any(|role| role.audiences.contains(audience));
    for client in &policy.clients {
        for (field, audiences) in [
            ("introspects", &client.introspects),
            ("exchanges", &client.exchanges),
            ("reports_use_of", &client.reports_use_of),
        ] {
            let unknown = audiences.iter().filter(|audience| !is_known(audience));
            remarks.extend(unknown.map(|audience| {
                let (kind, name) = (EntryKind::Client, client.id.clone());
                let concern = Concern::Audience { field, audience: audience.clone() };
                Remark { kind, name, concern }
            }));
        }
    }
    let shows_in_vain = |client: &&Client| {
        matches!(client.authentication, Authentication::Certificates(_))
            && !config.proxy_shows_certificates()
    };
    remarks.extend(policy.clients.iter().filter(shows_in_vain).map(|client| {
        let (kind, name) = (EntryKind::Client, client.id.clone());
        Remark { kind, name, concern: Concern::NoCertificate }
    }));
    let holds_secret = |client: &&Client| client.authentication.is_secret();
    remarks.extend(policy.clients.iter().filter(holds_secret).map(|client| {
        let (kind, name) = (EntryKind::Client, client.id.clone());
        let has_ended = client.authentication.has_ended(now);
        let concern = if has_ended { Concern::NoSecretLeft } else { Concern::Secret };
        Remark { kind, name, concern }
    }));
    remarks
}
