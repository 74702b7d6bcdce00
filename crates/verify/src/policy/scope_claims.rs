//! The claims that grant scope: which, and what each name in them grants.

use edgepass_jose::claims::ClaimError;
use edgepass_jose::{ClaimsSet, Scope};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::PolicyError;
use super::claim_path::ClaimPath;

/// The claims that grant scope, as written: one or an array of
/// - the path of a claim, such as `"scp"` or `"realm_access.roles"`,
/// - an object such as `{"claim": "roles", "prefix": "role:"}` or
///   `{"claim": "roles", "map": {"Invoice Reader": ["invoices:read"]}}`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScopeClaims(pub Vec<ScopeClaim>);

/// A claim that grants scope, as written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ScopeClaim {
    /// The path of the claim: a string, or an array of names.
    pub claim: String,
    /// Whether a string is a `scope` value: scope tokens, separated by spaces. Otherwise it is one
    /// name. Default: if the path ends in `scope`, `scopes` or `scp`.
    pub split: Option<bool>,
    /// The text that is put before each name. Default: none.
    pub prefix: Option<String>,
    /// The scope tokens that each name grants. A name that is not in it grants nothing. Default:
    /// each name grants itself.
    pub map: Option<Vec<(String, Vec<String>)>>,
}

/// The rule for one claim that grants scope.
#[derive(Clone, Debug)]
pub(crate) struct ScopeRule {
    pub(crate) path: ClaimPath,
    /// Whether an array is accepted as well as a string.
    pub(crate) may_be_array: bool,
    /// Whether a string is a `scope` value, and not one name.
    pub(crate) splits: bool,
    pub(crate) grants: Grants,
}

/// What a name in a claim grants.
#[derive(Clone, Debug)]
pub(crate) enum Grants {
    Itself,
    WithPrefix(String),
    ByMap(Vec<(String, Vec<String>)>),
}

/// The scope that claims grant by these rules.
///
/// A claim that is absent or `null` grants nothing, nor does a `scope` value outside its grammar. Of
/// an array each item is judged by itself: one that is no string grants nothing.
///
/// # Errors
///
/// A claim has another type.
pub(crate) fn granted(claims: &ClaimsSet, rules: &[ScopeRule]) -> Result<Scope, ClaimError> {
    let mut names = Vec::new();
    for rule in rules {
        let Some(value) = rule.path.get(claims)? else { continue };
        match (value.as_str(), value.as_array()) {
            (Some(name), _) if !rule.splits => rule.grants.add(name, &mut names),
            (Some(text), _) => {
                let scope = Scope::parse(text).unwrap_or_default();
                if let ([_], Grants::Itself) = (rules, &rule.grants) {
                    return Ok(scope);
                }
                scope.iter().for_each(|name| rule.grants.add(name, &mut names));
            }
            (None, Some(items)) if rule.may_be_array => {
                let found = items.filter_map(|item| item.as_str());
                found.for_each(|name| rule.grants.add(name, &mut names));
            }
            (None, _) if value.is_null() && rule.may_be_array => {}
            (None, _) => return Err(rule.path.invalid()),
        }
    }
    Ok(names.iter().map(String::as_str).collect())
}

impl From<String> for ScopeClaim {
    fn from(claim: String) -> Self {
        Self { claim, ..Self::default() }
    }
}

impl TryFrom<ScopeClaim> for ScopeRule {
    type Error = PolicyError;

    fn try_from(written: ScopeClaim) -> Result<Self, PolicyError> {
        let claim = written.claim.to_ascii_lowercase();
        let is_scope = || ["scope", "scopes", "scp"].iter().any(|end| claim.ends_with(end));
        let splits = written.split.unwrap_or_else(is_scope);
        let path = ClaimPath::parse(written.claim.into()).ok_or(PolicyError::ClaimNameInvalid)?;
        let grants = match (written.prefix, written.map) {
            (None, None) => Grants::Itself,
            (Some(prefix), None) if Scope::try_from(vec![prefix.clone()]).is_ok() => {
                Grants::WithPrefix(prefix)
            }
            (None, Some(map)) if !map.is_empty() => {
                for (_, scope) in &map {
                    if scope.is_empty() || Scope::try_from(scope.clone()).is_err() {
                        return Err(PolicyError::ScopeClaim);
                    }
                }
                Grants::ByMap(map)
            }
            _ => return Err(PolicyError::ScopeClaim),
        };
        Ok(Self { path, may_be_array: true, splits, grants })
    }
}

impl Grants {
    /// Adds what a name in the claim grants.
    fn add(&self, name: &str, names: &mut Vec<String>) {
        match self {
            Self::Itself => names.push(name.to_owned()),
            Self::WithPrefix(prefix) => names.push([prefix, name].concat()),
            Self::ByMap(map) => {
                for (_, scope) in map.iter().filter(|(own, _)| own == name) {
                    names.extend_from_slice(scope);
                }
            }
        }
    }
}

/// What may be written. Repeats nothing of the input.
const FORMS: &str =
    "a claim, an object with claim, split, and either prefix or map, or an array of these";

/// Reads a claim. `None` if it has another form.
fn read(written: Value) -> Option<ScopeClaim> {
    let members = match written {
        Value::String(claim) => return Some(claim.into()),
        Value::Object(members) => members,
        _ => return None,
    };
    let (mut read, mut has_claim) = (ScopeClaim::default(), false);
    for (name, value) in members {
        match (name.as_str(), value) {
            ("claim", Value::String(claim)) => (read.claim, has_claim) = (claim, true),
            ("split", Value::Bool(split)) => read.split = Some(split),
            ("prefix", Value::String(prefix)) => read.prefix = Some(prefix),
            ("map", Value::Object(map)) => {
                let mut grants = Vec::new();
                for (name, scope) in map {
                    grants.push((name, texts(scope)?));
                }
                read.map = Some(grants);
            }
            _ => return None,
        }
    }
    has_claim.then_some(read)
}

/// Reads one text or an array of texts.
fn texts(written: Value) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    for value in one_or_many(written) {
        match value {
            Value::String(text) => texts.push(text),
            _ => return None,
        }
    }
    Some(texts)
}

/// The items of an array, or the value itself.
pub(super) fn one_or_many(written: Value) -> Vec<Value> {
    match written {
        Value::Array(items) => items,
        value => vec![value],
    }
}

impl<'de> Deserialize<'de> for ScopeClaims {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let mut claims = Vec::new();
        for written in one_or_many(Value::deserialize(input)?) {
            let claim = read(written);
            claims.push(claim.ok_or_else(|| D::Error::custom(["expected ", FORMS].concat()))?);
        }
        Ok(Self(claims))
    }
}
