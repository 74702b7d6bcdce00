//! The URL of a database on a server.

use zeroize::Zeroizing;

/// The URL of a PostgreSQL database. It may hold a password: it has no `Debug`, and two are compared only to see
/// whether the configuration was changed.
#[derive(Clone, Eq, PartialEq)]
pub struct DatabaseUrl(Zeroizing<String>);

impl DatabaseUrl {
    /// `None`: the text is no URL of PostgreSQL.
    pub fn new(text: String) -> Option<Self> {
        let text = Zeroizing::new(text);
        let is_known = |scheme: &str| text.starts_with(scheme);
        (is_known("postgres://") || is_known("postgresql://")).then_some(Self(text))
    }

    /// Whether it holds a password.
    pub fn has_password(&self) -> bool {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
        user.contains(':') || rest.contains("password=")
    }

    /// The URL, with its password.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_seen_wherever_it_stands() {
        for (text, expected) in [
            ("postgres://edgepass@db.example:5432/issuer", Some(false)),
            ("postgresql:///issuer?host=/run/postgresql", Some(false)),
            ("postgres://edgepass:secret@db.example/issuer", Some(true)),
            ("postgres://db.example/issuer?user=a&password=secret", Some(true)),
            ("edgepass.db", None),
        ] {
            let url = DatabaseUrl::new(text.to_owned());
            assert_eq!(url.map(|url| url.has_password()), expected, "{text}");
        }
    }
}
