//! Mistakes in the guard's policy. Their texts say what to write instead.

use edgepass_verify::checks::RequirementsError;

/// A mistake in a policy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    #[error("a policy without routes lets nothing through: write a [[route]]")]
    NoRoutes,
    #[error("route {path}: {mistake}")]
    Route { path: String, mistake: RouteError },
    #[error(
        "route {path}: {first} comes before it and takes its requests; put the narrower one first"
    )]
    Hidden { path: String, first: String },
    #[error(
        "routes {0} and {1}: many origins read these paths as one (case, trailing slash, dots, \
         extension); give both the same requirements, or write origin_paths = \"exact\""
    )]
    Aliases(String, String),
    #[error(
        "routes {0} and {1} have paths in common, and neither is the narrower one: put the stricter \
         one first, or write origin_paths = \"exact\""
    )]
    Crossing(String, String),
    #[error(
        "pass_headers: {0:?} is not a header that the guard removes, or is the guard's own; write \
         names in lower case (docs/security.md lists them)"
    )]
    PassHeaders(String),
}

/// A mistake in a route.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RouteError {
    #[error("path: write segments after \"/\": literal, {{name}}, or a final *")]
    Path,
    #[error("methods: name at least one of {}", crate::policy::METHODS.join(", "))]
    Methods,
    #[error(
        "all_of, any_of, purposes, data, issuers and audience must not be empty: leave a member out instead"
    )]
    Empty,
    #[error(transparent)]
    Requirements(RequirementsError),
    #[error("public: write either public = true, or all_of, any_of, purposes, data or issuers")]
    PublicWithRequirements,
    #[error("write all_of or any_of, purposes or data, issuers, or public = true")]
    NoRequirements,
    #[error("token_from: \"websocket\" needs websocket = \"pass\"")]
    ProtocolWithoutWebSocket,
    #[error("a public route has neither audience, stale_if_error nor token_from")]
    PublicWithOptions,
    #[error("a public route has no token to outlive")]
    NoTokenToOutlive,
    #[error("cache: only GET requests of public routes may be cached")]
    CacheOfRestricted,
    #[error("cache: a cached route takes neither forward_token nor websocket")]
    CacheOfToken,
    #[error(
        "cors.origins: write origins, [\"https://app.example\", \"https://*.app.example\", \
         \"tauri://localhost\"]; one * in the first of at least three labels, no default port"
    )]
    CorsOrigins,
    #[error(
        "cors.preflight: the origin answers preflights, so headers and max_age would have no effect"
    )]
    CorsOfOrigin,
    #[error("websocket: a WebSocket begins with GET, which the route does not take")]
    WebSocketWithoutGet,
    #[error("a public route knows no subject: it has neither rate_limit nor resource")]
    PublicWithSubject,
    #[error("resource: write a path without variables and trailing slash, \"/mcp\"")]
    Resource,
    #[error(
        "rate_limit: write the name of a binding and its period, \"10s\" or \"60s\": {{ binding = \"LIMITER\", \
         period = \"60s\" }}"
    )]
    RateLimit,
    #[error(
        "encoded_slash: the path is literal, so no request with an escaped slash matches it; remove it, or \
         write a variable, \"/files/{{name}}\""
    )]
    EncodedSlash,
    #[error("mask: name fields, and leave unless out instead of writing an empty text")]
    Mask,
    #[error(
        "mask: {0:?} is not a path: write $.customers[*].iban or $..email; names, ['names'], [0], * and .., no \
         filters, slices or unions"
    )]
    MaskPath(String),
    #[error("mask: at most 32 paths, with at most 96 segments in all")]
    Masks,
    #[error("mask: a route with masks needs a token, and takes no WebSocket")]
    MaskWithoutToken,
    #[error("cors.headers: write header names, [\"content-type\"]")]
    CorsHeaders,
    #[error(
        "cors.headers: name the header of the token, such as \"authorization\", or no page can call the \
         route"
    )]
    CorsWithoutToken,
}
