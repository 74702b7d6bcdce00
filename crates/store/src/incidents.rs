//! Incidents, on either database.

use edgepass_issuer::breach::Incident;

use crate::rows::{self, Columns};

/// Inserts an incident.
pub(crate) const ADD: &str = "INSERT INTO incidents (seq, id, version, document) \
     SELECT coalesce(max(seq), 0) + 1, $1, $2, $3 FROM incidents";

/// Changes an incident that still has the version `$2`.
pub(crate) const CHANGE: &str =
    "UPDATE incidents SET version = $3, document = $4 WHERE id = $1 AND version = $2";

/// Selects an incident.
pub(crate) const ONE: &str = "SELECT * FROM incidents WHERE id = $1";

/// Selects incidents by position. `$3` is the limit of a page.
pub(crate) const PAGE: &str = "SELECT * FROM incidents WHERE seq > $1 AND seq < $2";

/// As stored.
pub(crate) fn document(incident: &Incident) -> Result<String, serde_json::Error> {
    serde_json::to_string(incident)
}

pub(crate) fn incident(row: &impl Columns) -> Result<Incident, sqlx::Error> {
    let text = rows::text(row, "document")?;
    serde_json::from_str(&text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// An incident with its position.
pub(crate) fn placed(row: &impl Columns) -> Result<(u64, Incident), sqlx::Error> {
    Ok((rows::unsigned(row, "seq")?, incident(row)?))
}
