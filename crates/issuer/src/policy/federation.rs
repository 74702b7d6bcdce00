//! Workload identity federation: an outside issuer's token for one of this issuer.

use std::collections::BTreeMap;

use edgepass_verify::policy::{OneOrMany, PolicyError, Profile, StatusMode, is_issuer_url};
use edgepass_verify::verifier::{JwksUri, KeySource, Verifier};
use edgepass_verify::{Policy, PolicyConfig};
use serde::Serialize;
use serde_json::Value;

/// A rule that trusts tokens of an outside issuer, such as the identity of a CI job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Federation {
    /// Name, unique in the policy and among the clients. It is the `client_id` of the tokens.
    pub name: String,
    /// The outside issuer: the `iss` of its tokens.
    pub issuer: String,
    /// The URL of its JWK Set. `None`: as its metadata say.
    pub jwks_uri: Option<String>,
    /// The conditions on the claims of its tokens, in the forms of
    /// [`ExpectedClaims`](edgepass_verify::policy::ExpectedClaims).
    pub claims: BTreeMap<String, Value>,
    /// The name of the role that such a token is exchanged for.
    pub role: String,
    /// Lifetime of the tokens, in seconds. At most the role's longest.
    pub lifetime: u64,
}

/// The reason why a rule gives no verifier.
#[derive(Debug, thiserror::Error)]
pub enum FederationError {
    /// A condition has another form than a policy's `expected_claims`.
    #[error("claims: {0}")]
    Claims(#[source] serde_json::Error),
    /// The issuer, the URL of its keys or a condition is not acceptable.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// Claims that name a workload for good: nobody can give another one the same value.
const IMMUTABLE: [&str; 5] = [
    // GitHub Actions
    "repository_id",
    // GitLab
    "project_id",
    // Kubernetes
    "/kubernetes.io/serviceaccount/uid",
    "/kubernetes.io/pod/uid",
    // Microsoft Entra ID
    "oid",
];

/// The starts of subjects that are names, which somebody else may get later: GitLab's, Kubernetes', and those
/// of GitHub, where a repository may choose the claims of which its subject is made.
const NAMES: [&str; 15] = [
    "repo:",
    "repository:",
    "repository_owner:",
    "repository_visibility:",
    "environment:",
    "job_workflow_ref:",
    "workflow:",
    "workflow_ref:",
    "ref:",
    "base_ref:",
    "head_ref:",
    "actor:",
    "context:",
    "project_path:",
    "system:serviceaccount:",
];

/// Whether an issuer's `sub` names a workload by names alone, or by claims that its users choose: GitHub, also on
/// a host of one's own, and GitLab.
fn names_by_names(issuer: &str) -> bool {
    issuer.starts_with("https://token.actions.githubusercontent.com")
        || issuer.ends_with("/_services/token")
        || issuer == "https://gitlab.com"
}

impl Federation {
    /// Whether a condition names one workload for good, by exact values.
    pub fn is_immutable(&self) -> bool {
        let exact = |value: &Value| {
            let fixed = |value: &Value| {
                value.is_number() || value.as_str().is_some_and(|text| !text.is_empty())
            };
            fixed(value)
                || value.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(fixed))
        };
        let is_name = |value: &Value| {
            let text = value.as_str().unwrap_or_default();
            NAMES.iter().any(|start| text.starts_with(start))
        };
        self.claims.iter().any(|(claim, value)| match claim.as_str() {
            "sub" => {
                !names_by_names(&self.issuer)
                    && exact(value)
                    && !value
                        .as_array()
                        .map_or_else(|| is_name(value), |all| all.iter().any(is_name))
            }
            claim => IMMUTABLE.contains(&claim) && exact(value),
        })
    }

    /// A verifier of the outside issuer's tokens, for the audience `audience`: this issuer.
    ///
    /// # Errors
    ///
    /// [`FederationError`].
    pub fn verifier(&self, audience: &str) -> Result<Verifier, FederationError> {
        let audience = OneOrMany::One(audience.to_owned());
        let mut config = PolicyConfig::new(self.issuer.clone(), audience);
        config.profile = Profile::Jwt;
        // Kubernetes writes none, GitHub `JWT`. The audience tells what a token is for.
        config.typ = Some(None);
        let claims = self.claims.clone().into_iter().collect();
        let claims = serde_json::from_value(Value::Object(claims));
        config.expected_claims = claims.map_err(FederationError::Claims)?;
        config.required_claims = Some(vec!["sub".to_owned()]);
        // An outside issuer may revoke its tokens, as an Edgepass issuer does. Without a URL of its own
        // it has no lists.
        let may_have_lists = is_issuer_url(&self.issuer) && !self.issuer.contains('{');
        config.status.mode = Some(match may_have_lists {
            true => StatusMode::WhenPresent,
            false => StatusMode::Ignore,
        });
        let keys = match &self.jwks_uri {
            None => KeySource::Discover,
            Some(url) => KeySource::Url(JwksUri::parse(url)?),
        };
        Ok(Verifier::new(Policy::try_from(config)?, keys)?)
    }
}
