//! The scopes of tokens for the issuer itself: what operators may do over HTTP.

/// Reads tokens, keys, clients and the policy.
pub const READ: &str = "edgepass:read";
/// Reads the audit trail.
pub const AUDIT: &str = "edgepass:audit";
/// Issues and revokes tokens, changes keys, and lets the issuer read its policy again.
pub const OPERATE: &str = "edgepass:operate";
/// Reports how tokens are used.
pub const USAGE: &str = "edgepass:usage";
/// Asks for access, reads and ends one's own requests, and gets their tokens.
pub const REQUEST: &str = "edgepass:request";
/// Reads all requests for access, and decides, ends and reviews them.
pub const APPROVE: &str = "edgepass:approve";
/// How they begin. No other scope does.
pub const START: &str = "edgepass:";

/// Whether a scope is one of them.
pub fn is_one(scope: &str) -> bool {
    [READ, AUDIT, OPERATE, USAGE, REQUEST, APPROVE].contains(&scope)
}
