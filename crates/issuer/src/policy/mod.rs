//! The issuer's policy: roles, clients, the scope catalogue, agreements, and the grants that they
//! allow.

pub mod agreement;
pub mod catalogue;
pub mod difference;
pub mod federation;
pub mod operator_scopes;
pub mod review;
pub mod use_history;
pub mod use_review;
pub mod version;

use std::time::Duration;

use edgepass_jose::Scope;
use edgepass_verify::UnixMillis;
use edgepass_verify::policy::duration::DurationText;
use serde::{Deserialize, Serialize, Serializer};

use self::agreement::{Agreement, AgreementDetail, NotInForce};
use self::catalogue::CataloguedScope;
use self::federation::Federation;
use crate::access::ApprovalRule;
use crate::client::Client;
use crate::misuse::{Brakes, Rule};

/// The checked policy of one environment. Every list is in the order of the configuration.
#[derive(Default, Serialize)]
pub struct IssuerPolicy {
    /// What tokens are for.
    pub roles: Vec<Role>,
    /// Who may obtain tokens.
    pub clients: Vec<Client>,
    /// The meaning of each scope. Empty: the configuration has no catalogue.
    pub catalogue: Vec<CataloguedScope>,
    /// The contracts under which roles reach personal data.
    pub agreements: Vec<Agreement>,
    /// The outside issuers whose tokens are exchanged for this issuer's.
    pub federations: Vec<Federation>,
    /// Which roles need an approved request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<ApprovalRule>,
    /// What is misuse, and what follows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub misuse: Vec<Rule>,
    /// What bounds the acts that follow from misuse.
    #[serde(skip_serializing_if = "Brakes::are_default")]
    pub brakes: Brakes,
}

/// What a token is for: scopes, audiences and a lifetime.
#[derive(Clone, Debug, Serialize)]
pub struct Role {
    /// Name, unique in the policy.
    pub name: String,
    /// The audiences that a token may have, one each. The first is the default.
    pub audiences: Vec<String>,
    /// The scope tokens that the role may grant.
    #[serde(serialize_with = "as_text")]
    pub scope: Scope,
    /// Lifetime where the request names none, in seconds.
    pub lifetime: u64,
    /// The longest lifetime that a request may name, in seconds.
    pub max_lifetime: u64,
    /// `id` of the agreement under which the role is used. A role of a scope that touches personal
    /// data has one.
    pub agreement: Option<String>,
    /// What the sender of a token must prove.
    pub sender: SenderConstraint,
    /// The networks from which a token may be used:
    /// [`NETWORKS`](edgepass_verify::checks::networks::NETWORKS). Empty: from any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// How to reach the owner.
    pub owner: Option<String>,
    /// What the role is for, in a sentence.
    pub description: Option<String>,
}

/// What the sender of a role's tokens must prove.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SenderConstraint {
    /// Nothing. A token is bound all the same if its request has a DPoP proof.
    #[default]
    None,
    /// Possession of a key, by DPoP (RFC 9449).
    Dpop,
    /// Possession of a certificate, by TLS (RFC 8705 §3).
    Mtls,
}

/// The requested audience, scope and lifetime of a token.
#[derive(Clone, Debug, Default)]
pub struct TokenRequest {
    /// The requested audience. `None` requests the role's first.
    pub audience: Option<String>,
    /// The requested scope. `None` requests all scope tokens of the role.
    pub scope: Option<Scope>,
    /// The requested lifetime, in seconds. `None` requests the role's default.
    pub lifetime: Option<u64>,
}

/// The granted properties of a token. They never exceed the role's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// Name of the role.
    pub role: String,
    /// The claim `aud`.
    pub audience: String,
    /// The claim `scope`.
    pub scope: Scope,
    /// Lifetime of the token, in seconds.
    pub lifetime: u64,
    /// What the sender of the token must prove.
    pub sender: SenderConstraint,
    /// The networks from which the token may be used.
    pub networks: Vec<String>,
    /// `id` of the agreement under which the token is used.
    pub agreement: Option<String>,
    /// What the token says of that agreement.
    pub detail: Option<AgreementDetail>,
    /// The name of the request for access under which the token is issued.
    pub access: Option<String>,
}

/// The reason why the policy refuses a request, with the values that it allows.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RefusedByPolicy {
    /// No role has the requested name, or the client may not use it.
    #[error("no such role; allowed: {allowed}")]
    Role {
        /// The allowed names, separated by commas.
        allowed: String,
    },
    /// The requested scope exceeds the role's.
    #[error("role {role} does not grant that scope; allowed: {allowed}")]
    Scope {
        /// Name of the role.
        role: String,
        /// The role's scope.
        allowed: Scope,
    },
    /// The role does not have the requested audience.
    #[error("role {role} is for another audience; allowed: {allowed}")]
    Audience {
        /// Name of the role.
        role: String,
        /// The role's audiences, separated by commas.
        allowed: String,
    },
    /// The role's agreement has not begun or has ended.
    #[error("role {role}: the agreement {agreement} {reason}")]
    Agreement {
        /// Name of the role.
        role: String,
        /// `id` of the agreement.
        agreement: String,
        /// The reason.
        reason: NotInForce,
    },
    /// The requested lifetime is zero or exceeds the role's.
    #[error("role {role} grants a lifetime of at least \"1s\" and at most \"{allowed}\"")]
    Lifetime {
        /// Name of the role.
        role: String,
        /// The role's longest lifetime.
        allowed: DurationText,
    },
}

impl IssuerPolicy {
    /// A policy with the entries of catalogue and agreements that its roles need.
    pub fn new(
        roles: Vec<Role>,
        clients: Vec<Client>,
        federations: Vec<Federation>,
        catalogue: &[CataloguedScope],
        agreements: &[Agreement],
    ) -> Self {
        let has_scope = |scope: &&CataloguedScope| {
            roles.iter().any(|role| role.scope.iter().any(|own| own == scope.name))
        };
        let has_agreement = |agreement: &&Agreement| {
            roles.iter().any(|role| role.agreement.as_ref() == Some(&agreement.id))
        };
        let catalogue = catalogue.iter().filter(has_scope).cloned().collect();
        let agreements = agreements.iter().filter(has_agreement).cloned().collect();
        Self { roles, clients, catalogue, agreements, federations, ..Self::default() }
    }

    /// Finds a role by its name.
    ///
    /// # Errors
    ///
    /// [`RefusedByPolicy::Role`].
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_issuer::policy::{IssuerPolicy, Role, SenderConstraint};
    /// use edgepass_jose::Scope;
    ///
    /// let role = Role {
    ///     name: "reader".to_owned(),
    ///     audiences: vec!["https://api.example".to_owned()],
    ///     scope: Scope::parse("invoices:read").unwrap(),
    ///     lifetime: 600,
    ///     max_lifetime: 3600,
    ///     agreement: None,
    ///     sender: SenderConstraint::None,
    ///     networks: Vec::new(),
    ///     owner: None,
    ///     description: None,
    /// };
    /// let policy = IssuerPolicy { roles: vec![role], ..IssuerPolicy::default() };
    /// assert_eq!(policy.role("reader").unwrap().lifetime, 600);
    /// let refused = policy.role("writer").unwrap_err();
    /// assert_eq!(refused.to_string(), "no such role; allowed: reader");
    /// ```
    pub fn role(&self, name: &str) -> Result<&Role, RefusedByPolicy> {
        self.roles.iter().find(|role| role.name == name).ok_or_else(|| RefusedByPolicy::Role {
            allowed: join(self.roles.iter().map(|role| role.name.as_str())),
        })
    }

    /// Finds a client by its `client_id`.
    pub fn client(&self, id: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.id == id)
    }

    /// The role with this name if `client` may use it. Without a name, the client's first role that
    /// has the audience, or its first role.
    ///
    /// # Errors
    ///
    /// [`RefusedByPolicy::Role`].
    pub fn role_of(
        &self,
        client: &Client,
        name: Option<&str>,
        audience: Option<&str>,
    ) -> Result<&Role, RefusedByPolicy> {
        let mut roles = client.roles.iter().filter_map(|name| self.role(name).ok());
        let found = match (name, audience) {
            (Some(name), _) => roles.find(|role| role.name == name),
            (None, Some(audience)) => {
                let has_audience = |role: &&Role| role.audiences.iter().any(|own| own == audience);
                roles.clone().find(has_audience).or_else(|| roles.next())
            }
            (None, None) => roles.next(),
        };
        let allowed =
            || RefusedByPolicy::Role { allowed: join(client.roles.iter().map(String::as_str)) };
        found.ok_or_else(allowed)
    }

    /// The rule about a role that needs approval.
    pub fn approval(&self, role: &str) -> Option<&ApprovalRule> {
        self.approvals.iter().find(|rule| rule.roles.iter().any(|own| own == role))
    }

    /// Finds an agreement by its `id`.
    pub fn agreement(&self, id: &str) -> Option<&Agreement> {
        self.agreements.iter().find(|agreement| agreement.id == id)
    }

    /// Grants what the request asks of a role, or refuses it with the value that is allowed. A token
    /// never outlives the role's agreement: its lifetime is lowered to what is left of it.
    ///
    /// # Errors
    ///
    /// [`RefusedByPolicy::Audience`], [`RefusedByPolicy::Scope`], [`RefusedByPolicy::Lifetime`],
    /// [`RefusedByPolicy::Agreement`].
    pub fn grant(
        &self,
        role: &Role,
        request: &TokenRequest,
        now: UnixMillis,
    ) -> Result<Grant, RefusedByPolicy> {
        let audience = role.audience(request.audience.as_deref())?;
        let scope = request.scope.clone().unwrap_or_else(|| role.scope.clone());
        if !scope.missing_in(&role.scope).is_empty() {
            let (role, allowed) = (role.name.clone(), role.scope.clone());
            return Err(RefusedByPolicy::Scope { role, allowed });
        }
        let lifetime = request.lifetime.unwrap_or(role.lifetime);
        if lifetime == 0 || lifetime > role.max_lifetime {
            return Err(RefusedByPolicy::Lifetime {
                role: role.name.clone(),
                allowed: DurationText(Duration::from_secs(role.max_lifetime)),
            });
        }
        let left = self.left(role, now).map_err(|(agreement, reason)| {
            let (role, agreement) = (role.name.clone(), agreement.to_owned());
            RefusedByPolicy::Agreement { role, agreement, reason }
        })?;
        Ok(Grant {
            role: role.name.clone(),
            audience: audience.to_owned(),
            lifetime: left.map_or(lifetime, |left| lifetime.min(left)),
            sender: role.sender,
            networks: role.networks.clone(),
            agreement: role.agreement.clone(),
            detail: self.detail(role, &scope),
            access: None,
            scope,
        })
    }

    /// What a token of the role says of its agreement: also the categories of data of this scope, by the
    /// catalogue. Without a catalogue, those of the agreement.
    fn detail(&self, role: &Role, scope: &Scope) -> Option<AgreementDetail> {
        let agreement = self.agreement(role.agreement.as_deref()?)?;
        let granted = self.catalogue.iter().filter(|one| scope.contains(&one.name));
        let mut data: Vec<String> = granted.flat_map(|one| one.data.clone()).collect();
        if self.catalogue.is_empty() {
            data.clone_from(&agreement.data);
        }
        data.sort();
        data.dedup();
        Some(AgreementDetail::new(agreement, data))
    }

    /// The seconds for which the role's agreement still holds. `None`: there is no end.
    ///
    /// # Errors
    ///
    /// The agreement and the reason why it is not in force. An unknown agreement has ended.
    pub(crate) fn left<'r>(
        &self,
        role: &'r Role,
        now: UnixMillis,
    ) -> Result<Option<u64>, (&'r str, NotInForce)> {
        let Some(id) = role.agreement.as_deref() else { return Ok(None) };
        let agreement = self.agreement(id).ok_or((id, NotInForce::Ended))?;
        agreement.remaining(now).map_err(|reason| (id, reason))
    }

    /// The longest lifetime of any role, in seconds. 0 without roles.
    pub fn longest_lifetime(&self) -> u64 {
        self.roles.iter().map(|role| role.max_lifetime).max().unwrap_or_default()
    }

    /// The scope tokens of all roles, sorted, each once.
    pub fn scopes(&self) -> Vec<String> {
        let mut all: Vec<String> =
            self.roles.iter().flat_map(|role| role.scope.iter().map(str::to_owned)).collect();
        all.sort();
        all.dedup();
        all
    }
}

impl Role {
    /// The audience of a token: the requested one, or the role's first.
    fn audience(&self, requested: Option<&str>) -> Result<&str, RefusedByPolicy> {
        let mut allowed = self.audiences.iter().map(String::as_str);
        let found = allowed.find(|own| requested.is_none_or(|requested| requested == *own));
        found.ok_or_else(|| RefusedByPolicy::Audience {
            role: self.name.clone(),
            allowed: self.audiences.join(", "),
        })
    }
}

fn as_text<S: Serializer>(
    value: &impl std::fmt::Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn policy(agreement: Option<Agreement>) -> IssuerPolicy {
        let role = Role {
            name: "reader".into(),
            audiences: vec!["https://api.example".into(), "https://other.example".into()],
            scope: Scope::parse("a:read b:read").unwrap(),
            lifetime: 600,
            max_lifetime: 3600,
            agreement: agreement.as_ref().map(|agreement| agreement.id.clone()),
            sender: SenderConstraint::None,
            networks: Vec::new(),
            owner: None,
            description: None,
        };
        let agreements = agreement.into_iter().collect();
        IssuerPolicy { roles: vec![role], agreements, ..IssuerPolicy::default() }
    }

    fn ask(scope: Option<&str>, lifetime: Option<u64>) -> Result<Grant, RefusedByPolicy> {
        let scope = scope.map(|text| Scope::parse(text).unwrap());
        let policy = policy(None);
        policy.grant(&policy.roles[0], &TokenRequest { scope, lifetime, audience: None }, NOW)
    }

    #[test]
    fn grants_what_the_role_has_and_no_more() {
        let all = ask(None, None).unwrap();
        assert_eq!((all.scope.to_string().as_str(), all.lifetime), ("a:read b:read", 600));
        assert_eq!(ask(Some("a:read"), Some(3600)).unwrap().lifetime, 3600);
        let refused = ask(Some("a:read c:read"), None).unwrap_err();
        assert!(refused.to_string().ends_with("allowed: a:read b:read"), "{refused}");
        let refused = ask(None, Some(3601)).unwrap_err();
        assert!(refused.to_string().contains("at most \"1h\""), "{refused}");
        assert!(ask(None, Some(0)).is_err());
    }

    #[test]
    fn the_audience_is_one_of_the_roles() {
        let policy = policy(None);
        let ask = |audience: Option<&str>| {
            let request =
                TokenRequest { audience: audience.map(str::to_owned), ..TokenRequest::default() };
            policy.grant(&policy.roles[0], &request, NOW).map(|grant| grant.audience)
        };
        assert_eq!(ask(None).unwrap(), "https://api.example");
        assert_eq!(ask(Some("https://other.example")).unwrap(), "https://other.example");
        for other in ["https://api.example/", "https://API.example", ""] {
            let refused = ask(Some(other)).unwrap_err().to_string();
            assert!(refused.ends_with("https://api.example, https://other.example"), "{refused}");
        }
    }

    #[test]
    fn a_token_never_outlives_its_agreement() {
        let now = NOW.numeric_date().seconds();
        let agreement = |start, end| Agreement {
            id: "dpa".into(),
            parties: vec![],
            purposes: vec![],
            data: vec![],
            recipients: vec![],
            regions: vec![],
            enforce_regions: false,
            safeguards: std::collections::BTreeMap::new(),
            retention: None,
            start,
            end,
        };
        for (start, end, expected) in [
            (now, None, Ok(600)),
            (now, Some(now + 601), Ok(600)),
            (now, Some(now + 60), Ok(60)),
            (now, Some(now + 1), Ok(1)),
            (now, Some(now), Err("the agreement dpa has ended")),
            (now + 1, None, Err("the agreement dpa has not begun")),
        ] {
            let policy = policy(Some(agreement(start, end)));
            let grant = policy.grant(&policy.roles[0], &TokenRequest::default(), NOW);
            match (grant, expected) {
                (Ok(grant), Ok(lifetime)) => {
                    assert_eq!(grant.lifetime, lifetime);
                    assert_eq!(grant.agreement.as_deref(), Some("dpa"));
                }
                (Err(refused), Err(reason)) => assert!(refused.to_string().ends_with(reason)),
                (grant, expected) => panic!("{grant:?}, expected {expected:?}"),
            }
        }
    }
}
