//! `[[approval]]`: which roles need an approved request, who may ask and who decides.

use regex_lite::Regex;
use serde::Serialize;

/// A rule of the policy about roles that need an approved request.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ApprovalRule {
    /// Name, unique in the policy.
    pub name: String,
    /// The roles. A role is in one rule at most.
    pub roles: Vec<String>,
    /// Who may ask: `subject:`, `client:` or `cli:` with a name as the audit trail has it, or `role:` with
    /// the role of the token that authorizes the request. A [`Federation`](crate::policy::federation::Federation)
    /// gives that role to the members of a group of an outside issuer.
    pub may_ask: Vec<String>,
    /// Who may approve and deny, written the same way.
    pub may_approve: Vec<String>,
    /// Who may have access without an approval. Empty: nobody.
    pub may_break_glass: Vec<String>,
    /// How many approve.
    pub approvals: u32,
    /// How many deny.
    pub denials: u32,
    /// A regular expression that the whole reason must fit. `None`: any reason that is not empty.
    pub reason: Option<String>,
    /// A regular expression that the whole ticket must fit. `None`: a ticket is optional.
    pub ticket: Option<String>,
    /// The longest access, in seconds.
    pub longest: u64,
    /// How far ahead access may begin, in seconds.
    pub start_within: u64,
    /// The e-mail addresses that are told of requests.
    pub tell: Vec<String>,
}

/// Who does something: what the audit trail calls them, and the role of the token that authorizes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Party {
    /// `subject:`, `client:` or `cli:` with a name.
    pub name: String,
    /// The role of the token. `None`: no token was needed, on the machine of the issuer.
    pub role: Option<String>,
}

impl Party {
    /// Whether this party is one of those that a rule names.
    pub fn is_among(&self, parties: &[String]) -> bool {
        parties.iter().any(|party| match (party.strip_prefix("role:"), &self.role) {
            (Some(role), Some(own)) => role == own,
            (Some(_), None) => false,
            (None, _) => *party == self.name,
        })
    }
}

/// Whether a text is one of the parties of a rule.
pub fn is_party(text: &str) -> bool {
    let named = ["subject:", "client:", "cli:", "role:"].iter();
    named.filter_map(|kind| text.strip_prefix(kind)).any(|name| !name.is_empty())
}

/// A pattern for a whole text. `None`: it is no regular expression.
pub fn whole(pattern: &str) -> Option<Regex> {
    // Alone first: parentheses that do not match would end the group.
    Regex::new(pattern).ok()?;
    Regex::new(&format!("^(?:{pattern})$")).ok()
}

/// Whether a text fits a pattern as a whole. Nothing fits what is no pattern.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    whole(pattern).is_some_and(|pattern| pattern.is_match(text))
}
