//! Agreements: the contracts under which roles may reach personal data.

use edgepass_verify::UnixMillis;
use serde::Serialize;

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
    ///     regions: vec![], retention: None, start: 1000, end: Some(2000),
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
