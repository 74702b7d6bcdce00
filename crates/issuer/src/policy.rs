//! The issuer's policy: roles, clients, and the grants that they allow.

use edgepass_jose::Scope;
use edgepass_verify::policy::duration::DurationText;

use crate::client_secret::SecretHash;
use crate::selection::StatusChange;

/// The checked policy: roles and the clients that may use them.
pub struct IssuerPolicy {
    /// Roles, in the order of the configuration file.
    pub roles: Vec<Role>,
    /// Clients, in the order of the configuration file.
    pub clients: Vec<Client>,
}

/// A named set of scopes, an audience and a lifetime.
#[derive(Clone, Debug)]
pub struct Role {
    /// Name, unique in the policy.
    pub name: String,
    /// Claim `aud` of the role's tokens.
    pub audience: String,
    /// The scope tokens that the role may grant.
    pub scope: Scope,
    /// Lifetime where the request names none, in seconds.
    pub lifetime: u64,
    /// The longest lifetime that a request may name, in seconds.
    pub max_lifetime: u64,
}

/// An OAuth client (RFC 6749 §2).
pub struct Client {
    /// `client_id`, unique in the policy.
    pub id: String,
    /// Names of the roles that the client may use. The first is the default.
    pub roles: Vec<String>,
    /// Changes that the client may make over HTTP to tokens of all clients.
    pub may: Vec<StatusChange>,
    /// Hash of the client's secret.
    pub secret: SecretHash,
}

/// The requested scope and lifetime of a token.
#[derive(Clone, Debug, Default)]
pub struct TokenRequest {
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
    /// Finds a role by its name.
    ///
    /// # Errors
    ///
    /// [`RefusedByPolicy::Role`].
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_issuer::policy::{IssuerPolicy, Role};
    /// use edgepass_jose::Scope;
    ///
    /// let (name, audience) = ("reader".to_owned(), "https://api.example".to_owned());
    /// let scope = Scope::parse("invoices:read").unwrap();
    /// let role = Role { name, audience, scope, lifetime: 600, max_lifetime: 3600 };
    /// let policy = IssuerPolicy { roles: vec![role], clients: vec![] };
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

    /// The role with this name if `client` may use it. Without a name, the client's first role.
    ///
    /// # Errors
    ///
    /// [`RefusedByPolicy::Role`].
    pub fn role_of(&self, client: &Client, name: Option<&str>) -> Result<&Role, RefusedByPolicy> {
        let allowed =
            || RefusedByPolicy::Role { allowed: join(client.roles.iter().map(String::as_str)) };
        let name = name.or_else(|| client.roles.first().map(String::as_str)).ok_or_else(allowed)?;
        if !client.roles.iter().any(|role| role == name) {
            return Err(allowed());
        }
        self.role(name)
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
    /// Grants the request, or refuses it with the value that the role allows.
    ///
    /// # Errors
    ///
    /// [`RefusedByPolicy::Scope`], [`RefusedByPolicy::Lifetime`].
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_issuer::policy::{RefusedByPolicy, Role, TokenRequest};
    /// use edgepass_jose::Scope;
    ///
    /// let (name, audience) = ("reader".to_owned(), "https://api.example".to_owned());
    /// let scope = Scope::parse("invoices:read").unwrap();
    /// let role = Role { name, audience, scope, lifetime: 600, max_lifetime: 3600 };
    /// assert_eq!(role.grant(&TokenRequest::default()).unwrap().lifetime, 600);
    /// let too_long = TokenRequest { lifetime: Some(7200), ..TokenRequest::default() };
    /// let refused = role.grant(&too_long).unwrap_err();
    /// assert!(matches!(refused, RefusedByPolicy::Lifetime { .. }));
    /// ```
    pub fn grant(&self, request: &TokenRequest) -> Result<Grant, RefusedByPolicy> {
        let scope = request.scope.clone().unwrap_or_else(|| self.scope.clone());
        if !scope.missing_in(&self.scope).is_empty() {
            let (role, allowed) = (self.name.clone(), self.scope.clone());
            return Err(RefusedByPolicy::Scope { role, allowed });
        }
        let lifetime = request.lifetime.unwrap_or(self.lifetime);
        if lifetime == 0 || lifetime > self.max_lifetime {
            return Err(RefusedByPolicy::Lifetime {
                role: self.name.clone(),
                allowed: DurationText(std::time::Duration::from_secs(self.max_lifetime)),
            });
        }
        let (role, audience) = (self.name.clone(), self.audience.clone());
        Ok(Grant { role, audience, scope, lifetime })
    }
}

fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role() -> Role {
        Role {
            name: "reader".into(),
            audience: "https://api.example".into(),
            scope: Scope::parse("a:read b:read").unwrap(),
            lifetime: 600,
            max_lifetime: 3600,
        }
    }

    fn ask(scope: Option<&str>, lifetime: Option<u64>) -> Result<Grant, RefusedByPolicy> {
        let scope = scope.map(|text| Scope::parse(text).unwrap());
        role().grant(&TokenRequest { scope, lifetime })
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
}
