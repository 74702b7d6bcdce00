//! Steps 6 and 7: the agreement under which a token is used: its purposes, data and regions.

use edgepass_jose::flat::ValueRef;
use edgepass_jose::{ClaimsSet, Scope};

use crate::checks::Requirements;
use crate::error::{ClaimName, VerifyError};
use crate::sender::Network;

/// The claim with the agreement of a token (RFC 9396 §9.1): an array of objects, each with its `type`.
pub const DETAILS: &str = "authorization_details";
/// The `type` of the object that is judged here. Objects of other types have no effect.
///
/// Its members: `agreement`, the identifier of a data processing agreement; `purposes`; `datatypes` (RFC 9396
/// §2.2), the categories of data; and `regions`, from one of which the token may be used. All but `agreement`
/// are arrays of texts, and may be absent.
pub const AGREEMENT: &str = "edgepass_agreement";

/// The largest number of items of a member.
pub const MAX_ITEMS: usize = 64;

/// The countries of the European Union (ISO 3166-1), each by two letters.
const EU: &[u8; 54] = b"ATBEBGCYCZDEDKEEESFIFRGRHRHUIEITLTLULVMTNLPLPTROSESISK";
/// The other countries of the European Economic Area.
const EEA_BESIDE_EU: &[u8; 6] = b"ISLINO";

/// A region that an agreement may name, and a verifier can compare with the country that its host tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Region {
    /// `EU`: the European Union.
    Eu,
    /// `EEA`: the European Economic Area.
    Eea,
    /// A country, by its two letters (ISO 3166-1).
    Country([u8; 2]),
}

impl Region {
    /// Reads a region. `None`: another text.
    pub fn parse(text: &str) -> Option<Self> {
        match text.as_bytes() {
            b"EU" => Some(Self::Eu),
            b"EEA" => Some(Self::Eea),
            [first @ b'A'..=b'Z', second @ b'A'..=b'Z'] => Some(Self::Country([*first, *second])),
            _ => None,
        }
    }

    /// A country inside.
    pub fn inside(self) -> [u8; 2] {
        match self {
            Self::Eu | Self::Eea => *b"DE",
            Self::Country(own) => own,
        }
    }

    /// The smaller of two regions of which one is inside the other. `None`: neither is.
    pub fn common(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Eu, Self::Eea) | (Self::Eea, Self::Eu) => Some(Self::Eu),
            (Self::Country(own), region) | (region, Self::Country(own)) => {
                region.has(own).then_some(Self::Country(own))
            }
            (own, _) => Some(own),
        }
    }

    /// Whether a country is inside.
    pub fn has(self, country: [u8; 2]) -> bool {
        let is_in = |list: &[u8]| list.chunks_exact(2).any(|own| own == country);
        match self {
            Self::Eu => is_in(EU),
            Self::Eea => is_in(EU) || is_in(EEA_BESIDE_EU),
            Self::Country(own) => own == country,
        }
    }
}

fn invalid() -> VerifyError {
    VerifyError::ClaimInvalid(ClaimName::from(DETAILS))
}

/// The object about the agreement. `None`: the token is under none.
fn agreement(claims: &ClaimsSet) -> Result<Option<ValueRef<'_>>, VerifyError> {
    let Some(details) = claims.get(DETAILS) else { return Ok(None) };
    // Of another issuer the claim may have any form: then it is none of ours.
    let Some(details) = details.as_array() else { return Ok(None) };
    let mut own = details.filter(|one| {
        one.get("type").and_then(ValueRef::as_str).is_some_and(|name| name == AGREEMENT)
    });
    match (own.next(), own.next()) {
        (found, None) => Ok(found),
        // Nobody knows which of two holds.
        (_, Some(_)) => Err(invalid()),
    }
}

/// The identifier of the agreement of an accepted token, if it has one.
pub fn agreement_of(claims: &ClaimsSet) -> Option<&str> {
    agreement(claims).ok()??.get("agreement")?.as_str()
}

/// The texts of a member. `None`: there is no such member.
fn texts<'c>(agreement: ValueRef<'c>, name: &str) -> Result<Option<Vec<&'c str>>, VerifyError> {
    let Some(value) = agreement.get(name) else { return Ok(None) };
    let items = value.as_array().ok_or_else(invalid)?.take(MAX_ITEMS.saturating_add(1));
    let texts: Option<Vec<&str>> = items.map(ValueRef::as_str).collect();
    let texts = texts.filter(|texts| texts.len() <= MAX_ITEMS);
    texts.map(Some).ok_or_else(invalid)
}

/// Checks the form of the agreement, and that the request comes from one of its regions, if it names any.
///
/// # Errors
///
/// [`VerifyError::ClaimInvalid`] for another form. [`VerifyError::NetworkNotAllowed`] also if the host does not
/// tell the country.
pub fn check_regions(claims: &ClaimsSet, from: &Network) -> Result<(), VerifyError> {
    let Some(regions) = form(claims)? else { return Ok(()) };
    let is_inside = |country: [u8; 2]| regions.iter().any(|region| region.has(country));
    match from.country.is_some_and(is_inside) {
        true => Ok(()),
        false => Err(VerifyError::NetworkNotAllowed),
    }
}

/// Checks the form of the agreement. Returns its regions, if it names any.
///
/// # Errors
///
/// [`VerifyError::ClaimInvalid`].
pub fn form(claims: &ClaimsSet) -> Result<Option<Vec<Region>>, VerifyError> {
    let Some(agreement) = agreement(claims)? else { return Ok(None) };
    if agreement.get("agreement").is_some_and(|id| id.as_str().is_none()) {
        return Err(invalid());
    }
    for name in ["purposes", "datatypes"] {
        texts(agreement, name)?;
    }
    let Some(names) = texts(agreement, "regions")? else { return Ok(None) };
    let regions: Option<Vec<Region>> = names.into_iter().map(Region::parse).collect();
    // A region that cannot be read spoils the rest: nobody knows what it meant.
    let regions = regions.filter(|regions| !regions.is_empty());
    regions.map(Some).ok_or_else(invalid)
}

/// Compares the agreement with the requirements: one of the purposes, and all of the data.
///
/// # Errors
///
/// [`VerifyError::PurposeNotAllowed`], which names what the token lacks; [`VerifyError::ClaimInvalid`].
pub(crate) fn check(claims: &ClaimsSet, requirements: &Requirements) -> Result<(), VerifyError> {
    let Requirements { purposes, data, .. } = requirements;
    if purposes.is_empty() && data.is_empty() {
        return Ok(());
    }
    let agreement = agreement(claims)?;
    let of = |name: &str| -> Result<Scope, VerifyError> {
        let texts = agreement.map(|agreement| texts(agreement, name)).transpose()?.flatten();
        Ok(texts.unwrap_or_default().into_iter().collect())
    };
    if !purposes.is_empty() && !purposes.intersects(&of("purposes")?) {
        return Err(VerifyError::PurposeNotAllowed(purposes.clone()));
    }
    let missing = data.missing_in(&of("datatypes")?);
    match missing.is_empty() {
        true => Ok(()),
        false => Err(VerifyError::PurposeNotAllowed(missing)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(details: serde_json::Value) -> ClaimsSet {
        ClaimsSet::parse(json!({ "authorization_details": details }).to_string().as_bytes())
            .unwrap()
    }

    fn under(agreement: serde_json::Value) -> ClaimsSet {
        let mut agreement = agreement;
        agreement["type"] = AGREEMENT.into();
        claims(json!([{ "type": "payment_initiation", "purposes": 7 }, agreement]))
    }

    #[test]
    fn a_route_needs_one_purpose_and_all_data() {
        let scope = |names: &[&str]| names.iter().copied().collect::<Scope>();
        let refused = |names: &[&str]| Err(VerifyError::PurposeNotAllowed(scope(names)));
        let token = under(
            json!({ "purposes": ["invoicing", "fraud prevention"], "datatypes": ["contact"] }),
        );
        for (purposes, data, expected) in [
            (&[][..], &[][..], Ok(())),
            (&["invoicing"], &["contact"], Ok(())),
            (&["marketing", "fraud prevention"], &[], Ok(())),
            (&["marketing"], &[], refused(&["marketing"])),
            (&[], &["contact", "payment"], refused(&["payment"])),
            (&["Invoicing"], &[], refused(&["Invoicing"])),
        ] {
            let requirements = Requirements {
                purposes: scope(purposes),
                data: scope(data),
                ..Requirements::default()
            };
            assert_eq!(check(&token, &requirements), expected, "{purposes:?} {data:?}");
        }
        let requirements =
            Requirements { purposes: scope(&["invoicing"]), ..Requirements::default() };
        let none = ClaimsSet::parse(b"{}").unwrap();
        for token in [
            none,
            claims(json!("invoicing")),
            claims(json!([])),
            claims(json!([{ "purposes": ["invoicing"] }])),
        ] {
            assert_eq!(check(&token, &requirements), refused(&["invoicing"]));
        }
        let two = json!({ "type": AGREEMENT, "purposes": ["invoicing"] });
        for odd in [
            json!([two, two]),
            json!([{ "type": AGREEMENT, "purposes": "invoicing" }]),
            json!([{ "type": AGREEMENT, "purposes": [7] }]),
        ] {
            assert_eq!(check(&claims(odd), &requirements), Err(invalid()));
        }
        let many = vec!["invoicing"; 65];
        assert_eq!(form(&under(json!({ "datatypes": many }))), Err(invalid()));
    }

    #[test]
    fn a_region_is_compared_with_the_country_that_the_host_tells() {
        let from = |country: &[u8; 2]| Network { country: Some(*country), ..Network::default() };
        let nowhere = Err(VerifyError::NetworkNotAllowed);
        for (regions, country, expected) in [
            (json!(["EU"]), b"DE", Ok(())),
            (json!(["EU"]), b"NO", nowhere.clone()),
            (json!(["EEA"]), b"NO", Ok(())),
            (json!(["EEA"]), b"FR", Ok(())),
            (json!(["EU", "CH"]), b"CH", Ok(())),
            (json!(["EU"]), b"CH", nowhere.clone()),
            // The letters of two neighbours in the list are no country of it.
            (json!(["EU"]), b"TB", nowhere.clone()),
            (json!(["Europe"]), b"DE", Err(invalid())),
            (json!([]), b"DE", Err(invalid())),
            (json!("EU"), b"DE", Err(invalid())),
        ] {
            let token = under(json!({ "regions": regions.clone() }));
            assert_eq!(check_regions(&token, &from(country)), expected, "{regions}");
        }
        let token = under(json!({ "regions": ["EU"] }));
        assert_eq!(check_regions(&token, &Network::default()), nowhere, "the host tells nothing");
        assert_eq!(check_regions(&under(json!({})), &Network::default()), Ok(()));
    }
}
