//! Request headers that origins and proxies trust, and that no client may write. docs/security.md
//! names the source of each.

/// Prefix of the guard's own headers.
pub(crate) const OWN: &str = "x-edgepass-";

/// Headers that match a prefix below but are forwarded, since the guard or Cloudflare writes them.
const KEPT: [&str; 2] = ["x-forwarded-for", "x-forwarded-proto"];

/// Headers that replace the path, method, host or address of a request, or that make a proxy change
/// headers. In all three lists, a name that ends with `-` is a prefix.
const ROUTING: [&str; 37] = [
    "base-url",
    "client-ip",
    "connection",
    "fastly-client-ip",
    "forwarded",
    "front-end-https",
    "next-resume",
    "path-info",
    "proxy",
    "proxy-authorization",
    "proxy-connection",
    "script-name",
    "true-client-ip",
    "x-accel-",
    "x-astro-",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-",
    "x-forwarded",
    "x-forwarded-",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-invoke-",
    "x-matched-path",
    "x-method-override",
    "x-middleware-",
    "x-ms-original-url",
    "x-now-route-matches",
    "x-original-",
    "x-proxied-https",
    "x-proxy-url",
    "x-request-uri",
    "x-rewrite-",
    "x-script-name",
    "x-sendfile-type",
    "x-url-scheme",
];
/// Headers in which a proxy tells the origin the user or the tenant.
const IDENTITY: [&str; 36] = [
    "cf-access-",
    "es-security-runas-user",
    "impersonate-",
    "iv-",
    "ms-aspnetcore-",
    "oidc-",
    "remote-",
    "shib-",
    "sm-",
    "tailscale-",
    "thanos-tenant",
    "x-amzn-oidc-",
    "x-anonymous-",
    "x-appengine-",
    "x-auth-request-",
    "x-authenticated-",
    "x-authentik-",
    "x-consumer-",
    "x-credential-",
    "x-endpoint-api-userinfo",
    "x-goog-authenticated-user-",
    "x-goog-iap-",
    "x-hasura-",
    "x-jwt-",
    "x-ms-client-principal",
    "x-ms-client-principal-",
    "x-ms-token-",
    "x-pomerium-",
    "x-proxiedentitieschain",
    "x-proxy-roles",
    "x-proxy-user",
    "x-remote-",
    "x-scope-orgid",
    "x-userinfo",
    "x-vouch-",
    "x-webauth-",
];
/// Headers in which a proxy tells the origin the client's certificate (RFC 9440 §2.4).
const CERTIFICATE: [&str; 21] = [
    "-wscc",
    "-wsru",
    "cert-",
    "cf-cert-",
    "cf-client-cert-",
    "client-cert",
    "client-cert-",
    "cloudfront-viewer-cert-",
    "proxy-auth-cert",
    "proxy-ssl-id",
    "ssl-",
    "wl-proxy-",
    "x-amzn-mtls-",
    "x-arr-",
    "x-cert-",
    "x-client-cert",
    "x-client-cert-",
    "x-client-dn",
    "x-client-verify",
    "x-ssl-",
    "x-tls-",
];

/// Whether a header begins with [`OWN`] or is in one of the lists. Ignores case, and takes every
/// character but letters and digits for `-`, as some servers do.
pub(crate) fn is_untrusted(name: &str) -> bool {
    let fold =
        |sign: char| if sign.is_ascii_alphanumeric() { sign.to_ascii_lowercase() } else { '-' };
    let folded: String = name.chars().map(fold).collect();
    let is_one =
        |listed: &&str| folded == *listed || (listed.ends_with('-') && folded.starts_with(*listed));
    let mut listed = ROUTING.iter().chain(&IDENTITY).chain(&CERTIFICATE);
    folded.starts_with(OWN) || (!KEPT.contains(&name) && listed.any(is_one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_exactly_these() {
        let document = include_str!("../../docs/security.md");
        let section = document.split("## Headers that no client may write").nth(1).unwrap();
        let rows = section.split("\n## ").next().unwrap().lines();
        let cells =
            rows.filter(|row| row.starts_with("| `")).filter_map(|row| row.split('|').nth(1));
        let mut named: Vec<String> = cells
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .map(|name| name.replace('*', ""))
            .collect();
        let tables = ROUTING.iter().chain(&IDENTITY).chain(&CERTIFICATE);
        let mut removed: Vec<String> =
            tables.map(|name| (*name).to_owned()).chain([OWN.to_owned()]).collect();
        named.sort_unstable();
        removed.sort_unstable();
        assert_eq!(named, removed);
    }

    #[test]
    fn what_origins_believe_is_the_guards_to_say() {
        for name in [
            "x-edgepass-subject",
            "x_edgepass~scope",
            "X-Original-URL",
            "x-rewrite-url",
            "x-http-method-override",
            "X_HTTP_Method",
            "x-forwarded-prefix",
            "x.forwarded.user",
            "x-ssl-client-s-dn",
            "ssl_client_verify",
            "x-client-dn",
            "x-forwarded-client-cert-chain",
            "remote-user",
            "forwarded",
            "x_forwarded_for",
            "connection",
        ] {
            assert!(is_untrusted(name), "{name}");
        }
        for name in [
            "accept",
            "content-type",
            "cookie",
            "user-agent",
            "x-request-id",
            "x-forwarded-proto",
            "x-hosting",
            "x-user-agent",
            "x-forwarded-for",
            "x-real-ip",
            "cf-connecting-ip",
            "sec-websocket-key",
            "upgrade",
            "x-api-key",
            "idempotency-key",
            "traceparent",
        ] {
            assert!(!is_untrusted(name), "{name}");
        }
    }
}
