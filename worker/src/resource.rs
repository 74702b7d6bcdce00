//! The metadata of protected resources (RFC 9728): what the API is called, who issues its tokens, and
//! which scopes its routes require.

use edgepass_jose::Scope;
use edgepass_jose::json::JsonObject;
use edgepass_verify::policy::is_issuer_url;
use edgepass_verify::token_place::TokenPlace;
use serde_json::Value;

use crate::policy::{Access, GuardPolicy};

/// The path of the metadata of the whole API. For a resource with a path, that path follows (RFC 9728
/// §3.1).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The URL of the metadata of a resource: its path, or an empty text for the whole API.
pub(crate) fn metadata_url(external_url: &str, resource: &str) -> String {
    [external_url, WELL_KNOWN, resource].concat()
}

/// The resource whose metadata are at a path: its path, or an empty text for the whole API.
pub(crate) fn resource_at(path: &str) -> Option<&str> {
    path.strip_prefix(WELL_KNOWN)
}

/// Returns the metadata of a resource. `None` if no route that needs a token belongs to it.
/// `issuers` are the verifier's. The metadata name those that a route of the resource accepts; the
/// template of an issuer with tenants is no URL of one.
pub(crate) fn metadata(
    resource: &str,
    external_url: &str,
    policy: &GuardPolicy,
    issuers: &[String],
) -> Option<String> {
    let (mut scopes, mut methods, mut accepted, mut is_known) =
        (Vec::new(), Vec::new(), Vec::new(), false);
    for route in &policy.routes {
        let Access::Token(requirements) = &route.access else { continue };
        if route.resource != resource {
            continue;
        }
        is_known = true;
        accepted.push(requirements.issuers.as_deref());
        scopes.extend(requirements.all_of.iter().chain(requirements.any_of.iter()));
        for place in requirements.token_from.as_deref().unwrap_or(&[TokenPlace::Authorization]) {
            methods.push(match place {
                TokenPlace::Authorization => "header",
                TokenPlace::Query(name) if name == "access_token" => "query",
                _ => continue,
            });
        }
    }
    let servers = issuers.iter().map(String::as_str).filter(|issuer| {
        let takes =
            |own: &Option<&[String]>| own.is_none_or(|own| own.iter().any(|own| own == issuer));
        is_issuer_url(issuer) && !issuer.contains('{') && accepted.iter().any(takes)
    });
    let mut document = JsonObject::new();
    document.insert("resource".into(), format!("{external_url}{resource}").into());
    // Empty arrays are left out (RFC 9728 §3.2), except that of methods: it says that the token is
    // in no place of RFC 6750.
    let mut add = |name: &str, texts: Vec<&str>, if_empty| {
        if if_empty || !texts.is_empty() {
            document.insert(name.into(), texts.into());
        }
    };
    add("authorization_servers", servers.collect(), false);
    // Sets of names: sorted, without repetitions.
    let (scopes, methods): (Scope, Scope) =
        (scopes.into_iter().collect(), methods.into_iter().collect());
    add("scopes_supported", scopes.iter().collect(), false);
    add("bearer_methods_supported", methods.iter().collect(), true);
    is_known.then(|| Value::Object(document).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_resource_has_the_scopes_of_its_routes() {
        let text = json!({ "route": [
            { "path": "/health", "methods": ["GET"], "public": true },
            { "path": "/mcp", "methods": ["GET", "POST", "DELETE"], "all_of": ["mcp:use"], "resource": "/mcp" },
            { "path": "/files/*", "methods": ["GET"], "any_of": ["files:read", "files:all"],
              "issuers": ["https://issuer.example"] },
            { "path": "/files/*", "methods": ["PUT"], "all_of": ["files:all"], "token_from": ["authorization", "query"],
              "issuers": ["https://issuer.example", "https://login.example/{tid}/v2.0"] },
            { "path": "/login", "methods": ["GET"], "issuers": ["joe"], "resource": "/login", "token_from": ["cookie:t"] },
        ] });
        let policy: GuardPolicy =
            serde_json::from_value::<crate::policy::PolicyText>(text).unwrap().try_into().unwrap();
        let issuers = ["https://issuer.example", "joe", "https://login.example/{tid}/v2.0"];
        let issuers = [&issuers[..], &["https://other.example"]].concat();
        let issuers: Vec<String> = issuers.into_iter().map(str::to_owned).collect();
        let get = |path: &str| {
            let found = metadata(resource_at(path)?, "https://api.example", &policy, &issuers);
            found.map(|text| serde_json::from_str::<Value>(&text).unwrap())
        };
        let whole = json!({
            "resource": "https://api.example", "authorization_servers": ["https://issuer.example"],
            "scopes_supported": ["files:all", "files:read"], "bearer_methods_supported": ["header", "query"],
        });
        assert_eq!(get("/.well-known/oauth-protected-resource"), Some(whole));
        let mcp = get("/.well-known/oauth-protected-resource/mcp").unwrap();
        assert_eq!(mcp["resource"], "https://api.example/mcp");
        assert_eq!(mcp["scopes_supported"], json!(["mcp:use"]));
        let servers = json!(["https://issuer.example", "https://other.example"]);
        assert_eq!(mcp["authorization_servers"], servers);
        let login = get("/.well-known/oauth-protected-resource/login");
        let only =
            json!({ "resource": "https://api.example/login", "bearer_methods_supported": [] });
        assert_eq!(login, Some(only));
        for path in [
            "/.well-known/oauth-protected-resource/",
            "/.well-known/oauth-protected-resource/files",
            "/mcp",
        ] {
            assert_eq!(get(path), None, "{path}");
        }
        let url = metadata_url("https://api.example", "/mcp");
        assert_eq!(url, "https://api.example/.well-known/oauth-protected-resource/mcp");
    }
}
