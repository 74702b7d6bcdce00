//! Step 6: whether the request comes from a network that the token names.

use std::net::{IpAddr, Ipv6Addr};

use edgepass_jose::ClaimsSet;

use crate::error::{ClaimName, VerifyError};
use crate::sender::Network;

/// The claim with the networks from which a token may be used. Not in a standard: other verifiers
/// ignore it.
///
/// Its value is an array of texts: addresses (`203.0.113.7`), CIDR blocks (`2001:db8::/32`),
/// autonomous systems (`AS64500`) and countries (`DE`, ISO 3166-1). One of them must fit.
pub const NETWORKS: &str = "edgepass_networks";

/// The maximum number of networks of a token.
pub const MAX_NETWORKS: usize = 64;

/// A network that a token may name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NetworkRule {
    /// The addresses that begin with the same bits. Those of IPv4 are mapped to IPv6.
    Block {
        /// The address, as a number.
        address: u128,
        /// The number of bits that count, of 128.
        bits: u32,
    },
    /// The number of an autonomous system.
    System(u32),
    /// A country, by its two letters.
    Country([u8; 2]),
}

impl NetworkRule {
    /// Reads a network. Returns `None` for another text, and for a block whose address has bits
    /// beyond its length: probably the length is mistyped.
    pub fn parse(text: &str) -> Option<Self> {
        if let [first @ b'A'..=b'Z', second @ b'A'..=b'Z'] = text.as_bytes() {
            return Some(Self::Country([*first, *second]));
        }
        if let Some(number) = text.strip_prefix("AS") {
            let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
            return number.parse().ok().filter(|_| is_number).map(Self::System);
        }
        let (address, length) = match text.split_once('/') {
            None => (text, None),
            Some((address, length)) => (address, Some(length)),
        };
        let address: IpAddr = address.parse().ok()?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => whole,
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok()?,
            Some(_) => return None,
        };
        let rest = u32::checked_sub(whole, length)?;
        let address = number(address);
        let bits = 128_u32.checked_sub(rest)?;
        (address & !mask(bits) == 0).then_some(Self::Block { address, bits })
    }

    /// Where a request comes from that fits.
    pub fn inside(&self) -> Network {
        let unknown = Network::default();
        match *self {
            Self::Block { address, .. } => {
                let address = IpAddr::V6(Ipv6Addr::from_bits(address)).to_canonical();
                Network { address: Some(address), ..unknown }
            }
            Self::System(number) => Network { asn: Some(number), ..unknown },
            Self::Country(letters) => Network { country: Some(letters), ..unknown },
        }
    }

    fn fits(&self, from: &Network) -> bool {
        match self {
            Self::Block { address, bits } => {
                from.address.is_some_and(|own| number(own) & mask(*bits) == *address)
            }
            Self::System(number) => from.asn == Some(*number),
            Self::Country(letters) => from.country == Some(*letters),
        }
    }
}

/// An address as a number, that of IPv4 mapped to IPv6 (RFC 4291 §2.5.5.2).
fn number(address: IpAddr) -> u128 {
    let address = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    u128::from_be_bytes(Ipv6Addr::octets(&address))
}

/// A mask of the first bits.
fn mask(bits: u32) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(bits)).unwrap_or_default()
}

/// The networks that a token names. Empty without the claim.
///
/// # Errors
///
/// [`VerifyError::ClaimInvalid`] for a claim of another form.
pub fn of(claims: &ClaimsSet) -> Result<Vec<NetworkRule>, VerifyError> {
    let Some(value) = claims.get(NETWORKS) else { return Ok(Vec::new()) };
    let invalid = || VerifyError::ClaimInvalid(ClaimName::from(NETWORKS));
    let names = value.as_array().ok_or_else(invalid)?.take(MAX_NETWORKS.saturating_add(1));
    let rules: Option<Vec<NetworkRule>> =
        names.map(|name| name.as_str().and_then(NetworkRule::parse)).collect();
    let rules = rules.filter(|rules| (1..=MAX_NETWORKS).contains(&rules.len()));
    rules.ok_or_else(invalid)
}

/// Checks that the request comes from one of the token's networks, if it names any.
///
/// # Errors
///
/// As [`of`]. [`VerifyError::NetworkNotAllowed`] also if the host does not tell where the request comes
/// from.
pub fn check(claims: &ClaimsSet, from: &Network) -> Result<(), VerifyError> {
    let rules = of(claims)?;
    if rules.is_empty() || rules.iter().any(|rule| rule.fits(from)) {
        Ok(())
    } else {
        Err(VerifyError::NetworkNotAllowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Network {
        Network { address: address.parse().ok(), asn: Some(64_500), country: Some(*b"DE") }
    }

    fn judge(networks: &str, from: &Network) -> Result<(), VerifyError> {
        let text = format!("{{\"edgepass_networks\":{networks}}}");
        check(&ClaimsSet::parse(text.as_bytes()).unwrap(), from)
    }

    #[test]
    fn one_network_must_fit() {
        let invalid = Err(VerifyError::ClaimInvalid(ClaimName::from(NETWORKS)));
        let refused = Err(VerifyError::NetworkNotAllowed);
        for (networks, address, expected) in [
            (r#"["203.0.113.0/24"]"#, "203.0.113.255", &Ok(())),
            (r#"["203.0.113.0/24"]"#, "203.0.114.0", &refused),
            (r#"["203.0.113.7"]"#, "203.0.113.7", &Ok(())),
            (r#"["203.0.113.7/32"]"#, "203.0.113.6", &refused),
            (r#"["0.0.0.0/0"]"#, "203.0.113.6", &Ok(())),
            // Not every address of IPv6.
            (r#"["0.0.0.0/0"]"#, "2001:db8::1", &refused),
            (r#"["::/0"]"#, "2001:db8::1", &Ok(())),
            (r#"["2001:db8::/32"]"#, "2001:db8:ffff::1", &Ok(())),
            (r#"["2001:db8::/32"]"#, "2001:db9::1", &refused),
            // A dual-stack socket reports IPv4 like this.
            (r#"["203.0.113.0/24"]"#, "::ffff:203.0.113.9", &Ok(())),
            (r#"["198.51.100.0/24", "AS64500"]"#, "203.0.113.9", &Ok(())),
            (r#"["AS64501", "FR"]"#, "203.0.113.9", &refused),
            (r#"["DE"]"#, "203.0.113.9", &Ok(())),
            (r#"[]"#, "203.0.113.9", &invalid),
            (r#"null"#, "203.0.113.9", &invalid),
            (r#""DE""#, "203.0.113.9", &invalid),
            // One that cannot be read spoils the rest: nobody knows what it meant.
            (r#"["DE", "Europe"]"#, "203.0.113.9", &invalid),
            (r#"["DE", 7]"#, "203.0.113.9", &invalid),
        ] {
            assert_eq!(&judge(networks, &from(address)), expected, "{networks} {address}");
        }
        let many = format!("[{}]", vec!["\"DE\""; 65].join(","));
        assert_eq!(judge(&many, &from("::1")), invalid);
        for networks in [r#"["::/0"]"#, r#"["AS64500"]"#, r#"["DE"]"#] {
            assert_eq!(judge(networks, &Network::default()), refused, "the host tells nothing");
        }
    }

    #[test]
    fn a_mistyped_network_is_none() {
        for text in [
            "",
            "de",
            "DEU",
            "AS-1",
            "AS+1",
            "AS4294967296",
            "as1",
            "1.2.3.4/33",
            "1.2.3.4/",
            "1.2.3.4/+8",
            "10.0.0.1/8",
            "::/129",
            "2001:db8::1/64",
            "1.2.3",
            "[::1]",
            "1.2.3.4 ",
            "1.2.3.4/8/8",
            "fe80::1%eth0",
            "01.2.3.4",
        ] {
            assert_eq!(NetworkRule::parse(text), None, "{text}");
        }
    }
}
