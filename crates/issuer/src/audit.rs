//! The audit trail: one typed entry per act, durable in the transaction of the act.

use serde::{Deserialize, Serialize};

use crate::selection::{Filter, Selection, StatusChange};

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
    /// The standby signs from now on.
    KeyRotated {
        /// `kid` of the key that signed before.
        from: String,
        /// `kid` of the key that signs now.
        to: String,
        /// `kid` of the new standby.
        standby: String,
    },
    /// A key is distrusted.
    KeyCompromised {
        /// Its `kid`.
        key_id: String,
        /// `kid` of the key that signs now.
        signing: String,
        /// Why, in the words of who distrusts it.
        #[serde(default)]
        reason: String,
    },
    /// Keys left the published set.
    KeysWithdrawn {
        /// `kid` of each.
        key_ids: Vec<String>,
        /// `kid` of the standby that was made at the same time.
        standby: Option<String>,
    },
    /// A token was issued.
    TokenIssued {
        /// `jti`.
        jwt_id: String,
        /// The role it was issued under.
        role: String,
        /// `client_id`.
        client_id: String,
        /// `sub`.
        #[serde(default)]
        subject: String,
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
    /// Tokens were revoked, suspended or resumed together, or one was suspended or resumed.
    StatusesChanged {
        /// What became of them.
        change: StatusChange,
        /// Of which.
        selection: SelectionEntry,
        /// Why, in the words of who did it.
        reason: String,
        /// How many changed.
        count: u64,
        /// SHA-256 over the `jti` of each that changed, in the order of issue, each with a line
        /// feed; in hexadecimal.
        digest: String,
    },
}

/// A selection as the trail names it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectionEntry {
    /// One token, by `jti`.
    JwtId(String),
    /// So many, named by `jti`; the digest says which of them changed.
    JwtIds(usize),
    /// Every one that fits.
    Fitting(Filter),
}

impl From<&Selection> for SelectionEntry {
    fn from(selection: &Selection) -> Self {
        match selection {
            Selection::JwtIds(ids) if ids.len() == 1 => Self::JwtId(ids.concat()),
            Selection::JwtIds(ids) => Self::JwtIds(ids.len()),
            Selection::Fitting(filter) => Self::Fitting(filter.clone()),
        }
    }
}

impl Act {
    /// The act's name, as the column `act` holds it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::KeysCreated { .. } => "keys_created",
            Self::KeyRotated { .. } => "key_rotated",
            Self::KeyCompromised { .. } => "key_compromised",
            Self::KeysWithdrawn { .. } => "keys_withdrawn",
            Self::TokenIssued { .. } => "token_issued",
            Self::TokenRevoked { .. } => "token_revoked",
            Self::StatusesChanged { .. } => "statuses_changed",
        }
    }
}
