//! Who may have which token: the written policy and what it grants.

use edgepass_jose::Scope;
use edgepass_verify::policy::duration::DurationText;

use crate::client_secret::SecretHash;
use crate::selection::StatusChange;

/// The checked policy: roles and the clients that may use them.
pub struct IssuerPolicy {
    /// Roles by name, in the order written.
    pub roles: Vec<Role>,
    /// Clients, in the order written.
    pub clients: Vec<Client>,
}

/// A named set of rights: one audience, some scopes, a longest lifetime.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// `aud` of its tokens.
    pub audience: String,
    /// The scope tokens it may grant.
    pub scope: Scope,
    /// Lifetime when none is asked for, in seconds.
    pub lifetime: u64,
    /// The longest lifetime, in seconds.
    pub max_lifetime: u64,
}

/// An OAuth client (RFC 6749 §2).
pub struct Client {
    /// `client_id`.
    pub id: String,
    /// Names of the roles it may use; the first is the default.
    pub roles: Vec<String>,
    /// What it may do over HTTP to the tokens of others.
    pub may: Vec<StatusChange>,
    /// The hash of its secret.
    pub secret: SecretHash,
}

/// What someone asks for.
#[derive(Clone, Debug, Default)]
pub struct TokenRequest {
    /// The scope asked for; `None` asks for all that the role has.
    pub scope: Option<Scope>,
    /// The lifetime asked for, in seconds.
    pub lifetime: Option<u64>,
}

/// What the policy grants: never more than the role.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// The role's name.
    pub role: String,
    /// `aud`.
    pub audience: String,
    /// `scope`.
    pub scope: Scope,
    /// In seconds.
    pub lifetime: u64,
}

/// Why nothing is granted. Each says what would be.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RefusedByPolicy {
    /// There is no such role, or the client may not use it.
    #[error("no such role; allowed: {allowed}")]
    Role {
        /// The names allowed.
        allowed: String,
    },
    /// A scope beyond the role's.
    #[error("role {role} does not grant that scope; allowed: {allowed}")]
    Scope {
        /// The role.
        role: String,
        /// The scope it grants.
        allowed: Scope,
    },
    /// A lifetime of zero, or beyond the role's.
    #[error("role {role} grants at least \"1s\" and at most \"{allowed}\" of lifetime")]
    Lifetime {
        /// The role.
        role: String,
        /// The longest lifetime.
        allowed: DurationText,
    },
}

impl IssuerPolicy {
    /// The role called `name`.
    ///
    /// # Errors
    ///
    /// [`RefusedByPolicy::Role`].
    pub fn role(&self, name: &str) -> Result<&Role, RefusedByPolicy> {
        self.roles.iter().find(|role| role.name == name).ok_or_else(|| RefusedByPolicy::Role {
            allowed: join(self.roles.iter().map(|role| role.name.as_str())),
        })
    }

    /// The client called `id`.
    pub fn client(&self, id: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.id == id)
    }

    /// The role that `client` uses: the one `name`d, or its first.
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

    /// The longest lifetime of any role, in seconds.
    pub fn longest_lifetime(&self) -> u64 {
        self.roles.iter().map(|role| role.max_lifetime).max().unwrap_or_default()
    }

    /// Every scope token of every role.
    pub fn scopes(&self) -> Vec<String> {
        let mut all: Vec<String> =
            self.roles.iter().flat_map(|role| role.scope.iter().map(str::to_owned)).collect();
        all.sort();
        all.dedup();
        all
    }
}

impl Role {
    /// Grant what is asked for, or refuse it and say what would be granted.
    ///
    /// # Errors
    ///
    /// [`RefusedByPolicy::Scope`], [`RefusedByPolicy::Lifetime`].
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
