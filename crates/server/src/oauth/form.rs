//! The parameters of a request.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header;

use super::error::OauthError;

/// The parameters of a form. It has no `Debug`, since they hold tokens and secrets.
pub(crate) struct Parameters(Vec<(String, String)>);

/// The most parameters of a request. Each is compared with those before it.
const MAX_PARAMETERS: usize = 64;

/// Parameters that may come several times (RFC 8693 §2.1, RFC 8707 §2).
const REPEATED: [&str; 2] = ["audience", "resource"];

impl<S: Send + Sync> FromRequest<S> for Parameters {
    type Rejection = OauthError;

    async fn from_request(request: Request, state: &S) -> Result<Self, OauthError> {
        const WRONG: OauthError =
            OauthError::InvalidRequest("send a form with each parameter once");
        // A parameter there, such as a narrower scope, would be left out without a word.
        if request.uri().query().is_some() {
            return Err(OauthError::InvalidRequest(
                "send parameters in the body, not in the query",
            ));
        }
        let media_type = request.headers().get(header::CONTENT_TYPE);
        let media_type = media_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(WRONG);
        }
        let body = Bytes::from_request(request, state).await.map_err(|_| WRONG)?;
        Self::parse(&body).ok_or(WRONG)
    }
}

impl Parameters {
    /// Parses a form. `None`: it has more than 64 parameters, or one comes twice that may come once. One without a value counts
    /// as left out (RFC 6749 §3.2).
    fn parse(body: &[u8]) -> Option<Self> {
        let mut all: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(body) {
            if all.len() == MAX_PARAMETERS {
                return None;
            }
            let is_again = all.iter().any(|(known, _)| *known == name);
            if is_again && !REPEATED.contains(&name.as_ref()) {
                return None;
            }
            all.push((name.into_owned(), value.into_owned()));
        }
        all.retain(|(_, value)| !value.is_empty());
        Some(Self(all))
    }

    /// The value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The values of a parameter that may come several times.
    pub(crate) fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> + 's {
        let named = self.0.iter().filter(move |(own, _)| own == name);
        named.map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_comes_once_and_an_empty_one_is_left_out() {
        let form = Parameters::parse(b"a=1&b=&resource=x&resource=y&c=%20").unwrap();
        assert_eq!(form.get("a"), Some("1"));
        assert_eq!(form.get("b"), None);
        assert_eq!(form.get("c"), Some(" "));
        assert_eq!(form.all("resource").collect::<Vec<_>>(), ["x", "y"]);
        let many: String = (0..65).map(|number| format!("a{number}&")).collect();
        for twice in ["a=1&a=1", "a=&a=1", "a&a", &many] {
            assert!(Parameters::parse(twice.as_bytes()).is_none(), "{twice}");
        }
    }
}
