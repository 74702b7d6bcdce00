//! `edgepass backup`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use edgepass_issuer::Config;
use edgepass_issuer::config::TargetConfig;
use edgepass_store::sqlite::backup;
use serde_json::json;

use super::source::Source;
use crate::exit::Exit;
use crate::{output, private};

/// How commands tell of keys in a device.
pub(super) const DEVICE_KEYS: &str =
    "the private keys in a PKCS #11 token are not in it; back the token up with its own tools";

pub(super) const EXAMPLES: &str = "\
Examples:
  edgepass backup /backups/edgepass-2026-01-31.db
  edgepass --environment production backup /backups/production.db --json

The master key is not in a backup, and a backup is of no use without it: keep it elsewhere.";

#[derive(clap::Args)]
pub(super) struct Args {
    /// File to write. It must not exist, and not be in data_dir or in a target.
    file: PathBuf,
}

pub(super) async fn run(args: &Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    let config = source.load()?;
    if config.database_url.is_some() {
        bail!(
            "the database is on a server; back the schema {} up with pg_dump, or the server with its own tools; after a loss run `edgepass restore` without a file",
            config.schema()
        );
    }
    super::database::refuse_missing(&config)?;
    private::keep(&config)?;
    let file = std::path::absolute(&args.file).context("the current folder cannot be read")?;
    refuse_place(&file, &config)?;
    let partial = Partial::new(&file)?;
    let shown = file.display();
    backup::copy(&config.database(), &partial.path).await.map_err(super::unavailable)?;
    let contents = backup::examine(&partial.path)
        .await
        .map_err(super::unavailable)
        .context("the copy is not whole, and was removed")?;
    let bytes = partial.place(&file).with_context(|| format!("{shown} cannot be written"))?;
    if json {
        output::json(&json!({
            "file": file,
            "environment": config.environment,
            "bytes": bytes,
            "tokens": contents.tokens,
            "audit_entries": contents.entries,
            "pkcs11_keys": contents.device_keys,
        }))?;
        return Ok(Exit::Ok);
    }
    output::line(&format!(
        "backed up to {shown}: {} tokens, {} audit entries, {bytes} bytes; checked",
        contents.tokens, contents.entries
    ))?;
    output::line("the master key is not in it; keep it elsewhere")?;
    if contents.device_keys > 0 {
        output::line(DEVICE_KEYS)?;
    }
    Ok(Exit::Ok)
}

/// Refuses a file that exists or whose place is wrong: beside the database it would be lost with it, or be
/// taken for one of SQLite's files; in a target it would be public.
fn refuse_place(file: &Path, config: &Config) -> anyhow::Result<()> {
    let shown = file.display();
    // SQLite takes a text.
    if file.to_str().is_none() {
        bail!("the name {shown} is not UTF-8");
    }
    if fs::symlink_metadata(file).is_ok() {
        bail!("{shown} already exists; backup never overwrites");
    }
    let folder = file.parent().context("the file has no name")?;
    let folder =
        fs::canonicalize(folder).with_context(|| format!("{} cannot be used", folder.display()))?;
    // Each environment has a folder in the one that the configuration names.
    let of_all = |path: &Path| match config.environment {
        Some(_) => path.parent().unwrap_or(path).to_owned(),
        None => path.to_owned(),
    };
    let is_within =
        |other: &Path| fs::canonicalize(of_all(other)).is_ok_and(|other| folder.starts_with(other));
    if is_within(&config.data_dir) {
        bail!("{shown} is in data_dir; name a file on another disk");
    }
    for target in &config.targets {
        if let TargetConfig::Directory { path } = target
            && is_within(path)
        {
            bail!("{shown} is in the target {}, which is public", of_all(path).display());
        }
    }
    Ok(())
}

/// A file that is being written, beside the one that it becomes. Removed when dropped.
struct Partial {
    path: PathBuf,
}

impl Partial {
    /// Creates the file, with mode 0600.
    fn new(file: &Path) -> anyhow::Result<Self> {
        let path = private::beside(file, &format!(".{}.partial", std::process::id()));
        private::new_file(&path)
            .with_context(|| format!("{} cannot be created", path.display()))?;
        Ok(Self { path })
    }

    /// Makes the content durable, then gives it its name, unless a file has that name by now. Returns the
    /// size in bytes.
    fn place(self, file: &Path) -> std::io::Result<u64> {
        let written = fs::File::open(&self.path)?;
        written.sync_all()?;
        // A link never replaces a file. Some file systems have none.
        match fs::hard_link(&self.path, file) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(error),
            Err(_) if file.exists() => return Err(ErrorKind::AlreadyExists.into()),
            Err(_) => fs::rename(&self.path, file)?,
            Ok(()) => {}
        }
        private::sync_folder_of(file)?;
        Ok(written.metadata()?.len())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After a rename there is none.
        let _ = fs::remove_file(&self.path);
    }
}
