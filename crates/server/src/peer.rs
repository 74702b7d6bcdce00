//! Who sent a request, as far as the connection and trusted proxies say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::{Extensions, HeaderMap};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use edgepass_issuer::config::{CertificateForm, ProxyConfig};
use edgepass_verify::sender::{CertificateThumbprint, Network};

/// The sender of a request.
#[derive(Clone)]
pub(crate) struct Peer {
    /// The address of the client, which a trusted proxy may name.
    pub(crate) address: IpAddr,
    /// The thumbprint of the certificate that the client authenticated with, as a trusted proxy says.
    pub(crate) certificate: Option<CertificateThumbprint>,
}

impl Peer {
    /// Where the request comes from, for tokens that name networks.
    pub(crate) fn network(&self) -> Network {
        Network { address: Some(self.address), ..Network::default() }
    }
}

/// The longest certificate that is read, in characters of the header field.
const MAX_CERTIFICATE: usize = 12 * 1024;

impl Peer {
    /// The sender of a request. Header fields count only if they come from a proxy of `config`.
    pub(crate) fn of(
        extensions: &Extensions,
        headers: &HeaderMap,
        config: Option<&ProxyConfig>,
    ) -> Self {
        let hop = extensions.get::<SocketAddr>().map(SocketAddr::ip);
        let hop = hop.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).to_canonical();
        match config.filter(|config| config.is_trusted(hop)) {
            None => Self { address: hop, certificate: None },
            Some(config) => Self {
                address: forwarded(headers, config).unwrap_or(hop),
                certificate: certificate(headers, config),
            },
        }
    }
}

/// The last address in the chain that is not a trusted proxy's. `None`: there is none, or an entry
/// cannot be read.
fn forwarded(headers: &HeaderMap, config: &ProxyConfig) -> Option<IpAddr> {
    let name = config.forwarded_for.as_deref()?;
    let mut values = Vec::new();
    for field in headers.get_all(name) {
        values.extend(field.to_str().ok()?.split(',').map(str::trim));
    }
    for value in values.into_iter().rev() {
        // Some proxies add the port.
        let with_port = || value.parse().ok().map(|address: SocketAddr| address.ip());
        let address = value.parse().ok().or_else(with_port)?.to_canonical();
        if !config.is_trusted(address) {
            return Some(address);
        }
    }
    None
}

fn certificate(headers: &HeaderMap, config: &ProxyConfig) -> Option<CertificateThumbprint> {
    let field = config.client_certificate.as_ref()?;
    let mut values = headers.get_all(field.header.as_str()).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let text = value.to_str().ok().filter(|text| text.len() <= MAX_CERTIFICATE)?.trim();
    let der = match field.form {
        // RFC 9440 §2.1: a byte sequence of structured fields
        CertificateForm::Rfc9440 => {
            STANDARD.decode(text.strip_prefix(':')?.strip_suffix(':')?).ok()?
        }
        CertificateForm::Pem => {
            // As a form, `+` is part of the base64.
            let encoded = text.replace('+', "%2B");
            let (pem, _) = form_urlencoded::parse(encoded.as_bytes()).next()?;
            let body = pem.trim().strip_prefix("-----BEGIN CERTIFICATE-----")?;
            let body = body.strip_suffix("-----END CERTIFICATE-----")?;
            let base64: String = body.chars().filter(|char| !char.is_ascii_whitespace()).collect();
            STANDARD.decode(base64).ok()?
        }
    };
    (!der.is_empty()).then(|| CertificateThumbprint::of_der(&der))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};
    use edgepass_issuer::config::CertificateField;

    fn thumbprint(der: &[u8]) -> String {
        CertificateThumbprint::of_der(der).as_str().to_owned()
    }

    fn shown(peer: &Peer) -> Option<&str> {
        peer.certificate.as_ref().map(CertificateThumbprint::as_str)
    }

    fn config(form: CertificateForm) -> ProxyConfig {
        let header = "client-cert".to_owned();
        ProxyConfig {
            from: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            forwarded_for: Some("x-forwarded-for".into()),
            client_certificate: Some(CertificateField { header, form }),
        }
    }

    fn peer(hop: &str, fields: &[(&str, &str)], form: CertificateForm) -> Peer {
        let mut extensions = Extensions::new();
        extensions.insert(SocketAddr::new(hop.parse().unwrap(), 1));
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        Peer::of(&extensions, &headers, Some(&config(form)))
    }

    #[test]
    fn only_a_trusted_hop_is_believed() {
        let fields = [("x-forwarded-for", "203.0.113.9"), ("client-cert", ":AQID:")];
        let of = |hop| peer(hop, &fields, CertificateForm::Rfc9440);
        let digest = thumbprint(&[1, 2, 3]);
        for trusted in ["10.1.2.3", "::1", "::ffff:10.1.2.3"] {
            let peer = of(trusted);
            assert_eq!(peer.address.to_string(), "203.0.113.9");
            assert_eq!(shown(&peer), Some(digest.as_str()));
        }
        let other = of("192.0.2.1");
        assert_eq!(other.address.to_string(), "192.0.2.1");
        assert_eq!(shown(&other), None);
    }

    #[test]
    fn the_last_address_before_the_trusted_hops_counts() {
        let of = |chain: &str| {
            let fields = [("x-forwarded-for", chain)];
            peer("10.0.0.1", &fields, CertificateForm::Rfc9440).address.to_string()
        };
        assert_eq!(of("1.1.1.1, 203.0.113.9, 10.0.0.7"), "203.0.113.9");
        assert_eq!(of("1.1.1.1, nonsense, 10.0.0.7"), "10.0.0.1");
        assert_eq!(of("10.0.0.9, 10.0.0.7"), "10.0.0.1");
        assert_eq!(of("1.1.1.1, 203.0.113.9:4711, 10.0.0.7:80"), "203.0.113.9");
        assert_eq!(of("[2001:db8::1]:443"), "2001:db8::1");
    }

    #[test]
    fn a_certificate_is_read_as_each_proxy_writes_it() {
        let digest = thumbprint(&[0xfb, 0xff, 3]);
        let pem = "-----BEGIN%20CERTIFICATE-----%0A%2B%2F8D%0A-----END%20CERTIFICATE-----%0A";
        for (value, form, expected) in [
            (":+/8D:", CertificateForm::Rfc9440, Some(digest.as_str())),
            ("+/8D", CertificateForm::Rfc9440, None),
            ("::", CertificateForm::Rfc9440, None),
            (pem, CertificateForm::Pem, Some(digest.as_str())),
            (&pem.replace("%2B", "+"), CertificateForm::Pem, Some(digest.as_str())),
            (":+/8D:", CertificateForm::Pem, None),
        ] {
            let peer = peer("10.0.0.1", &[("client-cert", value)], form);
            assert_eq!(shown(&peer), expected, "{value}");
        }
        let twice = [("client-cert", ":AQID:"), ("client-cert", ":AQID:")];
        assert_eq!(shown(&peer("10.0.0.1", &twice, CertificateForm::Rfc9440)), None);
    }
}
