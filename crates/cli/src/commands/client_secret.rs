//! `edgepass client-secret`.

use edgepass_issuer::client::secret::ClientSecret;
use serde_json::json;

use crate::exit::Exit;
use crate::host::OsEntropy;
use crate::output;

pub(super) fn run(json: bool) -> anyhow::Result<Exit> {
    let mut entropy = OsEntropy;
    let secret = ClientSecret::generate(&mut entropy)?;
    let hash = secret.hash(&mut entropy)?.to_string();
    if json {
        output::json(&json!({ "client_secret": secret.reveal(), "secret_hash": hash }))?;
    } else {
        output::line(&format!("client secret (shown once):  {}", secret.reveal()))?;
        output::line(&format!("for edgepass.toml:           secret_hash = \"{hash}\""))?;
    }
    Ok(Exit::Ok)
}
