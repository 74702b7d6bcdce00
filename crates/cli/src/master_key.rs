//! Where the master key comes from: the environment first, then a file that only its owner reads.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use edgepass_issuer::Config;
use edgepass_issuer::seal::MasterKey;
use zeroize::Zeroizing;

/// The environment variable that comes before the file.
pub(crate) const VARIABLE: &str = "EDGEPASS_MASTER_KEY";

/// Load the master key.
pub(crate) fn load(config: &Config) -> anyhow::Result<MasterKey> {
    if let Ok(text) = std::env::var(VARIABLE) {
        return MasterKey::parse(&Zeroizing::new(text)).context(VARIABLE);
    }
    let Some(file) = &config.master_key_file else {
        bail!("there is no master key: set {VARIABLE} or write master_key_file in the config");
    };
    let shown = file.display();
    refuse_if_readable_by_others(file)?;
    // Whatever the paths are called: links and `..` resolved.
    if let (Ok(real), Ok(data)) = (fs::canonicalize(file), fs::canonicalize(&config.data_dir))
        && real.starts_with(data)
    {
        bail!("{shown} lies inside data_dir: a copy of the data must not carry its key");
    }
    let text = fs::read_to_string(file)
        .with_context(|| format!("the master key file {shown} cannot be read"))?;
    MasterKey::parse(&Zeroizing::new(text)).with_context(|| format!("{shown}"))
}

/// Write a new master key file that only its owner reads. Never overwrites.
pub(crate) fn create(file: &Path, key: &MasterKey) -> anyhow::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let write = || {
        let mut output = options.open(file)?;
        writeln!(output, "{}", *key.to_text())?;
        output.sync_all()
    };
    write().with_context(|| format!("{} cannot be created", file.display()))
}

#[cfg(unix)]
fn refuse_if_readable_by_others(file: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let shown = file.display();
    let metadata = fs::metadata(file)
        .with_context(|| format!("the master key file {shown} cannot be read"))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        bail!("others may read the master key file {shown}; run: chmod 600 {shown}");
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_if_readable_by_others(_file: &Path) -> anyhow::Result<()> {
    Ok(())
}
