//! The URL of a PostgreSQL database.

use std::fmt;
use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// A URL that was checked. It may hold a password, so it is never shown.
#[derive(Clone)]
pub struct PostgresUrl {
    options: PgConnectOptions,
    /// Whether a connection stays the same, so that it is told of commits.
    listens: bool,
}

/// The parameter that says so. It is not PostgreSQL's.
const LISTEN: &str = "listen=true";

/// The parameters that have an effect.
const PARAMETERS: [&str; 14] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "port",
    "user",
    "password",
    "dbname",
];

/// The reason why a URL is refused.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UrlError {
    /// It is not a URL of the form that PostgreSQL has.
    #[error("it is not postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    Malformed,
    /// It does not name the database.
    #[error("it does not name a database after the host")]
    NoDatabase,
    /// It has a parameter that has no effect.
    #[error(
        "of parameters it may have sslmode, sslrootcert, sslcert, sslkey, host, port, user, password, dbname \
         and listen=true"
    )]
    Parameter,
    /// It names several hosts.
    #[error("it names several hosts; name one, such as that of a pooler or a balancer")]
    Hosts,
    /// Another host is reached without a check of its certificate.
    #[error(
        "add ?sslmode=verify-full: the database is on another host, which must prove who it is"
    )]
    NotVerified,
}

impl PostgresUrl {
    /// Checks a URL. A database on another host must be reached with `sslmode=verify-full`. Its certificate is
    /// checked with the file `sslrootcert` if the URL names one, else with the public authorities. With
    /// `listen=true` a connection waits for the commits of other processes: not through a pooler, which would
    /// send what it is told to other connections.
    ///
    /// # Errors
    ///
    /// [`UrlError`].
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(UrlError::Malformed);
        }
        let (base, parameters) = text.split_once('?').unwrap_or((text, ""));
        let (own, others): (Vec<&str>, Vec<&str>) =
            parameters.split('&').partition(|parameter| *parameter == LISTEN);
        let is_known = |parameter: &&str| {
            let name = parameter.split_once('=').map_or(*parameter, |(name, _)| name);
            name.is_empty() || PARAMETERS.contains(&name)
        };
        if !others.iter().all(is_known) {
            return Err(UrlError::Parameter);
        }
        let text = format!("{base}?{}", others.join("&"));
        // The source may quote the URL.
        let options = PgConnectOptions::from_str(&text).map_err(|_| UrlError::Malformed)?;
        if options.get_database().is_none_or(str::is_empty) {
            return Err(UrlError::NoDatabase);
        }
        let host = options.get_host();
        if host.contains(',') {
            return Err(UrlError::Hosts);
        }
        let is_here = options.get_socket().is_some()
            || host.starts_with('/')
            || host == "localhost"
            || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
        if !is_here && !matches!(options.get_ssl_mode(), PgSslMode::VerifyFull) {
            return Err(UrlError::NotVerified);
        }
        // A pooler that serves each transaction by another connection knows neither prepared statements nor
        // this parameter.
        let options = options.statement_cache_capacity(0).extra_float_digits(None);
        Ok(Self { options, listens: !own.is_empty() })
    }

    /// With a setting of the session.
    #[cfg(test)]
    pub(super) fn with_options(self, name: &str, value: &str) -> Self {
        Self { options: self.options.options([(name, value)]), ..self }
    }

    pub(super) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    pub(super) fn listens(&self) -> bool {
        self.listens
    }
}

/// Host, port and database, without user and password.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { options, .. } = self;
        let database = options.get_database().unwrap_or_default();
        match options.get_socket() {
            Some(socket) => write!(f, "database {database} at {}", socket.display()),
            None => {
                write!(f, "database {database} at {}:{}", options.get_host(), options.get_port())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_elsewhere_must_prove_who_it_is() {
        for (text, expected) in [
            ("postgres://edgepass@localhost/issuer", None),
            ("postgres:///issuer?host=/run/postgresql", None),
            ("postgres://u:secret@127.0.0.1:6432/issuer", None),
            ("postgresql://u:secret@db.example/issuer?sslmode=verify-full", None),
            ("postgres://u:secret@db.example/issuer", Some(UrlError::NotVerified)),
            ("postgres://u:secret@db.example/issuer?sslmode=require", Some(UrlError::NotVerified)),
            ("postgres://u:secret@localhost", Some(UrlError::NoDatabase)),
            ("mysql://localhost/issuer", Some(UrlError::Malformed)),
            ("postgres://localhost/issuer?connect_timeout=3", Some(UrlError::Parameter)),
            ("postgres://localhost/issuer?listen=yes", Some(UrlError::Parameter)),
            ("postgres://one,two/issuer?sslmode=verify-full", Some(UrlError::Hosts)),
            ("postgres://u:secret@[/issuer", Some(UrlError::Malformed)),
        ] {
            assert_eq!(PostgresUrl::parse(text).err(), expected, "{text}");
        }
        let listens = |text| PostgresUrl::parse(text).unwrap().listens();
        assert!(listens("postgres://localhost/issuer?listen=true&sslmode=disable"));
        assert!(!listens("postgres://localhost/issuer?sslmode=disable"));
        let shown = PostgresUrl::parse("postgres://u:secret@127.0.0.1:6432/issuer").unwrap();
        assert_eq!(shown.to_string(), "database issuer at 127.0.0.1:6432");
    }
}
