//! Agreements: the contracts under which roles may reach personal data.

use std::collections::{BTreeMap, BTreeSet};

use edgepass_verify::UnixMillis;
use edgepass_verify::checks::purpose::{AGREEMENT, Region};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A data processing agreement (Art. 28 GDPR), or another contract about the use of data.
#[derive(Clone, Debug, Serialize)]
pub struct Agreement {
    /// Identifier, unique in the policy.
    pub id: String,
    /// The parties, by name.
    pub parties: Vec<String>,
    /// The purposes for which the data may be used.
    pub purposes: Vec<String>,
    /// The data categories that the agreement covers.
    pub data: Vec<String>,
    /// The recipients of the data, by name or category.
    pub recipients: Vec<String>,
    /// The regions in which the data may be processed.
    pub regions: Vec<String>,
    /// Whether tokens may be used from these regions alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub enforce_regions: bool,
    /// What protects data in regions outside of the EEA, such as standard contractual clauses, by region.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub safeguards: BTreeMap<String, String>,
    /// How long the recipients may keep the data, in seconds. `None`: the agreement states nothing.
    pub retention: Option<u64>,
    /// The first second in which the agreement holds, in seconds since the Unix epoch.
    pub start: u64,
    /// The first second in which the agreement no longer holds. `None`: it has no end.
    pub end: Option<u64>,
}

/// The reason why an agreement allows no token now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotInForce {
    /// The agreement begins later.
    #[error("has not begun")]
    NotBegun,
    /// The agreement has ended.
    #[error("has ended")]
    Ended,
}

impl Agreement {
    /// The seconds for which the agreement still holds. `None`: it has no end.
    ///
    /// # Errors
    ///
    /// [`NotInForce`].
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_issuer::policy::agreement::{Agreement, NotInForce};
    /// use edgepass_verify::UnixMillis;
    ///
    /// let agreement = Agreement {
    ///     id: "dpa-7".into(), parties: vec![], purposes: vec![], data: vec![], recipients: vec![],
    ///     regions: vec![], enforce_regions: false,
    ///     safeguards: Default::default(), retention: None, start: 1000, end: Some(2000),
    /// };
    /// assert_eq!(agreement.remaining(UnixMillis(1_900_000)), Ok(Some(100)));
    /// assert_eq!(agreement.remaining(UnixMillis(999_999)), Err(NotInForce::NotBegun));
    /// assert_eq!(agreement.remaining(UnixMillis(2_000_000)), Err(NotInForce::Ended));
    /// ```
    pub fn remaining(&self, now: UnixMillis) -> Result<Option<u64>, NotInForce> {
        let now = now.numeric_date().seconds();
        if now < self.start {
            return Err(NotInForce::NotBegun);
        }
        match self.end.map(|end| end.saturating_sub(now)) {
            Some(0) => Err(NotInForce::Ended),
            left => Ok(left),
        }
    }
}

/// What a token says of its agreement: an object of the claim `authorization_details` (RFC 9396 §9.1).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AgreementDetail {
    #[serde(rename = "type")]
    kind: String,
    /// `id` of the agreement.
    pub agreement: String,
    /// The purposes for which the token may be used.
    #[serde(default)]
    pub purposes: Vec<String>,
    /// The categories of data that the token's scope gives access to.
    #[serde(default)]
    pub datatypes: Vec<String>,
    /// The regions from which it may be used. Empty: from any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
}

impl AgreementDetail {
    /// What a token says that has these categories of data.
    pub fn new(agreement: &Agreement, datatypes: Vec<String>) -> Self {
        let regions =
            if agreement.enforce_regions { agreement.regions.clone() } else { Vec::new() };
        Self {
            kind: AGREEMENT.to_owned(),
            agreement: agreement.id.clone(),
            purposes: agreement.purposes.clone(),
            datatypes,
            regions,
        }
    }

    /// Finds it in the claim of a token.
    pub fn find(details: &Value) -> Option<Self> {
        let mut own = details
            .as_array()?
            .iter()
            .filter(|one| one.get("type").is_some_and(|kind| kind == AGREEMENT));
        serde_json::from_value(own.next()?.clone()).ok()
    }

    /// What a token says that is exchanged for one that says `parent`: never more. `None`: the regions of both
    /// have nothing in common.
    pub fn within(self, parent: Option<&Self>) -> Option<Self> {
        let both = |own: Vec<String>, other: &[String]| -> Vec<String> {
            own.into_iter().filter(|name| other.contains(name)).collect()
        };
        let Some(parent) = parent else {
            return Some(Self { purposes: Vec::new(), datatypes: Vec::new(), ..self });
        };
        let regions = match (self.regions.is_empty(), parent.regions.is_empty()) {
            (true, _) => parent.regions.clone(),
            (false, true) => self.regions,
            (false, false) => {
                let pairs = self
                    .regions
                    .iter()
                    .flat_map(|own| parent.regions.iter().filter_map(|other| narrower(own, other)));
                let common: BTreeSet<&str> = pairs.collect();
                let common = Some(common).filter(|common| !common.is_empty())?;
                common.into_iter().map(str::to_owned).collect()
            }
        };
        Some(Self {
            purposes: both(self.purposes, &parent.purposes),
            datatypes: both(self.datatypes, &parent.datatypes),
            regions,
            ..self
        })
    }
}

/// The name of the smaller of two regions of which one is inside the other.
fn narrower<'t>(one: &'t str, other: &'t str) -> Option<&'t str> {
    let (own, region) = (Region::parse(one)?, Region::parse(other)?);
    let common = own.common(region)?;
    Some(if common == own { one } else { other })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn detail(purposes: &[&str], datatypes: &[&str], regions: &[&str]) -> AgreementDetail {
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        AgreementDetail {
            kind: AGREEMENT.into(),
            agreement: "dpa".into(),
            purposes: texts(purposes),
            datatypes: texts(datatypes),
            regions: texts(regions),
        }
    }

    #[test]
    fn an_exchange_gains_no_purpose_data_or_region() {
        let by_policy = || detail(&["a", "b"], &["x", "y"], &["EU", "CH"]);
        for (parent, expected) in [
            (detail(&["b", "c"], &["y"], &["CH", "NO"]), Some(detail(&["b"], &["y"], &["CH"]))),
            (detail(&[], &[], &[]), Some(detail(&[], &[], &["EU", "CH"]))),
            (detail(&["a"], &["x"], &["NO"]), None),
            (detail(&["a"], &["x"], &["EEA"]), Some(detail(&["a"], &["x"], &["EU"]))),
            (detail(&["a"], &["x"], &["DE", "US"]), Some(detail(&["a"], &["x"], &["DE"]))),
        ] {
            assert_eq!(by_policy().within(Some(&parent)), expected, "{parent:?}");
        }
        // A token from before agreements were named in tokens.
        assert_eq!(by_policy().within(None), Some(detail(&[], &[], &["EU", "CH"])));
        let free = detail(&["a"], &["x"], &[]);
        assert_eq!(free.clone().within(Some(&by_policy())).unwrap().regions, ["EU", "CH"]);
        let claim = json!([{ "type": "other" }, free]);
        assert_eq!(AgreementDetail::find(&claim), Some(free));
        assert_eq!(AgreementDetail::find(&json!("x")), None);
    }
}
