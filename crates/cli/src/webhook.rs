//! A webhook, by Standard Webhooks: <https://www.standardwebhooks.com>.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use edgepass_issuer::config::AlertsConfig;
use edgepass_verify::UnixMillis;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::private;

/// Variable with the secret; the file of the configuration is read without it.
const VARIABLE: &str = "EDGEPASS_ALERT_SECRET";
const TIMEOUT: Duration = Duration::from_secs(10);
/// The least and the largest number of octets of a secret.
const OCTETS: std::ops::RangeInclusive<usize> = 24..=64;

pub(crate) struct Webhook {
    url: String,
    secret: Zeroizing<Vec<u8>>,
    client: reqwest::Client,
}

/// The name of a message: the same at each attempt, and another one for other `facts`.
pub(crate) fn message_id(facts: &str) -> String {
    let digest = Sha256::digest(facts);
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl Webhook {
    /// Reads the secret. Sends nothing.
    pub(crate) fn open(config: &AlertsConfig) -> anyhow::Result<Self> {
        let text = match (std::env::var(VARIABLE), &config.secret_file) {
            (Ok(text), _) => Zeroizing::new(text),
            (Err(_), Some(file)) => read(file)?,
            (Err(_), None) => bail!(
                "[alerts] has no secret: write secret_file, or set {VARIABLE}; make one with \
                 `printf whsec_; openssl rand -base64 32`"
            ),
        };
        let secret = text.trim().strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
        let secret = Zeroizing::new(secret.unwrap_or_default());
        if !OCTETS.contains(&secret.len()) {
            bail!("the secret of [alerts] must be whsec_ and 24 to 64 octets in base64");
        }
        let client = reqwest::Client::builder()
            .user_agent(edgepass_client::USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()?;
        Ok(Self { url: config.url.clone(), secret, client })
    }

    /// Sends a body. `id` is the same at each attempt, so that the receiver takes it once. An error says why it
    /// was not taken.
    pub(crate) async fn send(&self, id: &str, now: UnixMillis, body: &str) -> Result<(), String> {
        let seconds = now.numeric_date().seconds();
        let signature = self.signature(id, seconds, body);
        let request = self
            .client
            .post(&self.url)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature)
            .body(body.to_owned());
        match request.send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("status {}", response.status().as_u16())),
            Err(error) => Err(edgepass_server::error_chain(&error.without_url())),
        }
    }

    fn signature(&self, id: &str, seconds: u64, body: &str) -> String {
        // A key of any length is good for HMAC.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.secret) else {
            return String::new();
        };
        mac.update(format!("{id}.{seconds}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

fn read(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    private::refuse_if_others_may_read(file, "the secret of [alerts]")?;
    let text = std::fs::read_to_string(file).with_context(|| {
        format!("{} cannot be read: it holds the secret of [alerts]", file.display())
    })?;
    Ok(Zeroizing::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_standard() {
        // The example of the specification.
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let client = reqwest::Client::new();
        let webhook = Webhook { url: String::new(), secret: Zeroizing::new(secret), client };
        let signature = webhook.signature(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
