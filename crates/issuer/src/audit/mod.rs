//! The audit trail: one typed entry for each issued token and each change of keys or statuses,
//! committed in the transaction of the change.

pub mod erase;
pub mod leaf;

use serde::{Deserialize, Serialize};

use crate::access::{AccessChange, State};
use crate::breach::IncidentChange;
use crate::leak::LeakReport;
use crate::selection::{Filter, Selection, StatusChange};

/// An audited change, with its time and actor.
///
/// # Example
///
/// ```
/// use edgepass_issuer::audit::{Act, AuditEntry};
/// use serde_json::json;
///
/// let act = Act::TokenRevoked { jwt_id: "a1".to_owned(), reason: "leak".to_owned(), report: None };
/// let (at_ms, actor) = (1_700_000_000_000, "cli:ops".to_owned());
/// let entry = AuditEntry { at_ms, actor, policy: Some(3), act };
/// let expected = json!({ "at_ms": 1_700_000_000_000_u64, "actor": "cli:ops", "policy": 3,
///     "act": "token_revoked", "jwt_id": "a1", "reason": "leak" });
/// assert_eq!(serde_json::to_value(&entry).unwrap(), expected);
/// ```
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AuditEntry {
    /// Time of the change, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The actor: `client:<client_id>` over HTTP, `cli:<user>` for commands, with the user name
    /// from the environment, `serve` for key changes that the publisher carries out.
    pub actor: String,
    /// The number of the policy version that was in use. `None` in entries of older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<u64>,
    /// The change. Its members are on the same level as `at_ms` and `actor`.
    #[serde(flatten)]
    pub act: Act,
}

/// A change with its details. The member `act` holds its name.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// The issuer's first keys were created.
    KeysCreated {
        /// `kid` of each key.
        key_ids: Vec<String>,
    },
    /// The standby key became the signing key, and a new standby key was created.
    KeyRotated {
        /// `kid` of the key that signed before.
        from: String,
        /// `kid` of the key that signs now.
        to: String,
        /// `kid` of the new standby key.
        standby: String,
    },
    /// A key was marked as compromised.
    KeyCompromised {
        /// `kid` of the compromised key.
        key_id: String,
        /// `kid` of the key that signs after the change.
        signing: String,
        /// The reason that the actor gave.
        #[serde(default)]
        reason: String,
    },
    /// Keys were removed from the published set.
    KeysWithdrawn {
        /// `kid` of each key.
        key_ids: Vec<String>,
        /// `kid` of the standby key that was created in the same change, if any.
        standby: Option<String>,
    },
    /// A token was issued. The entry is committed before the token is signed.
    TokenIssued {
        /// The claim `jti`.
        jwt_id: String,
        /// The name of the token's role.
        role: String,
        /// The claim `client_id`.
        client_id: String,
        /// The claim `sub`.
        #[serde(default)]
        subject: String,
        /// The claim `aud`.
        audience: String,
        /// The claim `scope`: scope tokens separated by spaces.
        scope: String,
        /// The claim `exp`, in seconds.
        expiration: u64,
        /// `id` of the agreement under which the token is used, if its role has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agreement: Option<String>,
        /// The name of the request for access under which the token was issued.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grant: Option<String>,
        /// `jti` of the token that this one was exchanged for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<String>,
    },
    /// Something happened to a request for access.
    AccessChanged {
        /// The request.
        request: String,
        /// What happened.
        change: AccessChange,
        /// The state of the request after it.
        state: State,
        /// The name of the role.
        role: String,
        /// `client_id` of the tokens.
        client_id: String,
        /// `sub` of the tokens.
        subject: String,
        /// The digest of what was shown: [`AccessRequest::digest`](crate::access::AccessRequest::digest).
        digest: String,
        /// First second after access, once it is granted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ends: Option<u64>,
        /// The reason or the comment that the actor gave.
        #[serde(default)]
        reason: String,
    },
    /// Something happened to an incident.
    IncidentChanged {
        /// The incident.
        incident: String,
        /// What happened.
        change: IncidentChange,
        /// When the controller became aware, in milliseconds.
        aware_ms: u64,
        /// SHA-256 of the report that was exported, in hexadecimal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<String>,
        /// The reason or the names of the fields that the actor gave.
        #[serde(default)]
        reason: String,
    },
    /// A policy version came into use: `serve` changed to it, or a command used it first. The
    /// entry's `policy` is its number.
    PolicyApplied {
        /// SHA-256 of the policy's stored text, in hexadecimal.
        digest: String,
    },
    /// The database was restored from a backup. Its entries since then are lost.
    DatabaseRestored {
        /// The epoch in the names of lists from then on.
        epoch: String,
        /// Number of lists that were published and not in the backup.
        lists: u64,
        /// Number of revocations and suspensions that were published and not in the backup.
        statuses: u64,
        /// `kid` of each key that was withdrawn since the backup, or is lost with it.
        key_ids: Vec<String>,
        /// Targets that could not be read: what they show is not in the database.
        unread: Vec<String>,
    },
    /// The private halves of keys were sealed with another master key.
    KeysRewrapped {
        /// `kid` of each key.
        key_ids: Vec<String>,
    },
    /// A token of another issuer got a status entry.
    StatusAllotted {
        /// The claim `jti`.
        jwt_id: String,
        /// The client that asked.
        client_id: String,
        /// The claim `iss`.
        issuer: String,
        /// The claim `sub`.
        subject: String,
        /// The claim `exp`, in seconds.
        expiration: u64,
    },
    /// An operator read the trail over HTTP.
    AuditRead {
        /// The first and the last position that was read.
        first: u64,
        /// See `first`.
        last: u64,
    },
    /// Personal values of entries were erased.
    PersonalErased {
        /// First and last position of each run of entries.
        positions: Vec<(u64, u64)>,
        /// The reason that the actor gave.
        reason: String,
    },
    /// One token, named by its `jti`, was revoked.
    TokenRevoked {
        /// The claim `jti` of the revoked token.
        jwt_id: String,
        /// The reason that the actor gave.
        reason: String,
        /// Who reported the token, if it was found somewhere.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        report: Option<LeakReport>,
    },
    /// An act on statuses other than the revocation of one token by its `jti`: it selects by a
    /// filter or several `jti`, or suspends or resumes one token.
    StatusesChanged {
        /// The change that the act made.
        change: StatusChange,
        /// The selection of tokens.
        selection: SelectionEntry,
        /// The reason that the actor gave.
        reason: String,
        /// Number of tokens that the act changes.
        count: u64,
        /// SHA-256, in hexadecimal, over the `jti` of each token that the act changes, in order of
        /// issue, each followed by a line feed.
        digest: String,
    },
}

/// A selection as the audit trail records it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectionEntry {
    /// One token, by its `jti`.
    JwtId(String),
    /// Several tokens, named by `jti`. Holds how many were named. The entry's digest covers those
    /// that the act changes.
    JwtIds(usize),
    /// All tokens that match the filter.
    Fitting(Filter),
    /// A selection by subject that was erased from the trail.
    Erased,
}

impl From<&Selection> for SelectionEntry {
    fn from(selection: &Selection) -> Self {
        match (selection, selection.single_jwt_id()) {
            (_, Some(jwt_id)) => Self::JwtId(jwt_id.to_owned()),
            (Selection::JwtIds(ids), None) => Self::JwtIds(ids.len()),
            (Selection::Fitting(filter), None) => Self::Fitting(filter.clone()),
        }
    }
}

/// What an entry names. `None`: the entry names none, or several.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Names<'a> {
    /// The claim `jti` of the token.
    pub jwt_id: Option<&'a str>,
    /// The name of the role.
    pub role: Option<&'a str>,
    /// The claim `client_id`.
    pub client_id: Option<&'a str>,
    /// The claim `sub`.
    pub subject: Option<&'a str>,
}

impl Act {
    /// What the change names: of an issued token everything, of an act on statuses its selection.
    pub fn names(&self) -> Names<'_> {
        match self {
            Self::TokenIssued { jwt_id, role, client_id, subject, .. } => Names {
                jwt_id: Some(jwt_id),
                role: Some(role),
                client_id: Some(client_id),
                subject: Some(subject),
            },
            Self::AccessChanged { role, client_id, subject, .. } => Names {
                jwt_id: None,
                role: Some(role),
                client_id: Some(client_id),
                subject: Some(subject),
            },
            Self::StatusAllotted { jwt_id, client_id, subject, .. } => Names {
                jwt_id: Some(jwt_id),
                role: None,
                client_id: Some(client_id),
                subject: Some(subject),
            },
            Self::TokenRevoked { jwt_id, .. }
            | Self::StatusesChanged { selection: SelectionEntry::JwtId(jwt_id), .. } => {
                Names { jwt_id: Some(jwt_id), ..Names::default() }
            }
            Self::StatusesChanged { selection: SelectionEntry::Fitting(filter), .. } => Names {
                jwt_id: None,
                role: filter.role.as_deref(),
                client_id: filter.client_id.as_deref(),
                subject: filter.subject.as_deref(),
            },
            Self::StatusesChanged {
                selection: SelectionEntry::JwtIds(_) | SelectionEntry::Erased,
                ..
            }
            | Self::AuditRead { .. }
            | Self::IncidentChanged { .. }
            | Self::PersonalErased { .. }
            | Self::KeysCreated { .. }
            | Self::KeyRotated { .. }
            | Self::KeyCompromised { .. }
            | Self::KeysWithdrawn { .. }
            | Self::DatabaseRestored { .. }
            | Self::KeysRewrapped { .. }
            | Self::PolicyApplied { .. } => Names::default(),
        }
    }

    /// The name of the change, as in the column `act` of the table `audit` and the member `act` in
    /// JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AuditRead { .. } => "audit_read",
            Self::PersonalErased { .. } => "personal_erased",
            Self::KeysCreated { .. } => "keys_created",
            Self::KeyRotated { .. } => "key_rotated",
            Self::KeyCompromised { .. } => "key_compromised",
            Self::KeysWithdrawn { .. } => "keys_withdrawn",
            Self::PolicyApplied { .. } => "policy_applied",
            Self::DatabaseRestored { .. } => "database_restored",
            Self::KeysRewrapped { .. } => "keys_rewrapped",
            Self::AccessChanged { .. } => "access_changed",
            Self::IncidentChanged { .. } => "incident_changed",
            Self::StatusAllotted { .. } => "status_allotted",
            Self::TokenIssued { .. } => "token_issued",
            Self::TokenRevoked { .. } => "token_revoked",
            Self::StatusesChanged { .. } => "statuses_changed",
        }
    }
}
