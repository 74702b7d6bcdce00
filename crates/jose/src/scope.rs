//! The scope of a token: a set of case-sensitive scope tokens.

use std::collections::BTreeSet;
use std::fmt;

/// A set of scope tokens (RFC 6749 §3.3), held as a `scope` value: sorted, separated by one space.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Scope(String);

/// The error for a text that is not a list of scope tokens, or for a scope token that is empty or
/// has a forbidden character.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a scope token holds only visible ASCII without '\"' and '\\'")]
pub struct NotAScope;

impl Scope {
    /// Parses a `scope` value: scope tokens with exactly one space between them.
    ///
    /// # Errors
    ///
    /// [`NotAScope`] for an empty text, doubled, leading or trailing spaces, control characters
    /// (tabs too), characters outside ASCII, `"` or `\`.
    ///
    /// Source: [RFC 6749 §3.3](https://www.rfc-editor.org/rfc/rfc6749#section-3.3).
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_jose::Scope;
    ///
    /// let granted = Scope::parse("b:write a:read")?;
    /// assert_eq!(granted.to_string(), "a:read b:write");
    /// assert!(granted.contains("a:read") && !granted.contains("A:read"));
    /// let required = Scope::parse("a:read c:read")?;
    /// assert_eq!(required.missing_in(&granted).to_string(), "c:read");
    /// # Ok::<(), edgepass_jose::scope::NotAScope>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, NotAScope> {
        // Most values are already sorted and without duplicates, and can be copied.
        let kept =
            text.split(' ').all(is_scope_token) && text.split(' ').is_sorted_by(|a, b| a < b);
        if kept { Ok(Self(text.to_owned())) } else { Self::of(text.split(' ')) }
    }

    fn of<'t>(tokens: impl Iterator<Item = &'t str>) -> Result<Self, NotAScope> {
        // `collect` would add a sort routine to every Wasm module; inserting one by one does not.
        let mut sorted = BTreeSet::new();
        for token in tokens {
            if !is_scope_token(token) {
                return Err(NotAScope);
            }
            sorted.insert(token);
        }
        Ok(Self(Vec::from_iter(sorted).join(" ")))
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `token` is in the set. The comparison is exact.
    pub fn contains(&self, token: &str) -> bool {
        self.iter().any(|own| own == token)
    }

    /// Iterates over the tokens in sorted order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ').filter(|token| !token.is_empty())
    }

    /// Returns the tokens of this set that `other` lacks.
    pub fn missing_in(&self, other: &Self) -> Self {
        let missing: Vec<&str> = self.iter().filter(|token| !other.contains(token)).collect();
        Self(missing.join(" "))
    }

    /// Whether the sets have at least one token in common.
    pub fn intersects(&self, other: &Self) -> bool {
        self.iter().any(|token| other.contains(token))
    }
}

impl TryFrom<Vec<String>> for Scope {
    type Error = NotAScope;

    fn try_from(tokens: Vec<String>) -> Result<Self, NotAScope> {
        Self::of(tokens.iter().map(String::as_str))
    }
}

/// Writes the `scope` value: sorted, one space between tokens.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `scope-token = 1*( %x21 / %x23-5B / %x5D-7E )`
fn is_scope_token(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_single_spaces_between_visible_tokens() {
        for text in ["", " ", "a ", " a", "a  b", "a\tb", "a\nb", "a\"b", "a\\b", "ä", "a\0"] {
            assert_eq!(Scope::parse(text), Err(NotAScope), "{text:?}");
        }
        let scope = Scope::parse("b:write a:read").unwrap();
        assert_eq!(scope.to_string(), "a:read b:write");
        assert_eq!(Scope::parse("a:read b:write b:write a:read"), Ok(scope.clone()));
        assert_eq!(Scope::parse("a:read b:write"), Ok(scope.clone()));
        assert!(scope.contains("a:read"));
        for near in ["a:rea", "A:read", "a:read ", "a"] {
            assert!(!scope.contains(near), "{near:?}");
        }
    }
}
