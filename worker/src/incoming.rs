//! A client's request, as the runtime represents it.

use edgepass_verify::Request;
use edgepass_verify::sender::{CertificateThumbprint, Endpoint, Network};
use edgepass_verify::token_place::TokenPlace;
use edgepass_verify::token_place::is_websocket;
use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::request_target::RequestTarget;

#[wasm_bindgen(module = "/src/incoming.js")]
extern "C" {
    #[wasm_bindgen(js_name = factsOf)]
    pub(crate) fn facts_of(request: &web_sys::Request) -> String;

    #[wasm_bindgen(js_name = isEmpty)]
    fn is_empty(request: &web_sys::Request) -> Promise;
}

/// A client's request. Its strings borrow from the text of [`facts_of`].
pub(crate) struct Incoming<'r> {
    pub(crate) request: &'r web_sys::Request,
    pub(crate) method: &'r str,
    /// The absolute URL, as the runtime reports it.
    pub(crate) url: &'r str,
    has_stream: bool,
    /// SHA-256 fingerprint of the client's certificate, in hexadecimal; empty without one.
    fingerprint: &'r str,
    pub(crate) network: Network,
    /// The data centre that the request reached, such as `ZRH`. Empty if the platform names none.
    pub(crate) colo: &'r str,
    /// A fingerprint of the client's TLS handshake. Empty if the platform has none.
    pub(crate) tls: &'r str,
    /// Where the client is, in whole degrees of latitude and longitude, such as `47,9`. Empty if the platform
    /// does not say.
    pub(crate) position: &'r str,
    /// The header fields: names in lower case, and values.
    fields: Vec<(&'r str, &'r str)>,
}

impl<'r> Incoming<'r> {
    /// Parses the text of [`facts_of`]. Returns `None` unless the number of fields equals the count
    /// in the first line: a line feed in a value would shift all later lines.
    pub(crate) fn read(request: &'r web_sys::Request, facts: &'r str) -> Option<Self> {
        let mut lines = facts.split('\n');
        let count = lines.next()?.parse().ok()?;
        let (method, url) = (lines.next()?, lines.next()?);
        let has_stream = !lines.next()?.is_empty();
        let fingerprint = lines.next()?;
        let (address, asn, country) = (lines.next()?, lines.next()?, lines.next()?);
        let network = Network {
            address: address.parse().ok(),
            asn: asn.parse().ok(),
            country: country.as_bytes().try_into().ok(),
        };
        let (colo, tls, position) = (lines.next()?, lines.next()?, lines.next()?);
        let mut fields = Vec::with_capacity(count);
        while let Some(name) = lines.next() {
            fields.push((name, lines.next()?));
        }
        let is_whole = fields.len() == count;
        is_whole.then_some(Self {
            request,
            method,
            url,
            has_stream,
            fingerprint,
            network,
            colo,
            tls,
            position,
            fields,
        })
    }

    /// Returns the value of a header field. `name` must be in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&'r str> {
        self.fields.iter().find(|(own, _)| *own == name).map(|(_, value)| *value)
    }

    /// Returns the names of the header fields, in lower case.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'r str> {
        self.fields.iter().map(|(name, _)| *name)
    }

    /// Whether the request has a body. One with `Content-Length: 0` has none, although the runtime
    /// gives it a stream.
    pub(crate) fn has_body(&self) -> bool {
        self.has_stream && self.header("content-length") != Some("0")
    }

    /// Whether the client asks for a WebSocket. Other protocols in `Upgrade` are offers that a server
    /// may ignore (RFC 9110 §7.8), such as the `h2c` of HTTP/1.1 clients that know HTTP/2.
    pub(crate) fn is_websocket(&self) -> bool {
        is_websocket(self.header("upgrade").unwrap_or_default())
    }

    /// Whether nothing arrives as the body, although the runtime gives the request a stream: a
    /// client may announce a body of unknown length and send none.
    pub(crate) async fn has_empty_body(&self) -> bool {
        let empty = JsFuture::from(is_empty(self.request)).await;
        empty.is_ok_and(|empty| empty.is_truthy())
    }

    /// Converts the request for the verifier, which looks for the token in `places`. `external_url`
    /// replaces scheme and authority of the
    /// URL, so the header `Host` has no effect. Without `external_url` the request has no endpoint,
    /// and the verifier refuses key-bound tokens.
    pub(crate) fn for_verifier(
        &self,
        target: &RequestTarget<'_>,
        places: Option<&[TokenPlace]>,
        external_url: Option<&str>,
    ) -> Request {
        let owned = |name| self.header(name).map(str::to_owned);
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Request {
            method: places.map_or_else(String::new, |_| self.method.to_owned()),
            fields: places.map_or_else(Vec::new, |_| self.fields.iter().map(pair).collect()),
            authorization: owned("authorization"),
            dpop: owned("dpop"),
            query: target.query.strip_prefix('?').map(str::to_owned),
            endpoint: external_url.map(|external| Endpoint {
                method: self.method.to_owned(),
                url: format!("{external}{}{}", target.path, target.query),
            }),
            certificate: CertificateThumbprint::from_hex(self.fingerprint),
            network: self.network,
        }
    }
}

#[cfg(test)]
mod tests {
    // A `web_sys::Request` exists only in JavaScript, but its facts are text.
    use super::*;

    #[test]
    fn fields_are_read_as_they_were_told() {
        let nothing = JsValue::UNDEFINED;
        let request: &web_sys::Request = nothing.unchecked_ref();
        let facts = "3\nPUT\nhttps://api.example/a?b\nbody\n\n192.0.2.7\n64500\nCH\nZRH\n\n47,9\naccept\n*/*\ndpop\n\nhost\napi.example";
        let read = Incoming::read(request, facts).unwrap();
        assert_eq!((read.method, read.url), ("PUT", "https://api.example/a?b"));
        assert!(read.has_body());
        assert_eq!(read.header("dpop"), Some(""));
        assert_eq!(read.header("authorization"), None);
        assert_eq!(read.names().collect::<Vec<_>>(), ["accept", "dpop", "host"]);
        let from = Network {
            address: Some([192, 0, 2, 7].into()),
            asn: Some(64500),
            country: Some(*b"CH"),
        };
        assert_eq!((read.network, read.colo, read.tls, read.position), (from, "ZRH", "", "47,9"));
        let empty = "1\nGET\nhttps://api.example/\nbody\n\n\n\n\n\n\n\ncontent-length\n0";
        let read = Incoming::read(request, empty).unwrap();
        assert!(!read.has_body());
        assert_eq!(read.network, Network::default());
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_not_read() {
        let nothing = JsValue::UNDEFINED;
        let request: &web_sys::Request = nothing.unchecked_ref();
        for facts in [
            "",
            "1\nGET\nhttps://api.example/\n\n\n\n\n",
            "1\nGET\nhttps://api.example/\n\n\n\n\n\n\n\n\na",
            "1\nGET\nhttps://api.example/\n\n\n\n\n\n\n\n\na\nb\nc",
            "1\nGET\nhttps://api.example/\n\n\n\n\n\n\n\n\na\nb\nc\nd",
            "0\nGET\nhttps://api.example/\n\n\n\n\n\n\n\n\na\nb",
        ] {
            assert!(Incoming::read(request, facts).is_none(), "{facts:?}");
        }
    }
}
