//! Status changes, and the tokens that they apply to.

use edgepass_status_list::StatusType;
use serde::{Deserialize, Serialize};

use crate::token_facts::TokenFacts;

/// The change that an act makes to statuses.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusChange {
    /// The token is revoked for good.
    Revoke,
    /// The token is suspended: refused until it is resumed.
    Suspend,
    /// A suspended token becomes valid again.
    Resume,
}

impl StatusChange {
    /// The name of the change, as stored and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
        }
    }

    /// The status of a token after the change.
    pub fn status(self) -> StatusType {
        match self {
            Self::Revoke => StatusType::Invalid,
            Self::Suspend => StatusType::Suspended,
            Self::Resume => StatusType::Valid,
        }
    }

    /// Finds a change by its name. `None`: no change has this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Revoke, Self::Suspend, Self::Resume].into_iter().find(|one| one.name() == name)
    }
}

/// The tokens that an act applies to. Tokens that expired five minutes ago or earlier are left out:
/// five minutes is the longest leeway of a verifier.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// The tokens with these `jti`.
    JwtIds(Vec<String>),
    /// All tokens that match the filter.
    Fitting(Filter),
}

/// Conditions on tokens. A token must meet all conditions that are set.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// The name of the token's role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The claim `client_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The claim `sub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// `kid` of the key that signed the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// `id` of the agreement under which the token is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<String>,
    /// The name of the request for access under which the token was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// `iat` is less than this time, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_before: Option<u64>,
}

/// The largest number of tokens that one selection can name by `jti`.
pub const MAX_JWT_IDS: usize = 100_000;

/// The longest name of a selection, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 1024;

/// The reason why a selection is not valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SelectionError {
    /// Neither `jti` nor conditions of a filter are given. This would select every token.
    #[error("nothing is selected; to select every token, select those issued before now")]
    Empty,
    /// Both `jti` and conditions of a filter are given.
    #[error("select tokens either by jti or by a filter, not by both")]
    Both,
    /// A `jti`, or a condition's text, is empty, probably by mistake.
    #[error("an empty name selects nothing")]
    Nameless,
    /// A `jti`, or a condition's text, is longer than 1,024 bytes. No token has such a name, and the audit
    /// trail would keep it.
    #[error("a name has at most 1024 bytes")]
    TooLong,
    /// More `jti` than [`MAX_JWT_IDS`].
    #[error("at most {MAX_JWT_IDS} tokens can be named at once")]
    TooMany,
}

impl Selection {
    /// The `jti` of the token, if the selection names exactly one.
    pub fn single_jwt_id(&self) -> Option<&str> {
        let Self::JwtIds(ids) = self else { return None };
        match ids.as_slice() {
            [id] => Some(id),
            _ => None,
        }
    }

    /// Creates a selection from `jti` or from a filter, exactly one of the two.
    ///
    /// # Errors
    ///
    /// [`SelectionError`].
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_issuer::selection::{Filter, Selection, SelectionError};
    ///
    /// let filter = Filter { role: Some("reader".to_owned()), ..Filter::default() };
    /// let selection = Selection::new(vec![], filter.clone());
    /// assert_eq!(selection, Ok(Selection::Fitting(filter.clone())));
    /// assert_eq!(Selection::new(vec!["a1".to_owned()], filter), Err(SelectionError::Both));
    /// assert_eq!(Selection::new(vec![], Filter::default()), Err(SelectionError::Empty));
    /// ```
    pub fn new(jwt_ids: Vec<String>, filter: Filter) -> Result<Self, SelectionError> {
        let Filter { role, client_id, subject, key_id, agreement, grant, .. } = &filter;
        let names = [role, client_id, subject, key_id, agreement, grant];
        for name in names.into_iter().flatten().chain(&jwt_ids) {
            match name.len() {
                0 => return Err(SelectionError::Nameless),
                1..=MAX_NAME_BYTES => {}
                _ => return Err(SelectionError::TooLong),
            }
        }
        match (jwt_ids.len(), filter == Filter::default()) {
            (0, true) => Err(SelectionError::Empty),
            (0, false) => Ok(Self::Fitting(filter)),
            (_, false) => Err(SelectionError::Both),
            (count, true) if count > MAX_JWT_IDS => Err(SelectionError::TooMany),
            (_, true) => Ok(Self::JwtIds(jwt_ids)),
        }
    }

    /// Whether the selection includes a token that is about to be recorded. Does not compare `exp`.
    pub fn includes(&self, token: &TokenFacts) -> bool {
        let fits = |wanted: &Option<String>, own: &str| wanted.as_deref().is_none_or(|w| w == own);
        match self {
            Self::JwtIds(jwt_ids) => jwt_ids.contains(&token.jwt_id),
            Self::Fitting(filter) => {
                fits(&filter.role, &token.role)
                    && fits(&filter.client_id, &token.client_id)
                    && fits(&filter.subject, &token.subject)
                    && fits(&filter.key_id, &token.key_id)
                    && fits(&filter.agreement, token.agreement.as_deref().unwrap_or_default())
                    && fits(&filter.grant, token.grant.as_deref().unwrap_or_default())
                    && filter.issued_before.is_none_or(|before| token.issued_at < before)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> TokenFacts {
        TokenFacts {
            jwt_id: "t".into(),
            role: "reader".into(),
            client_id: "c".into(),
            subject: "s".into(),
            audience: "a".into(),
            scope: "a:read".into(),
            key_id: "k".into(),
            created_by: "cli:test".into(),
            policy: None,
            agreement: None,
            grant: None,
            parent: None,
            confirmation: None,
            issued_at: 100,
            expiration: 700,
        }
    }

    #[test]
    fn every_member_of_a_filter_must_fit() {
        let text = |text: &str| Some(text.to_owned());
        let none = Filter::default;
        for (filter, expected) in [
            (Filter { role: text("reader"), ..none() }, true),
            (Filter { role: text("writer"), ..none() }, false),
            (Filter { client_id: text("c"), subject: text("s"), ..none() }, true),
            (Filter { client_id: text("c"), subject: text("x"), ..none() }, false),
            (Filter { key_id: text("k"), ..none() }, true),
            (Filter { key_id: text("x"), ..none() }, false),
            (Filter { agreement: text("dpa"), ..none() }, false),
            (Filter { issued_before: Some(101), ..none() }, true),
            (Filter { issued_before: Some(100), ..none() }, false),
        ] {
            assert_eq!(
                Selection::Fitting(filter.clone()).includes(&token()),
                expected,
                "{filter:?}"
            );
        }
    }

    #[test]
    fn a_selection_is_by_names_or_by_a_filter() {
        let filter = || Filter { role: Some("reader".into()), ..Filter::default() };
        let names = || vec!["t".to_owned()];
        assert_eq!(Selection::new(vec![], Filter::default()), Err(SelectionError::Empty));
        assert_eq!(Selection::new(names(), filter()), Err(SelectionError::Both));
        assert!(Selection::new(names(), Filter::default()).unwrap().includes(&token()));
        let empty = Filter { client_id: Some(String::new()), ..Filter::default() };
        assert_eq!(Selection::new(vec![], empty), Err(SelectionError::Nameless));
        assert_eq!(
            Selection::new(vec![String::new()], Filter::default()),
            Err(SelectionError::Nameless)
        );
        let many = vec!["t".to_owned(); MAX_JWT_IDS + 1];
        assert_eq!(Selection::new(many, Filter::default()), Err(SelectionError::TooMany));
    }
}
