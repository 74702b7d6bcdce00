//! The places of a request in which a token may be, and the rules for each.

use std::borrow::Cow;
use std::fmt;

use crate::error::VerifyError;
use crate::sender::{Presentation, Request, from_authorization, parameters};
use crate::url;

/// A place of a request in which a client may put its token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TokenPlace {
    /// `"authorization"`: the field `Authorization`, with the scheme Bearer or DPoP.
    Authorization,
    /// `"header:NAME"`: a field that holds the token, with or without the scheme Bearer. The name is
    /// in lower case.
    Header(String),
    /// `"cookie:NAME"`: a cookie. Browsers send cookies with requests that pages of other origins
    /// make. So a request with an unsafe method, or for a WebSocket, must come from a page of the
    /// API's own origin: `Sec-Fetch-Site` is `same-origin` or, where it is absent, `Origin` is that
    /// of [`Request::endpoint`].
    Cookie(String),
    /// `"websocket"`: an item `bearer.TOKEN` of `Sec-WebSocket-Protocol`, since pages cannot set
    /// other fields of the handshake.
    WebSocketProtocol,
    /// `"query:NAME"`, or `"query"` for the parameter `access_token` (RFC 6750 §2.3). URLs reach
    /// logs and histories, so use it only where a client can do nothing else.
    Query(String),
}

/// The error for a text that names no place.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "expected \"authorization\", \"header:NAME\", \"cookie:NAME\", \"websocket\", \
     \"query\" or \"query:NAME\""
)]
pub struct NotAPlace;

/// The prefix of the item of `Sec-WebSocket-Protocol` that holds a token.
const BEARER: &str = "bearer.";

impl TokenPlace {
    /// Reads the written form of a place.
    ///
    /// # Errors
    ///
    /// [`NotAPlace`], also for the name of a field that has another meaning.
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_verify::token_place::TokenPlace;
    ///
    /// let place = TokenPlace::parse("header:Cf-Access-Jwt-Assertion")?;
    /// assert_eq!(place, TokenPlace::Header("cf-access-jwt-assertion".into()));
    /// assert!(TokenPlace::parse("header:cookie").is_err());
    /// # Ok::<(), edgepass_verify::token_place::NotAPlace>(())
    /// ```
    pub fn parse(written: &str) -> Result<Self, NotAPlace> {
        const TAKEN: [&str; 14] = [
            "authorization",
            "connection",
            "content-length",
            "content-type",
            "cookie",
            "dpop",
            "expect",
            "host",
            "origin",
            "sec-fetch-site",
            "sec-websocket-protocol",
            "te",
            "transfer-encoding",
            "upgrade",
        ];
        let (place, name) = written.split_once(':').unwrap_or((written, ""));
        // The characters of a token (RFC 9110 §5.6.2) that have no other meaning in a query.
        let is_name = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        match place {
            "authorization" if place == written => Ok(Self::Authorization),
            "websocket" if place == written => Ok(Self::WebSocketProtocol),
            "query" if place == written => Ok(Self::Query("access_token".into())),
            "query" if is_name => Ok(Self::Query(name.into())),
            "cookie" if is_name => Ok(Self::Cookie(name.into())),
            "header" if is_name && !TAKEN.contains(&name.to_ascii_lowercase().as_str()) => {
                Ok(Self::Header(name.to_ascii_lowercase()))
            }
            _ => Err(NotAPlace),
        }
    }

    /// Finds the token in this place. `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`VerifyError::RequestInvalid`] if the place holds several tokens or further text.
    /// [`VerifyError::CrossSiteRequest`] for a cookie.
    fn find(&self, request: &Request) -> Result<Option<(Presentation, String)>, VerifyError> {
        let mut found: Vec<Cow<'_, str>> = match self {
            Self::Authorization => {
                return match from_authorization(request.authorization.as_deref()) {
                    Ok((scheme, token)) => Ok(Some((scheme, token.to_owned()))),
                    Err(VerifyError::TokenMissing) => Ok(None),
                    Err(error) => Err(error),
                };
            }
            Self::Header(name) => {
                request.field(name).map(|value| without_scheme(value).into()).into_iter().collect()
            }
            Self::Cookie(name) => {
                let cookies = request.field("cookie").unwrap_or_default().split(';');
                cookies.filter_map(|pair| cookie(pair, name)).map(Cow::from).collect()
            }
            Self::WebSocketProtocol => {
                let items = request.field("sec-websocket-protocol").unwrap_or_default().split(',');
                let tokens = items.filter_map(|item| item.trim().strip_prefix(BEARER));
                tokens.map(Cow::from).collect()
            }
            Self::Query(name) => parameters(request.query.as_deref().unwrap_or_default())
                .filter(|parameter| parameter.is_named(name))
                .map(|parameter| parameter.decoded())
                .collect(),
        };
        found.retain(|token| !token.is_empty());
        match found.as_slice() {
            [] => Ok(None),
            [token] if token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') => {
                if matches!(self, Self::Cookie(_)) && !request.is_of_own_origin() {
                    return Err(VerifyError::CrossSiteRequest);
                }
                Ok(Some((Presentation::Bearer, token.clone().into_owned())))
            }
            _ => Err(VerifyError::RequestInvalid),
        }
    }
}

/// Writes the place as it is read.
impl fmt::Display for TokenPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authorization => f.write_str("authorization"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::WebSocketProtocol => f.write_str("websocket"),
            Self::Query(name) => write!(f, "query:{name}"),
        }
    }
}

/// Finds the token of a request in these places. Exactly one of them may hold one.
///
/// # Errors
///
/// [`VerifyError::TokenMissing`], and those of [`TokenPlace::find`].
pub(crate) fn find(
    places: &[TokenPlace],
    request: &Request,
) -> Result<(Presentation, String), VerifyError> {
    let mut found = None;
    for place in places {
        if let Some(token) = place.find(request)?
            && found.replace(token).is_some()
        {
            // RFC 6750 §2: clients MUST NOT use more than one method.
            return Err(VerifyError::RequestInvalid);
        }
    }
    found.ok_or(VerifyError::TokenMissing)
}

/// A field's value without white space at its ends and without the scheme Bearer.
fn without_scheme(value: &str) -> &str {
    let value = value.trim();
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => value,
    }
}

/// The value of the cookie `name`, without quotes, if `pair` is that cookie (RFC 6265 §4.2.1).
fn cookie<'p>(pair: &'p str, name: &str) -> Option<&'p str> {
    let value = pair.trim().strip_prefix(name)?.strip_prefix('=')?;
    Some(value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(value))
}

impl Request {
    /// The value of a header field. `name` is in lower case.
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Whether a page of another origin cannot have caused an effect with this request: its method
    /// is safe, or it comes from a page of the API's own origin.
    fn is_of_own_origin(&self) -> bool {
        // RFC 9110 §9.2.1. A handshake for a WebSocket is a GET, but the socket can cause effects.
        let is_safe = ["GET", "HEAD", "OPTIONS", "TRACE"].contains(&self.method.as_str());
        if is_safe && !is_websocket(self.field("upgrade").unwrap_or_default()) {
            return true;
        }
        if let Some(site) = self.field("sec-fetch-site") {
            return site == "same-origin";
        }
        let own = self.endpoint.as_ref().and_then(|endpoint| url::origin(&endpoint.url));
        own.is_some() && own.as_deref() == self.field("origin")
    }
}

/// Whether the field `Upgrade` asks for a WebSocket, among other protocols or alone.
pub fn is_websocket(upgrade: &str) -> bool {
    upgrade.split(',').any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"))
}

/// Returns a `Cookie` field without the cookie `name`. `None` if nothing is left.
pub fn without_cookie(field: &str, name: &str) -> Option<String> {
    let left = field.split(';').filter(|pair| cookie(pair, name).is_none());
    joined(left, "; ")
}

/// Returns a `Sec-WebSocket-Protocol` field without the items that hold tokens. `None` if nothing
/// is left.
pub fn without_bearer_protocol(field: &str) -> Option<String> {
    joined(field.split(',').filter(|item| !item.trim().starts_with(BEARER)), ", ")
}

/// Returns a query, without `?`, from which the parameter `name` is removed. Other octets stay.
pub fn without_parameter(query: &str, name: &str) -> String {
    let left = parameters(query).filter(|parameter| !parameter.is_named(name));
    left.map(|parameter| parameter.text).collect::<Vec<_>>().join("&")
}

fn joined<'t>(items: impl Iterator<Item = &'t str>, separator: &str) -> Option<String> {
    let items: Vec<&str> = items.map(str::trim).filter(|item| !item.is_empty()).collect();
    (!items.is_empty()).then(|| items.join(separator))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sender::Endpoint;

    fn request(fields: &[(&str, &str)]) -> Request {
        let mut request = Request { method: "GET".into(), ..Request::default() };
        for (name, value) in fields {
            match *name {
                "authorization" => request.authorization = Some((*value).into()),
                "query" => request.query = Some((*value).into()),
                "method" => request.method = (*value).into(),
                name => request.fields.push((name.into(), (*value).into())),
            }
        }
        request
    }

    fn token(places: &[&str], fields: &[(&str, &str)]) -> Result<String, VerifyError> {
        let places: Vec<TokenPlace> =
            places.iter().map(|place| TokenPlace::parse(place).unwrap()).collect();
        find(&places, &request(fields)).map(|(_, token)| token)
    }

    #[test]
    fn a_token_is_found_in_its_place_and_in_no_other() {
        use VerifyError::{RequestInvalid, TokenMissing};
        for (places, fields, expected) in [
            (&["authorization"][..], &[("authorization", "Bearer t")][..], Ok("t")),
            (
                &["authorization"],
                &[("query", "access_token=t"), ("cookie", "c=t")],
                Err(TokenMissing),
            ),
            (&["header:X-Token"], &[("x-token", " t ")], Ok("t")),
            (&["header:x-token"], &[("authorization", "Bearer t")], Err(TokenMissing)),
            (&["header:x-token"], &[("x-token", "bearer t")], Ok("t")),
            (&["header:x-token"], &[("x-token", "Bearer t u")], Err(RequestInvalid)),
            (&["header:x-token"], &[("x-token", "Basic t")], Err(RequestInvalid)),
            (&["header:x-token"], &[("x-token", "t, u")], Err(RequestInvalid)),
            (&["header:x-token"], &[("x-token", "")], Err(TokenMissing)),
            (&["cookie:c"], &[("cookie", "a=1; c=t; cc=u")], Ok("t")),
            (&["cookie:c"], &[("cookie", "c=\"t\"")], Ok("t")),
            (&["cookie:c"], &[("cookie", "cc=t;C=u; c =v")], Err(TokenMissing)),
            (&["cookie:c"], &[("cookie", "c=t; c=u")], Err(RequestInvalid)),
            (&["cookie:c"], &[("cookie", "c=; c=u")], Ok("u")),
            (&["websocket"], &[("sec-websocket-protocol", "chat, bearer.t")], Ok("t")),
            (&["websocket"], &[("sec-websocket-protocol", "bearer, t")], Err(TokenMissing)),
            (
                &["websocket"],
                &[("sec-websocket-protocol", "bearer.t, bearer.u")],
                Err(RequestInvalid),
            ),
            (&["query"], &[("query", "a=1&access_token=t&b")], Ok("t")),
            (&["query"], &[("query", "access%5Ftoken=t")], Ok("t")),
            (&["query"], &[("query", "access_token=a%2Eb%2ec")], Ok("a.b.c")),
            (&["query"], &[("query", "access_token=a%20b")], Err(RequestInvalid)),
            (&["query"], &[("query", "access_token=a%ffb")], Err(RequestInvalid)),
            (&["query"], &[("query", "access_token=t&access_token=u")], Err(RequestInvalid)),
            (&["query"], &[("query", "access_token")], Err(TokenMissing)),
            (&["query:t"], &[("query", "t=x&access_token=u")], Ok("x")),
            (&["authorization", "cookie:c"], &[("cookie", "c=t")], Ok("t")),
            (
                &["authorization", "cookie:c"],
                &[("authorization", "Bearer t"), ("cookie", "c=t")],
                Err(RequestInvalid),
            ),
            (
                &["authorization", "cookie:c"],
                &[("authorization", "Basic t"), ("cookie", "c=t")],
                Ok("t"),
            ),
            (
                &["query", "cookie:c"],
                &[("query", "access_token=t"), ("cookie", "c=u")],
                Err(RequestInvalid),
            ),
        ] {
            let expected = expected.map(str::to_owned);
            assert_eq!(token(places, fields), expected, "{places:?} {fields:?}");
        }
    }

    #[test]
    fn a_cookie_counts_only_in_requests_that_no_other_site_can_cause() {
        let accepted = |fields: &[(&str, &str)], endpoint: Option<&str>| {
            let endpoint = endpoint.map(|url| Endpoint { method: "POST".into(), url: url.into() });
            let mut request = request(&[&[("cookie", "c=t")], fields].concat());
            request.endpoint = endpoint;
            match find(&[TokenPlace::Cookie("c".into())], &request) {
                Ok(_) => true,
                Err(VerifyError::CrossSiteRequest) => false,
                Err(other) => panic!("{other}"),
            }
        };
        let own = Some("https://api.example/x?y");
        for (fields, endpoint, expected) in [
            (&[("method", "GET")][..], None, true),
            (&[("method", "HEAD")], None, true),
            (&[("method", "GET"), ("sec-fetch-site", "cross-site")], None, true),
            (&[("method", "POST")], own, false),
            (&[("method", "POST"), ("sec-fetch-site", "same-origin")], None, true),
            (&[("method", "POST"), ("sec-fetch-site", "same-site")], own, false),
            (&[("method", "POST"), ("sec-fetch-site", "cross-site")], own, false),
            (&[("method", "POST"), ("sec-fetch-site", "none")], own, false),
            (&[("method", "DELETE"), ("origin", "https://api.example")], own, true),
            (&[("method", "DELETE"), ("origin", "https://api.example")], None, false),
            (&[("method", "PUT"), ("origin", "https://evil.example")], own, false),
            (&[("method", "PUT"), ("origin", "null")], own, false),
            (&[("method", "post")], own, false),
            (
                &[
                    ("method", "PATCH"),
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "https://api.example"),
                ],
                own,
                false,
            ),
            (&[("method", "GET"), ("upgrade", "websocket")], own, false),
            (
                &[("method", "GET"), ("upgrade", "websocket"), ("origin", "https://api.example")],
                own,
                true,
            ),
            (
                &[("method", "GET"), ("upgrade", "websocket"), ("origin", "https://evil.example")],
                own,
                false,
            ),
        ] {
            assert_eq!(accepted(fields, endpoint), expected, "{fields:?} {endpoint:?}");
        }
    }

    #[test]
    fn what_held_the_token_is_removed_and_the_rest_stays() {
        for (field, left) in [
            ("c=t", None),
            ("a=1; c=t; b=\"2\"", Some("a=1; b=\"2\"")),
            ("a=1;c=t;c=u", Some("a=1")),
            ("cc=1", Some("cc=1")),
        ] {
            assert_eq!(without_cookie(field, "c").as_deref(), left, "{field}");
        }
        assert_eq!(without_bearer_protocol("bearer.t, chat,v2").as_deref(), Some("chat, v2"));
        assert_eq!(without_bearer_protocol("bearer.t"), None);
        for (query, left) in [
            ("access_token=t", ""),
            ("a=1&access_token=t&b=%20", "a=1&b=%20"),
            ("access%5ftoken=t&a", "a"),
            ("a&&b", "a&&b"),
            ("access_tokens=t", "access_tokens=t"),
        ] {
            assert_eq!(without_parameter(query, "access_token"), left, "{query}");
        }
    }

    #[test]
    fn other_places_are_refused() {
        for text in [
            "",
            "Authorization",
            "header",
            "header:",
            "header:a b",
            "header:cookie",
            "header:DPoP",
            "cookie:",
            "cookie:a=b",
            "cookie",
            "query:a&b",
            "websocket:x",
            "authorization:x",
            "body",
        ] {
            assert_eq!(TokenPlace::parse(text), Err(NotAPlace), "{text}");
        }
        for text in ["authorization", "header:x-a", "cookie:__Host-a", "websocket", "query:t"] {
            assert_eq!(TokenPlace::parse(text).unwrap().to_string(), text);
        }
    }
}
