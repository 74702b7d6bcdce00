//! The master key, and the PKCS #11 token if one is configured, which open the signing keys.

use std::fs;
use std::sync::Arc;

use anyhow::{Context, bail};
use edgepass_issuer::Config;
use edgepass_issuer::config::Pkcs11Config;
use edgepass_issuer::seal::MasterKey;
use edgepass_issuer::vault::{DeviceError, KeyDevice, Vault};
use edgepass_pkcs11::Token;
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::{master_key, private};

/// Environment variable with the PIN of the token's user; takes precedence over the file.
const PIN: &str = "EDGEPASS_PKCS11_PIN";

/// Loads the master key and opens the configured token.
pub(crate) fn load(config: &Config) -> anyhow::Result<Vault> {
    with(master_key::load(config)?, config)
}

/// As [`load`], with this master key.
pub(crate) fn with(master: MasterKey, config: &Config) -> anyhow::Result<Vault> {
    let device = config.pkcs11.as_ref().map(device).transpose()?;
    Ok(Vault::new(master, device))
}

fn device(config: &Pkcs11Config) -> anyhow::Result<Arc<dyn KeyDevice>> {
    let pin = pin(config)?;
    let opened = Token::open(&config.module, &config.token_label, pin.trim());
    let opened = opened.map_err(|error| match error {
        // Another attempt would not help.
        DeviceError::PinRefused => anyhow::Error::new(error),
        error => anyhow::Error::new(Failure::Unavailable).context(error),
    });
    Ok(Arc::new(opened?))
}

fn pin(config: &Pkcs11Config) -> anyhow::Result<Zeroizing<String>> {
    if let Ok(pin) = std::env::var(PIN) {
        return Ok(Zeroizing::new(pin));
    }
    let Some(file) = &config.pin_file else {
        bail!("there is no PIN for the PKCS #11 token; set {PIN}, or pin_file under [keys.pkcs11]");
    };
    private::refuse_if_others_may_read(file, "the PIN file")?;
    let text = fs::read_to_string(file)
        .with_context(|| format!("the PIN file {} cannot be read", file.display()))?;
    Ok(Zeroizing::new(text))
}
