//! Mistakes in `edgepass.toml`.

use std::fmt;

use edgepass_verify::policy::duration::DurationText;
use edgepass_verify::policy::freshness::{FreshnessError, ListAgeTooShort};

use super::LIST_CAPACITIES;
use super::sources::Place;
use crate::client::keys::NotClientKeys;
use crate::client::secret::NotASecretHash;

/// Every mistake that was found in a configuration, one a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistakes(pub Vec<ConfigError>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for mistake in &self.0 {
            write!(f, "{between}{mistake}")?;
            between = "\n";
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// A mistake in the configuration, with its place.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{place}: {mistake}")]
pub struct ConfigError {
    /// Where it is.
    pub place: Place,
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
    /// A setting that must be written is not. Holds its name.
    #[error("{0} is missing; write it, or let `edgepass init` make a configuration")]
    Missing(&'static str),
    /// Two files have a setting that only one may have. Holds its name.
    #[error("{0} is written in another file as well; write it once")]
    Twice(&'static str),
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
    /// `listen` is no loopback address, and nothing encrypts what is sent to it.
    #[error(
        "listen: {0} is not a loopback address, so TLS is needed: write [tls] certificate and key, or \
         by_proxy = true if a proxy in front terminates TLS"
    )]
    NeedsTls(std::net::SocketAddr),
    /// `[tls]` has only one of certificate and key, or both and a proxy.
    #[error("[tls] write certificate and key, both files in PEM, or by_proxy = true")]
    Tls,
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
    /// `[revocation]` has `head`, but no deadline.
    #[error("[revocation] head has no effect without a deadline: remove it")]
    HeadWithoutDeadline,
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
    /// `keep_records` is too short.
    #[error("[tokens] keep_records: write a duration of at least \"1d\"")]
    KeepRecords,
    /// `module` is a relative path.
    #[error(
        "[keys.pkcs11] module: write the absolute path of the PKCS #11 library, \
         \"/usr/lib/softhsm/libsofthsm2.so\""
    )]
    Pkcs11Module,
    /// `token_label` cannot be the label of a token.
    #[error("[keys.pkcs11] token_label: write the token's label, 1 to 32 bytes")]
    Pkcs11TokenLabel,
    /// `gitlab_token_hash` is no hash.
    #[error("[leaks] gitlab_token_hash: {0}")]
    GitlabToken(NotASecretHash),
    /// A key of GitHub is no public key in PEM, or has no identifier.
    #[error(
        "[[leaks.github_key]]: copy key_identifier and key from \
         https://api.github.com/meta/public_keys/secret_scanning"
    )]
    GithubKey,
    /// A setting of `[proxy]` is missing or not usable. Holds its name.
    #[error(
        "[proxy] {0}: write from as networks of proxies, [\"10.0.0.0/8\", \"::1/128\"], and the other settings with the \
         names of header fields"
    )]
    Proxy(&'static str),
    /// `database` is no URL of PostgreSQL.
    #[error(
        "database: write the URL of a PostgreSQL database, \
         \"postgres://edgepass@db.example/edgepass?sslmode=verify-full\", or leave it out for a file in data_dir"
    )]
    Database,
    /// `data_dir` or `master_key_file` is an empty path. Holds the name of the setting.
    #[error("{0}: write a path")]
    EmptyPath(&'static str),
    /// `master_key_file` is below `data_dir`, as the paths are written. Links are not resolved.
    #[error(
        "master_key_file must be outside data_dir: a copy of the data must not contain its key"
    )]
    MasterKeyInDataDir,
    /// A pattern of `[naming]` is no regular expression. Holds its name.
    #[error("[naming] {0}: write a regular expression for whole names, \"[a-z]+(-[a-z]+)*\"")]
    NamingPattern(&'static str),
    /// A name does not fit the pattern of `[naming]`.
    #[error("{kind} {name:?} does not fit the pattern of [naming] {kind}")]
    Naming {
        /// `role`, `client` or `scope`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// The name of an environment is empty, has other characters than `a` to `z`, digits and `-`, is
    /// longer than 32, is that of a route of the issuer, or is that of an earlier environment.
    #[error(
        "environment: write a name of its own of 1 to 32 letters a to z, digits and '-', which is not a path \
         of the issuer (oauth, status, admin, console, leaks, metrics, healthz, readyz, v1)"
    )]
    EnvironmentName,
    /// A role or client names no environment, but the configuration has some.
    #[error("{what}: environment is missing; write one of: {known}")]
    WithoutEnvironment {
        /// The role or client.
        what: String,
        /// The names of the environments, separated by commas.
        known: String,
    },
    /// A role or client names an environment that does not exist.
    #[error("{what}: no [[environment]] has that name; there are: {known}")]
    UnknownEnvironment {
        /// The role or client.
        what: String,
        /// The names of the environments, separated by commas.
        known: String,
    },
    /// The name of a `[[scope]]` is no scope token or that of an earlier one.
    #[error(
        "scope: write one scope token, \"invoices:read\", in visible ASCII without spaces, quotes and \
         backslashes, once"
    )]
    ScopeName,
    /// A part of a `[[scope]]` is empty, or has an empty or repeated entry.
    #[error("scope {scope}: {field}: write texts that are not empty, each once")]
    ScopePart {
        /// The scope token.
        scope: String,
        /// The name of the part.
        field: &'static str,
    },
    /// A scope touches personal data, but names no category of it. Holds the scope token.
    #[error("scope {0}: personal = true needs the categories of the data, data = [\"contact\"]")]
    PersonalWithoutData(String),
    /// The `id` of an agreement is empty or that of an earlier one.
    #[error("agreement: every agreement needs an id of its own")]
    AgreementId,
    /// `start` or `end` of an agreement is neither a date nor a time with its offset.
    #[error(
        "agreement {agreement}: {field}: write a date in UTC, 2026-01-31, or a time, 2026-01-31T12:00:00Z"
    )]
    AgreementDate {
        /// `id` of the agreement.
        agreement: String,
        /// `start` or `end`.
        field: &'static str,
    },
    /// A list of an agreement has too few entries, or an empty or repeated one.
    #[error(
        "agreement {agreement}: {field}: write texts that are not empty, each once, at most 64: at least two \
         parties, one purpose and one data category"
    )]
    AgreementPart {
        /// `id` of the agreement.
        agreement: String,
        /// The name of the part.
        field: &'static str,
    },
    /// The regions of an agreement are to be enforced, and a verifier cannot compare them. Holds its `id`.
    #[error(
        "agreement {0}: enforce_regions: write regions that a verifier can compare with a country: \"EU\", \"EEA\", \
         or two letters of ISO 3166-1, \"CH\""
    )]
    AgreementRegions(String),
    /// An agreement ends before it begins. Holds its `id`.
    #[error("agreement {0}: end must not be before start")]
    AgreementDates(String),
    /// A role has a scope that is not in the catalogue.
    #[error(
        "role {role}: the scope {scope} is not in the catalogue; add a [[scope]] that says what it means"
    )]
    NotInCatalogue {
        /// The role's name.
        role: String,
        /// The scope token.
        scope: String,
    },
    /// A role has a scope that touches personal data, and names no agreement.
    #[error(
        "role {role}: the scope {scope} touches personal data; name the agreement that allows it"
    )]
    NeedsAgreement {
        /// The role's name.
        role: String,
        /// The scope token.
        scope: String,
    },
    /// A role mixes scopes of operators with others, has another that begins like them, or another
    /// audience than the issuer. Holds its name.
    #[error(
        "role {0}: edgepass:read, edgepass:audit, edgepass:operate and edgepass:usage go into a role of their own, whose \
         only audience is the issuer (of an environment: the issuer, a slash, and its name); no other scope \
         begins with edgepass:"
    )]
    OperatorScopes(String),
    /// A role names an agreement that does not exist.
    #[error("role {role}: there is no agreement {agreement:?}; add an [[agreement]] first")]
    UnknownAgreement {
        /// The role's name.
        role: String,
        /// The `id` that no agreement has.
        agreement: String,
    },
    /// A role has a scope whose data its agreement does not cover.
    #[error(
        "role {role}: the scope {scope} gives access to {data:?}, which the agreement {agreement} does not \
         cover; remove the scope, or name another agreement"
    )]
    OutsideAgreement {
        /// The role's name.
        role: String,
        /// The scope token.
        scope: String,
        /// The data category.
        data: String,
        /// `id` of the agreement.
        agreement: String,
    },
    /// `owner` or `description` of a role is empty.
    #[error("role {role}: {field}: write a text, or leave it out")]
    RolePart {
        /// The role's name.
        role: String,
        /// The name of the part.
        field: &'static str,
    },
    /// A role's name is empty or that of an earlier role of its environment.
    #[error("role: every role needs a name of its own, other than status-entry")]
    RoleName,
    /// A role has no audience, or an empty or repeated one. Holds the role's name.
    #[error("role {0}: write the audience, the URL of the guarded API, or several, each once")]
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
    #[error(
        "client: every client needs an id of its own, visible ASCII without ':', other than edgepass-cli and \
         edgepass-doctor"
    )]
    ClientId,
    /// A client has no role and introspects nothing. Holds its `id`.
    #[error(
        "client {0}: roles: name at least one role, or say what else the client may do: introspects, exchanges, allots"
    )]
    ClientWithoutRole(String),
    /// A client introspects, exchanges or reports on tokens of an empty or repeated audience.
    #[error("client {client}: {field}: write audiences, each once")]
    ClientAudiences {
        /// The client's `id`.
        client: String,
        /// `introspects`, `exchanges` or `reports_use_of`.
        field: &'static str,
    },
    /// A rule about misuse is wrong.
    #[error("misuse rule {rule:?}: {reason}")]
    Misuse {
        /// The rule's name.
        rule: String,
        /// What to write.
        reason: &'static str,
    },
    /// A party has no name of its own, an empty text, or a country that is none. Holds its name.
    #[error(
        "party {0}: every party has a name of its own; contact, representative and dpo are texts, country is a code of ISO 3166-1"
    )]
    Party(String),
    /// A party of an agreement is no `[[party]]`, although there are some.
    #[error("agreement {agreement}: there is no [[party]] named {party:?}")]
    UnknownParty {
        /// The agreement's `id`.
        agreement: String,
        /// The party's name.
        party: String,
    },
    /// A rule about approvals is wrong.
    #[error("approval {rule}: {reason}")]
    Approval {
        /// The rule's name.
        rule: String,
        /// What to write.
        reason: &'static str,
    },
    /// A federation gives tokens of a role that needs approval.
    #[error(
        "federation {federation}: role {role} needs approval, and an outside token asks nobody: name another role"
    )]
    FederationNeedsApproval {
        /// The federation's name.
        federation: String,
        /// The role's name.
        role: String,
    },
    /// A rule names addresses, and there is no way to send e-mail; or nobody would be told of access without an
    /// approval. Holds the rule's name.
    #[error(
        "approval {0}: tell needs [mail]; may_break_glass needs [alerts], or tell with [mail], so that somebody is told"
    )]
    NobodyTold(String),
    /// How e-mail is sent is wrong. Holds what to write.
    #[error("mail: {0}")]
    Mail(&'static str),
    /// The URL of the webhook is none.
    #[error("alerts: url: write an https URL (http only on loopback)")]
    AlertUrl,
    /// A network of a role is none, or there are too many. Holds the role's name.
    #[error(
        "role {0}: networks: write 1 to 64 CIDR blocks without further bits (\"203.0.113.0/24\"), \
         autonomous systems (\"AS64500\") or countries by ISO 3166-1 (\"DE\", \"GB\"; of the EU, each)"
    )]
    RoleNetworks(String),
    /// The scopes, networks and agreement of a role make its tokens too long. Holds its name.
    #[error(
        "role {0}: scopes, networks and agreement take more than 4,096 octets of a token; split the role"
    )]
    RoleTooLarge(String),
    /// The name of a federation is empty, cannot be a `client_id`, or is that of an earlier one or of a client.
    #[error(
        "federation: every federation needs a name of its own, which no client has: at most 256 visible ASCII \
         characters without a colon"
    )]
    FederationName,
    /// The lifetime of a federation's tokens is out of range.
    #[error(
        "federation {federation}: lifetime is from \"1s\" to \"{most}\", the max_lifetime of its role"
    )]
    FederationLifetime {
        /// Its name.
        federation: String,
        /// The longest lifetime of its role.
        most: DurationText,
    },
    /// The outside issuer's tokens cannot be verified like this.
    #[error("federation {federation}: {reason}")]
    Federation {
        /// Its name.
        federation: String,
        /// The reason.
        reason: String,
    },
    /// No condition of a federation names the workload for good. Holds its name.
    #[error(
        "federation {0}: claims: name the workload by something that nobody else can get later, as an exact \
         value: repository_id (GitHub), project_id (GitLab), \"/kubernetes.io/serviceaccount/uid\" \
         (Kubernetes), oid (Entra), or sub of an issuer that never gives it to another"
    )]
    FederationCondition(String),
    /// A client has no way to authenticate, or several. Holds its `id`.
    #[error(
        "client {0}: write one of jwks (recommended), certificates, secrets and secret_hash; \
         `edgepass client add` makes a whole client"
    )]
    ClientAuthentication(String),
    /// A client's `secrets` are none or more than two, or have a date that is none. Holds its `id`.
    #[error(
        "client {0}: secrets: write one or two, {{ hash = \"sha256:<salt>:<hash>\", from = 2026-01-01, until = 2026-01-31 }}"
    )]
    ClientSecrets(String),
    /// A client's `jwks` is no JWK Set of usable public keys.
    #[error("client {client}: jwks: {source}")]
    ClientKeys {
        /// The client's `id`.
        client: String,
        /// The reason.
        source: NotClientKeys,
    },
    /// A client's `certificates` are none, or have an entry that is no SHA-256. Holds its `id`.
    #[error(
        "client {0}: certificates: write the SHA-256 of each certificate, 64 hexadecimal digits"
    )]
    ClientCertificates(String),
    /// A client or a federation names a role that does not exist.
    #[error("{what}: there is no role {role:?}; add a [[role]] first")]
    UnknownRole {
        /// The client or the federation.
        what: String,
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
