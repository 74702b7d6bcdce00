//! Requests for access, on either database.

use edgepass_issuer::access::AccessRequest;
use edgepass_issuer::storage::Notice;

use crate::rows::{self, Columns};

/// Selects whether access stands for a token: bound to the request, the token's `iat` and `exp`, and its role.
pub(crate) const STANDS: &str = "SELECT 1 FROM access_requests WHERE id = $1 AND recorded = 'approved' \
     AND begins <= $2 AND ends >= $3 AND role = $4";

/// Selects the request that broke the glass of a role and was not reviewed.
pub(crate) const UNREVIEWED: &str =
    "SELECT id FROM access_requests WHERE role = $1 AND unreviewed = 1";

/// Selects the request of a party for a role that is pending at a time, in milliseconds.
pub(crate) const PENDING: &str = "SELECT id FROM access_requests WHERE role = $1 AND asked_by = $2 \
     AND recorded = 'pending' AND expires_ms > $3";

/// Selects how many requests of a party expire after a time, in milliseconds: those of the hour before it.
pub(crate) const ASKED: &str =
    "SELECT count(*) AS number FROM access_requests WHERE asked_by = $1 AND expires_ms > $2";

/// Inserts a request.
pub(crate) const ADD: &str = "INSERT INTO access_requests (seq, id, role, client_id, subject, asked_by, \
     recorded, begins, ends, expires_ms, unreviewed, settled, version, document) \
     SELECT coalesce(max(seq), 0) + 1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1, $11, $12 FROM access_requests";

/// Changes a request that still has the version `$2`.
pub(crate) const CHANGE: &str = "UPDATE access_requests SET recorded = $3, begins = $4, ends = $5, \
     unreviewed = $6, version = $7, document = $8, settled = CASE WHEN $3 = 'ended' AND recorded <> 'ended' THEN $9 ELSE settled END \
     WHERE id = $1 AND version = $2";

/// Selects the open requests for a role.
pub(crate) const OF: &str = "SELECT * FROM access_requests WHERE role = $1 AND client_id = $2 \
     AND subject = $3 AND recorded IN ('pending', 'approved', 'denied') ORDER BY seq DESC LIMIT 100";

/// Selects requests by a filter. `$3` is the limit of a page.
pub(crate) const FILTERED: &str = "SELECT * FROM access_requests WHERE seq > $1 AND seq < $2 \
     AND ($4 IS NULL OR asked_by = $4) AND ($5 IS NULL OR role = $5) AND ($6 IS NULL OR recorded = $6) \
     AND ($7 = 0 OR unreviewed = 1)";

/// Selects the requests that are pending or approved.
pub(crate) const OPEN_REQUESTS: &str =
    "SELECT * FROM access_requests WHERE recorded IN ('pending', 'approved')";

/// Selects requests whose tokens may not be revoked yet.
pub(crate) const UNSETTLED: &str =
    "SELECT * FROM access_requests WHERE settled = 0 ORDER BY seq LIMIT 100";

/// Records that the tokens of a request are revoked.
pub(crate) const SETTLE: &str = "UPDATE access_requests SET settled = 1 WHERE id = $1";

/// Inserts a notice.
pub(crate) const NOTICE: &str = "INSERT INTO notices (id, channel, at_ms, document, urgent) \
     SELECT coalesce(max(id), 0) + 1, $1, $2, $3, $4 FROM notices";

/// Selects the notices of a channel that may be told.
pub(crate) const OPEN: &str = "SELECT * FROM notices WHERE channel = $1 AND again_ms <= $2 \
     ORDER BY urgent DESC, id LIMIT 50";

/// Records a failed attempt to tell a notice.
pub(crate) const NOT_TOLD: &str =
    "UPDATE notices SET attempts = attempts + 1, again_ms = $2 WHERE id = $1";

/// Deletes a notice.
pub(crate) const TOLD: &str = "DELETE FROM notices WHERE id = $1";

/// Deletes requests that were closed before a time, in seconds (`$1`) and in milliseconds (`$2`).
pub(crate) const FORGET: &str = "DELETE FROM access_requests WHERE seq IN (SELECT seq FROM access_requests \
     WHERE expires_ms < $2 AND (ends IS NULL OR ends < $1) AND unreviewed = 0 AND settled = 1 LIMIT $3)";

/// The texts by which a document names a person, as JSON has them.
pub(crate) fn parties(subject: &str) -> [String; 2] {
    ["subject", "cli"].map(|kind| serde_json::Value::from(format!("{kind}:{subject}")).to_string())
}

/// The columns of a request that change.
pub(crate) struct Changing {
    pub(crate) recorded: &'static str,
    pub(crate) begins: Option<i64>,
    pub(crate) ends: Option<i64>,
    pub(crate) unreviewed: i64,
    pub(crate) version: i64,
    pub(crate) document: String,
    /// Whether there is no token of it to revoke.
    pub(crate) settled: i64,
}

impl Changing {
    pub(crate) fn of(request: &AccessRequest) -> Result<Self, serde_json::Error> {
        Ok(Self {
            recorded: request.recorded.name(),
            begins: request.begins.map(rows::signed),
            ends: request.ends.map(rows::signed),
            unreviewed: i64::from(request.is_unreviewed()),
            version: rows::signed(request.version),
            document: serde_json::to_string(request)?,
            settled: i64::from(request.begins.is_none()),
        })
    }
}

/// A request as stored.
pub(crate) fn request(row: &impl Columns) -> Result<AccessRequest, sqlx::Error> {
    let text = rows::text(row, "document")?;
    serde_json::from_str(&text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// A request with its position.
pub(crate) fn placed(row: &impl Columns) -> Result<(u64, AccessRequest), sqlx::Error> {
    Ok((rows::unsigned(row, "seq")?, request(row)?))
}

pub(crate) fn notice(row: &impl Columns) -> Result<Notice, sqlx::Error> {
    Ok(Notice {
        id: rows::unsigned(row, "id")?,
        at_ms: rows::unsigned(row, "at_ms")?,
        document: rows::text(row, "document")?,
        attempts: rows::unsigned(row, "attempts")?,
    })
}
