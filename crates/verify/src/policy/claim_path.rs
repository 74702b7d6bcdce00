//! Where a policy finds a claim: a name, a path of names, or a JSON Pointer.

use edgepass_jose::ClaimsSet;
use edgepass_jose::claims::{ClaimError, ClaimName};
use edgepass_jose::flat::ValueRef;

/// The place of a claim.
///
/// * `scope` names a member of the claims.
/// * `realm_access.roles` names a member inside another. A name may hold dots itself, as in
///   `https://app.example/roles`. The token must leave one reading: if several exist in it, the
///   claim is invalid.
/// * `/kubernetes.io/namespace` is a JSON Pointer through objects, and has one reading in any token.
///
/// Source: [RFC 6901](https://www.rfc-editor.org/rfc/rfc6901).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ClaimPath {
    written: ClaimName,
    form: Form,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Form {
    Name,
    /// Names with dots between them.
    Dots,
    Pointer(Vec<String>),
}

/// The maximum number of dots, or of slashes of a pointer.
const MAX_SEPARATORS: usize = 15;

impl ClaimPath {
    /// Reads a path. `None` if it is empty, is too long, or holds a quote, a backslash or a
    /// character other than visible ASCII: challenges repeat it (RFC 6750 §3).
    pub(crate) fn parse(written: ClaimName) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
        let count = |separator: u8| written.bytes().filter(|byte| *byte == separator).count();
        if written.is_empty() || !written.bytes().all(plain) || count(b'.') > MAX_SEPARATORS {
            return None;
        }
        let form = match written.strip_prefix('/') {
            Some(_) if count(b'/') > MAX_SEPARATORS => return None,
            // RFC 6901 §3: `~1` first, so that `~01` becomes `~1`.
            Some(names) => Form::Pointer(
                names.split('/').map(|name| name.replace("~1", "/").replace("~0", "~")).collect(),
            ),
            None if written.contains('.') => Form::Dots,
            None => Form::Name,
        };
        Some(Self { written, form })
    }

    /// Finds the claim. `None` if it is absent.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Invalid`] if the token has several readings of the path.
    #[inline(always)]
    pub(crate) fn get<'c>(
        &self,
        claims: &'c ClaimsSet,
    ) -> Result<Option<ValueRef<'c>>, ClaimError> {
        match &self.form {
            // Nearly every claim of every token.
            Form::Name => Ok(claims.get(&self.written)),
            Form::Pointer(names) => Ok(at_pointer(names, claims)),
            Form::Dots => self.at_dots(claims),
        }
    }

    #[inline(never)]
    fn at_dots<'c>(&self, claims: &'c ClaimsSet) -> Result<Option<ValueRef<'c>>, ClaimError> {
        let (mut found, mut readings) = (None, 0);
        read(claims.root(), &self.written, &mut found, &mut readings);
        if readings > 1 { Err(self.invalid()) } else { Ok(found) }
    }

    /// Whether the claim is one that RFC 7519 and RFC 9068 define as a string.
    pub(crate) fn is_of_text(&self) -> bool {
        ["sub", "client_id", "jti"].contains(&&*self.written)
    }

    pub(crate) fn missing(&self) -> ClaimError {
        ClaimError::Missing(self.written.clone())
    }

    pub(crate) fn invalid(&self) -> ClaimError {
        ClaimError::Invalid(self.written.clone())
    }
}

#[inline(never)]
fn at_pointer<'c>(names: &[String], claims: &'c ClaimsSet) -> Option<ValueRef<'c>> {
    names.iter().try_fold(claims.root(), |value, name| value.get(name))
}

/// Counts the readings of `path` below `value`, and gives the last one.
fn read<'c>(
    value: ValueRef<'c>,
    path: &str,
    found: &mut Option<ValueRef<'c>>,
    readings: &mut usize,
) {
    if let Some(whole) = value.get(path) {
        *found = Some(whole);
        *readings = readings.saturating_add(1);
    }
    for (at, _) in path.match_indices('.') {
        // Two readings are as bad as more.
        if *readings > 1 {
            return;
        }
        let (name, rest) = path.split_at(at);
        if let (Some(inner), Some(rest)) = (value.get(name), rest.strip_prefix('.')) {
            read(inner, rest, found, readings);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str, claims: &str) -> Result<Option<String>, ClaimError> {
        let claims = ClaimsSet::parse(claims.as_bytes()).unwrap();
        let found = ClaimPath::parse(path.to_owned().into()).unwrap().get(&claims)?;
        Ok(found.map(|value| value.to_value().to_string()))
    }

    #[test]
    fn a_path_has_one_reading() {
        let found = |text: &str| Ok(Some(text.to_owned()));
        for (path, claims, expected) in [
            ("a", r#"{"a":1}"#, found("1")),
            ("a", r#"{"b":1}"#, Ok(None)),
            ("a.b", r#"{"a":{"b":1}}"#, found("1")),
            ("a.b", r#"{"a.b":1}"#, found("1")),
            ("a.b", r#"{"a":{"c":1}}"#, Ok(None)),
            ("a.b", r#"{"a":["b"]}"#, Ok(None)),
            ("a.b", r#"{"a":{"b":1},"a.b":1}"#, Err(())),
            ("a.b.c", r#"{"a.b":{"c":1}}"#, found("1")),
            ("a.b.c", r#"{"a":{"b.c":1}}"#, found("1")),
            ("a.b.c", r#"{"a":{"b":{"c":1}}}"#, found("1")),
            ("a.b.c", r#"{"a":{"b":{"c":1},"b.c":2}}"#, Err(())),
            ("a.b.c", r#"{"a.b":{"c":1},"a":{"b":{"d":2}}}"#, found("1")),
            ("a..b", r#"{"a":{"":{"b":1}}}"#, found("1")),
            ("kubernetes.io.namespace", r#"{"kubernetes.io":{"namespace":"n"}}"#, found("\"n\"")),
            ("https://a.example/roles", r#"{"https://a.example/roles":[]}"#, found("[]")),
            ("/kubernetes.io/namespace", r#"{"kubernetes.io":{"namespace":1}}"#, found("1")),
            ("/a.b", r#"{"a":{"b":1},"a.b":2}"#, found("2")),
            ("/a/b", r#"{"a":{"b":1},"a.b":2}"#, found("1")),
            ("/a~1b/c~0d/e~01", r#"{"a/b":{"c~d":{"e~1":1}}}"#, found("1")),
            ("/", r#"{"":1}"#, found("1")),
            ("/a/0", r#"{"a":[1]}"#, Ok(None)),
            ("/a/b/c", r#"{"a":{"b":null}}"#, Ok(None)),
        ] {
            let expected = expected.map_err(|()| ClaimError::invalid(path));
            assert_eq!(get(path, claims), expected, "{path} in {claims}");
        }
    }

    #[test]
    fn a_path_is_short_and_can_be_quoted_in_a_challenge() {
        let parse = |text: &str| ClaimPath::parse(text.to_owned().into());
        for text in ["", "a b", "a\"b", "a\\b", "ä", "a\u{7f}", &".".repeat(16), &"/".repeat(16)] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert!(parse(&"a.".repeat(15)).is_some() && parse(&"/a".repeat(15)).is_some());
        // A token with every reading of a long path is judged as fast as another.
        let deep = (0..13).fold("1".to_owned(), |inner, _| format!("{{\"a\":{inner}}}"));
        let claims = format!("{{\"a\":{deep},\"a.a\":{deep}}}");
        let path = ["a"; 14].join(".");
        assert_eq!(get(&path, &claims), Err(ClaimError::invalid(&path)));
    }
}
