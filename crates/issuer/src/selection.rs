//! What becomes of statuses, and of which tokens.

use serde::{Deserialize, Serialize};

use crate::token_facts::TokenFacts;

/// What becomes of a status.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusChange {
    /// The token is revoked, for good.
    Revoke,
    /// The token is suspended: refused until it is resumed.
    Suspend,
    /// A suspended token is valid again.
    Resume,
}

impl StatusChange {
    /// Its name, as stored and as written in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
        }
    }

    /// The change called `name`.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Revoke, Self::Suspend, Self::Resume].into_iter().find(|one| one.name() == name)
    }
}

/// Which tokens are meant. Only those count that some verifier may still accept: the leeway of
/// verifiers is five minutes at most.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// Exactly these, by `jti`.
    JwtIds(Vec<String>),
    /// Every one that fits.
    Fitting(Filter),
}

/// What tokens have in common; each member that is there must fit.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// The role's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// `client_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// `sub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// `kid` of the key that signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// `iat` is before this second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_before: Option<u64>,
}

/// The most tokens that one selection names by `jti`.
pub const MAX_JWT_IDS: usize = 100_000;

/// Why something selects no tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SelectionError {
    /// It would select every token there is.
    #[error("nothing is selected; to mean every token, select those issued before now")]
    Empty,
    /// Tokens are named one by one and by what they have in common.
    #[error("select tokens either by jti or by what they have in common")]
    Both,
    /// A name is empty: whatever wrote it meant another.
    #[error("an empty name selects nothing")]
    Nameless,
    /// More `jti` than [`MAX_JWT_IDS`].
    #[error("at most {MAX_JWT_IDS} tokens can be named at once")]
    TooMany,
}

impl Selection {
    /// A selection by names or by a filter: exactly one of the two.
    ///
    /// # Errors
    ///
    /// [`SelectionError`].
    pub fn new(jwt_ids: Vec<String>, filter: Filter) -> Result<Self, SelectionError> {
        let names = [&filter.role, &filter.client_id, &filter.subject, &filter.key_id];
        if names.into_iter().flatten().chain(&jwt_ids).any(String::is_empty) {
            return Err(SelectionError::Nameless);
        }
        match (jwt_ids.len(), filter == Filter::default()) {
            (0, true) => Err(SelectionError::Empty),
            (0, false) => Ok(Self::Fitting(filter)),
            (_, false) => Err(SelectionError::Both),
            (count, true) if count > MAX_JWT_IDS => Err(SelectionError::TooMany),
            (_, true) => Ok(Self::JwtIds(jwt_ids)),
        }
    }

    /// Whether a token about to be recorded would be selected.
    pub fn includes(&self, token: &TokenFacts) -> bool {
        let fits = |wanted: &Option<String>, own: &str| wanted.as_deref().is_none_or(|w| w == own);
        match self {
            Self::JwtIds(jwt_ids) => jwt_ids.contains(&token.jwt_id),
            Self::Fitting(filter) => {
                fits(&filter.role, &token.role)
                    && fits(&filter.client_id, &token.client_id)
                    && fits(&filter.subject, &token.subject)
                    && fits(&filter.key_id, &token.key_id)
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
