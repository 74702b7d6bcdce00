//! Mistakes in `edgepass.toml`.

use edgepass_verify::policy::duration::DurationText;
use edgepass_verify::policy::freshness::{FreshnessError, ListAgeTooShort};

use super::LIST_CAPACITIES;
use crate::client_secret::NotASecretHash;

/// A mistake in the configuration file, with its line.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {mistake}")]
pub struct ConfigError {
    /// The line in the file, from 1. 1 also if the position is unknown.
    pub line: usize,
    /// The mistake. Its text says what to write instead.
    pub mistake: Mistake,
}

/// A mistake in the configuration, without its line.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Mistake {
    /// The file is not TOML, or a member is missing, unknown or of the wrong form. Holds the
    /// reason.
    #[error("{0}")]
    Form(String),
    /// `issuer` is not an https URL (http only on loopback), has a query or a fragment, or ends
    /// with a slash.
    #[error(
        "issuer: write an https URL without query, fragment and escapes, without a trailing slash, and \
         without dots or braces as segments: \"https://issuer.example\" (http only on loopback)"
    )]
    Issuer,
    /// `listen` is not an IP address with a port.
    #[error("listen: write an address and a port, \"127.0.0.1:8787\"")]
    Listen,
    /// The settings of `[revocation]` do not meet the deadline.
    #[error("[revocation] {0}")]
    Deadline(FreshnessError),
    /// `max_list_age` is shorter than the outage bound needs.
    #[error("[revocation] {0}")]
    ListAge(ListAgeTooShort),
    /// `[revocation]` has a setting that concerns verifiers of other issuers only. Holds its name.
    #[error(
        "[revocation] {0} has no effect here: the issuer publishes its keys within the deadline"
    )]
    ForVerifiers(&'static str),
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
    /// `base_uri` breaks the rules for `issuer`.
    #[error("base_uri: write an https URL without a trailing slash, \"https://status.example\"")]
    BaseUri,
    /// `overlap` is too short: a key would be withdrawn while tokens that it signed are valid.
    #[error(
        "[keys] overlap {overlap} is shorter than tokens live: a key must stay published until its \
         last token has expired; raise it to at least \"{least}\" or lower max_lifetime"
    )]
    Overlap {
        /// `overlap` as written.
        overlap: DurationText,
        /// The shortest `overlap` that is accepted.
        least: DurationText,
    },
    /// `rotation` is not longer than `overlap`: keys would be created faster than withdrawn.
    #[error("[keys] rotation {rotation} must be longer than overlap {overlap}")]
    Rotation {
        /// `rotation` as written.
        rotation: DurationText,
        /// `overlap` as written.
        overlap: DurationText,
    },
    /// `data_dir` or `master_key_file` is an empty path. Holds the name of the setting.
    #[error("{0}: write a path")]
    EmptyPath(&'static str),
    /// `master_key_file` is below `data_dir`, as the paths are written. Links are not resolved.
    #[error(
        "master_key_file must be outside data_dir: a copy of the data must not contain its key"
    )]
    MasterKeyInDataDir,
    /// A role's name is empty or that of an earlier role.
    #[error("role: every role needs a name of its own")]
    RoleName,
    /// A role's audience is empty. Holds the role's name.
    #[error("role {0}: write the audience, the URL of the guarded API")]
    RoleAudience(String),
    /// A role has no scope, or one that is no scope token. Holds the role's name.
    #[error(
        "role {0}: scopes: write at least one, [\"invoices:read\"], in visible ASCII without spaces, \
         quotes and backslashes"
    )]
    RoleScopes(String),
    /// The `max_lifetime` of a role, or of `[tokens]` if the role has none, is out of range.
    #[error("role {role}: max_lifetime is from \"1s\" to \"{most}\"")]
    RoleMaxLifetime {
        /// The role's name.
        role: String,
        /// The longest `max_lifetime` that is accepted.
        most: DurationText,
    },
    /// The `lifetime` of a role, or of `[tokens]` if the role has none, is out of range.
    #[error("role {role}: lifetime is from \"1s\" to \"{most}\"")]
    RoleLifetime {
        /// The role's name.
        role: String,
        /// The role's `max_lifetime`, the longest `lifetime` that is accepted.
        most: DurationText,
    },
    /// A client's `id` is empty, has a character other than visible ASCII without `:`, or is that
    /// of an earlier client.
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
        /// The name that no role has.
        role: String,
    },
    /// A client's `secret_hash` does not have the form `sha256:<salt>:<hash>`.
    #[error("client {client}: secret_hash: {source}")]
    SecretHash {
        /// The client's `id`.
        client: String,
        /// The reason. Its text names the command that prints a hash.
        source: NotASecretHash,
    },
    /// A client may suspend or resume tokens, but `[status] suspension` is false. Holds its `id`.
    #[error(
        "client {0}: may: tokens can be suspended and resumed only with [status] suspension = true"
    )]
    NeedsSuspension(String),
    /// A target of kind `directory` has an empty path.
    #[error("[[target]]: path: name a directory of its own")]
    TargetPath,
    /// A target of kind `s3` has a `bucket` or `region` that is empty, or has other characters than
    /// letters, digits, `.`, `-` and `_`.
    #[error(
        "[[target]]: write bucket and region with letters, digits, '.', '-' and '_'; region may be left out"
    )]
    TargetName,
    /// A target of kind `s3` has an `endpoint` that is no URL, or contains user information, a
    /// query or a fragment.
    #[error(
        "[[target]]: endpoint must be an http or https URL without user, query and fragment, or be left out"
    )]
    TargetEndpoint,
}
