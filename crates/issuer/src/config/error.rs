//! Mistakes in `edgepass.toml`.

use edgepass_verify::policy::duration::DurationText;
use edgepass_verify::policy::freshness::{DeadlineUnmet, ListAgeTooShort};

use super::LIST_CAPACITIES;
use crate::client_secret::NotASecretHash;

/// A mistake in a configuration file, with its line.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {mistake}")]
pub struct ConfigError {
    /// The line in the file, from 1.
    pub line: usize,
    /// The mistake. Its text says what to write instead.
    pub mistake: Mistake,
}

/// A mistake in a configuration.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Mistake {
    /// The file is no TOML, has an unknown member or a value of the wrong type. Holds the reason.
    #[error("{0}")]
    Form(String),
    /// `issuer` is no URL that an issuer may have.
    #[error(
        "issuer: write an https URL without query or fragment and without a trailing slash, \
         \"https://issuer.example\" (http only on loopback)"
    )]
    Issuer,
    /// `listen` is no socket address.
    #[error("listen: write an address and a port, \"127.0.0.1:8787\"")]
    Listen,
    /// The settings of `[revocation]` do not meet the deadline.
    #[error("[revocation] {0}")]
    Deadline(DeadlineUnmet),
    /// `max_list_age` is shorter than the outage bound needs.
    #[error("[revocation] {0}")]
    ListAge(ListAgeTooShort),
    /// `shared_max_age` is shorter than the `max-age` that documents are served with.
    #[error(
        "[revocation] shared_max_age must be at least \"1s\": documents are served with max-age=1"
    )]
    SharedMaxAge,
    /// `list_capacity` is out of range.
    #[error(
        "list_capacity: write a number from {} to {}", LIST_CAPACITIES.start(), LIST_CAPACITIES.end()
    )]
    ListCapacity,
    /// `base_uri` is no URL below which lists may be served.
    #[error("base_uri: write an https URL without a trailing slash, \"https://status.example\"")]
    BaseUri,
    /// A key would be withdrawn while its tokens live.
    #[error(
        "[keys] overlap {overlap} is shorter than tokens live: a key must stay published until its \
         last token has expired; raise it to at least \"{least}\" or lower max_lifetime"
    )]
    Overlap {
        /// As written.
        overlap: DurationText,
        /// The shortest that is accepted.
        least: DurationText,
    },
    /// Keys would be made faster than they are withdrawn.
    #[error("[keys] rotation {rotation} must be longer than overlap {overlap}")]
    Rotation {
        /// As written.
        rotation: DurationText,
        /// As written.
        overlap: DurationText,
    },
    /// A path is empty. Holds the name of the setting.
    #[error("{0}: write a path")]
    EmptyPath(&'static str),
    /// The master key is inside the data directory.
    #[error(
        "master_key_file must be outside data_dir: a copy of the data must not contain its key"
    )]
    MasterKeyInDataDir,
    /// A role has no name, or the name of another.
    #[error("role: every role needs a name of its own")]
    RoleName,
    /// A role has no audience. Holds the role's name, as in the variants below.
    #[error("role {0}: write the audience, the URL of the guarded API")]
    RoleAudience(String),
    /// A role has no scope, or one that is no scope token.
    #[error("role {0}: scopes: write at least one, [\"invoices:read\"]")]
    RoleScopes(String),
    /// `max_lifetime` of a role is out of range.
    #[error("role {role}: max_lifetime is from \"1s\" to \"{most}\"")]
    RoleMaxLifetime {
        /// The role's name.
        role: String,
        /// The longest that is accepted.
        most: DurationText,
    },
    /// `lifetime` of a role is out of range.
    #[error("role {role}: lifetime is from \"1s\" to \"{most}\"")]
    RoleLifetime {
        /// The role's name.
        role: String,
        /// Its `max_lifetime`.
        most: DurationText,
    },
    /// A client has no `id`, one with other characters, or that of another client.
    #[error("client: every client needs an id of its own, visible ASCII without ':'")]
    ClientId,
    /// A client has no role. Holds its `id`.
    #[error("client {0}: roles: name at least one role")]
    ClientWithoutRole(String),
    /// A client names a role that does not exist.
    #[error("client {client}: there is no role {role:?}; add a [[role]] first")]
    UnknownRole {
        /// The client's `id`.
        client: String,
        /// The name of the role.
        role: String,
    },
    /// `secret_hash` of a client is none.
    #[error("client {client}: secret_hash: {source}")]
    SecretHash {
        /// The client's `id`.
        client: String,
        /// The reason.
        source: NotASecretHash,
    },
    /// A target of kind `directory` has an empty path.
    #[error("[[target]]: path: name a directory of its own")]
    TargetPath,
    /// A target of kind `s3` has an empty setting.
    #[error(
        "[[target]]: bucket, endpoint and region must not be empty; leave out endpoint or region"
    )]
    TargetSetting,
}
