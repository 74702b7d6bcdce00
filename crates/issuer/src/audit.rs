//! The audit trail: one typed entry per act, durable in the transaction of the act.

use serde::{Deserialize, Serialize};

/// Who acted, when, and what was done.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AuditEntry {
    /// Milliseconds since the epoch.
    pub at_ms: u64,
    /// Who: `client:<client_id>` over HTTP, `cli:<user>` on the issuer's own machine.
    pub actor: String,
    /// What.
    #[serde(flatten)]
    pub act: Act,
}

/// What was done.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// The issuer's first keys were made.
    KeysCreated {
        /// `kid` of each.
        key_ids: Vec<String>,
    },
    /// A token was issued.
    TokenIssued {
        /// `jti`.
        jwt_id: String,
        /// The role it was issued under.
        role: String,
        /// `client_id`.
        client_id: String,
        /// `aud`.
        audience: String,
        /// `scope`.
        scope: String,
        /// `exp`, in seconds.
        expiration: u64,
    },
    /// A token was revoked.
    TokenRevoked {
        /// `jti`.
        jwt_id: String,
        /// Why, in the words of who revoked it.
        reason: String,
    },
}

impl Act {
    /// The act's name, as the column `act` holds it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::KeysCreated { .. } => "keys_created",
            Self::TokenIssued { .. } => "token_issued",
            Self::TokenRevoked { .. } => "token_revoked",
        }
    }
}
