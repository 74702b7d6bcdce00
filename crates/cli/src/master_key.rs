//! The master key, from the environment or else from a file that only its owner can read.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use edgepass_issuer::Config;
use edgepass_issuer::seal::MasterKey;
use zeroize::Zeroizing;

use crate::private;

/// Environment variable with the key; takes precedence over the file.
pub(crate) const VARIABLE: &str = "EDGEPASS_MASTER_KEY";

/// Loads the master key from [`VARIABLE`], or else from the configured file. Refuses a file inside
/// `data_dir` and, on Unix, a file on which other users have any permission.
pub(crate) fn load(config: &Config) -> anyhow::Result<MasterKey> {
    if let Ok(text) = std::env::var(VARIABLE) {
        return MasterKey::parse(&Zeroizing::new(text)).context(VARIABLE);
    }
    let Some(file) = &config.master_key_file else {
        bail!("there is no master key; set {VARIABLE}, or master_key_file in the configuration");
    };
    read(file, config)
}

/// Reads a master key from a file, with the same checks as [`load`].
pub(crate) fn read(file: &Path, config: &Config) -> anyhow::Result<MasterKey> {
    let shown = file.display();
    private::refuse_if_others_may_read(file, "the master key file")?;
    refuse_place(file, config)?;
    let text = fs::read_to_string(file)
        .with_context(|| format!("the master key file {shown} cannot be read"))?;
    MasterKey::parse(&Zeroizing::new(text)).with_context(|| format!("{shown}"))
}

/// Refuses a file in the data directory, which need not exist.
pub(crate) fn refuse_place(file: &Path, config: &Config) -> anyhow::Result<()> {
    // Compare resolved paths: links and `..` must not hide that the file is inside `data_dir`.
    let folder = || {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        fs::canonicalize(folder.unwrap_or_else(|| Path::new(".")))
    };
    let real = fs::canonicalize(file).or_else(|_| folder());
    if let (Ok(real), Ok(data)) = (real, fs::canonicalize(&config.data_dir))
        && real.starts_with(data)
    {
        bail!(
            "the master key file {} is inside data_dir; move it outside, so that a copy of the data does not contain the key",
            file.display()
        );
    }
    Ok(())
}

/// Writes `key` to a new file, which on Unix only its owner can read. Fails if the file exists.
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
