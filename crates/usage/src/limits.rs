//! What a report may hold.

/// The longest `jti` that is counted, in bytes.
pub const MAX_JWT_ID: usize = 128;
/// The longest of the other texts, in bytes: the route, a scope that it needs, a code, an isolate.
pub const MAX_TEXT: usize = 256;
/// Most tokens of a report.
pub const MAX_TOKENS: usize = 2_000;
/// Most rows of a report.
pub const MAX_USES: usize = 2_400;
/// Most routes, and most places, of a report.
pub const MAX_NAMED: usize = 512;
/// Most codes of a report.
pub const MAX_CODES: usize = 64;
/// Most rows about tokens that are not named.
pub const MAX_FOLDED: usize = 4_096;
/// The largest number of requests in a row.
pub const MAX_COUNT: u64 = 1 << 24;
/// The largest number of reports of an isolate, and of lost requests.
pub const MAX_NUMBER: u64 = 1 << 32;
/// The largest report in bytes, before compression. None is larger within the other limits.
pub const MAX_BYTES: usize = 2 << 20;
