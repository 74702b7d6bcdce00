//! The scope of a token: a set of case-sensitive scope tokens.

use std::collections::BTreeSet;
use std::fmt;

/// A set of scope tokens (RFC 6749 §3.3), and of other names that a token grants: role names in an
/// array may hold any character.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Scope {
    /// The scope tokens, as a `scope` value: sorted, separated by one space.
    tokens: String,
    /// The other names, sorted.
    names: Vec<String>,
}

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
        if kept {
            return Ok(Self { tokens: text.to_owned(), names: Vec::new() });
        }
        Self::of(text.split(' '))
    }

    fn of<'t>(mut tokens: impl Iterator<Item = &'t str> + Clone) -> Result<Self, NotAScope> {
        if tokens.clone().all(is_scope_token) {
            Ok(Self::of_names(&mut tokens))
        } else {
            Err(NotAScope)
        }
    }

    fn of_names(names: &mut dyn Iterator<Item = &str>) -> Self {
        // `collect` would add a sort routine to every Wasm module; inserting one by one does not.
        let mut sorted = BTreeSet::new();
        for name in names {
            sorted.insert(name);
        }
        let mut scope = Self::default();
        for name in sorted {
            if !is_scope_token(name) {
                scope.names.push(name.to_owned());
                continue;
            }
            if !scope.tokens.is_empty() {
                scope.tokens.push(' ');
            }
            scope.tokens.push_str(name);
        }
        scope.names.retain(|name| !name.is_empty());
        scope
    }

    /// Whether the set holds only scope tokens.
    pub fn is_of_tokens(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.names.is_empty()
    }

    /// Whether `name` is in the set. The comparison is exact.
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|own| own == name)
    }

    /// Iterates over the scope tokens in sorted order, then over the other names.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let tokens = self.tokens.split(' ').filter(|token| !token.is_empty());
        tokens.chain(self.names.iter().map(String::as_str))
    }

    /// Returns the names of this set that `other` lacks.
    pub fn missing_in(&self, other: &Self) -> Self {
        let mut missing = self.iter().filter(|name| !other.contains(name)).peekable();
        if missing.peek().is_none() { Self::default() } else { missing.collect() }
    }

    /// Whether the sets have at least one name in common.
    pub fn intersects(&self, other: &Self) -> bool {
        self.iter().any(|name| other.contains(name))
    }
}

/// Takes names, scope tokens or not. Ignores empty ones.
impl<'t> FromIterator<&'t str> for Scope {
    fn from_iter<I: IntoIterator<Item = &'t str>>(names: I) -> Self {
        Self::of_names(&mut names.into_iter())
    }
}

impl TryFrom<Vec<String>> for Scope {
    type Error = NotAScope;

    fn try_from(tokens: Vec<String>) -> Result<Self, NotAScope> {
        Self::of(tokens.iter().map(String::as_str))
    }
}

/// Writes the `scope` value: the scope tokens, sorted, with one space between them. Leaves out the
/// other names, which such a value cannot hold.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tokens)
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

    #[test]
    fn other_names_are_granted_beside_scope_tokens() {
        let names = ["Invoice Reader", "b", "Prüfer", "a", "", "c\td", "b", "Invoice Reader", "aa"];
        let scope: Scope = names.into_iter().collect();
        assert_eq!(scope.to_string(), "a aa b");
        let all: Vec<&str> = scope.iter().collect();
        assert_eq!(all, ["a", "aa", "b", "Invoice Reader", "Prüfer", "c\td"]);
        assert!(scope.contains("Prüfer") && !scope.contains("Invoice") && !scope.contains(""));
        let required: Scope = ["aa", "Invoice Reader", "Auditor X"].into_iter().collect();
        let missing = required.missing_in(&scope);
        assert_eq!((missing.to_string().as_str(), missing.is_empty()), ("", false));
        assert!(missing.contains("Auditor X") && required.intersects(&scope));
    }
}
