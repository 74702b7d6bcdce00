//! Checks whether `serve` is ready, and whether each target holds this issuer's JWK Set.

use edgepass_issuer::paths::JWK_SET;
use edgepass_issuer::publish::target::Target;
use edgepass_issuer::{Config, Store};
use edgepass_jose::{Algorithm, JwkSet};
use edgepass_store::Objects;
use reqwest::Client;

use super::Report;

pub(super) async fn look<S: Store>(
    config: &Config,
    store: &S,
    client: &Client,
    report: &mut Report,
) -> anyhow::Result<()> {
    match client.get(format!("http://{}/readyz", config.listen)).send().await {
        Ok(answer) if answer.status().is_success() => {
            report.good("readiness", "`edgepass serve` has published everything");
        }
        Ok(_) => report.bad("readiness", "`edgepass serve` is not ready; see its log"),
        Err(_) => {
            let says = format!("`edgepass serve` does not answer at {}", config.listen);
            report.bad("readiness", says);
        }
    }
    let keys = store.keys().await?;
    let ours: Vec<&str> = keys.published().map(|key| key.key_id.as_str()).collect();
    for target in &config.targets {
        let target = match Objects::open(target, &[]) {
            Ok(target) => target,
            Err(error) => {
                report.bad("target", edgepass_server::error_chain(&error));
                continue;
            }
        };
        let name = target.name().to_owned();
        match target.read(JWK_SET).await {
            Err(error) => {
                let why = edgepass_server::error_chain(&error);
                report.bad("target", format!("{name}: {why}"));
            }
            Ok(None) => {
                let says = "there is no JWK Set; restart `edgepass serve` if the target was configured after its start";
                report.bad("target", format!("{name}: {says}"));
            }
            Ok(Some(live)) => {
                let set = JwkSet::parse(&live.body, &Algorithm::ALL, edgepass_crypto::is_sound);
                let theirs = set.unwrap_or_default();
                let theirs: Vec<&str> =
                    theirs.keys().iter().filter_map(|key| key.key_id()).collect();
                let is_same = theirs.len() == ours.len() && theirs.iter().all(|k| ours.contains(k));
                if is_same {
                    report.good("target", format!("{name}: has this issuer's JWK Set"));
                } else {
                    report.bad(
                        "target",
                        format!("{name}: has a JWK Set with other keys than this issuer's"),
                    );
                }
            }
        }
    }
    Ok(())
}
