//! Keeps private data private: the issuer's data directory and files, and this process's memory.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use edgepass_issuer::Config;
use edgepass_issuer::config::{TargetConfig, TlsConfig};

/// Removes all permissions of other users on the data directory, the database files and the lock.
/// Skips missing files. Fails if a permission cannot be changed.
#[cfg(unix)]
pub(crate) fn keep(config: &Config) -> anyhow::Result<()> {
    // The folder of an environment is in the one that the configuration names.
    let whole = config.environment.as_ref().and_then(|_| config.data_dir.parent());
    for (path, mode) in [
        (whole.unwrap_or(&config.data_dir).to_owned(), 0o700),
        (config.data_dir.clone(), 0o700),
        (config.database(), 0o600),
        (beside(&config.database(), "-wal"), 0o600),
        (beside(&config.database(), "-shm"), 0o600),
        (config.data_dir.join("serve.lock"), 0o600),
    ] {
        restrict(&path, mode)?;
    }
    Ok(())
}

#[cfg(unix)]
fn restrict(path: &Path, mode: u32) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
    let mut permissions = metadata.permissions();
    if permissions.mode() & 0o077 == 0 {
        return Ok(());
    }
    permissions.set_mode(mode);
    fs::set_permissions(path, permissions).with_context(|| {
        let shown = path.display();
        format!("other users have access to {shown}, and its permissions cannot be changed; run as its owner: chmod go= {shown}")
    })
}

/// Opens a file for writing, without truncating it. A new file gets mode 0600 on Unix; the mode of
/// an existing file stays.
///
/// # Errors
///
/// The file cannot be created or opened.
pub(crate) fn file(path: &Path) -> std::io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Creates a file for writing, with mode 0600 on Unix.
///
/// # Errors
///
/// The file exists, or cannot be created.
pub(crate) fn new_file(path: &Path) -> std::io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Creates a folder and missing parents with mode 0700. Removes the permissions of other users on
/// an existing folder. Sets no modes outside Unix.
pub(crate) fn folder(path: &Path) -> anyhow::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).with_context(|| format!("{} cannot be created", path.display()))?;
    #[cfg(unix)]
    restrict(path, 0o700)?;
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn keep(_: &Config) -> anyhow::Result<()> {
    Ok(())
}

/// Refuses a configuration file that every user may write or replace: any of them could set the
/// targets, the clients and the location of the master key. Permissions of the group are not checked.
#[cfg(unix)]
pub(crate) fn refuse_if_others_may_write(file: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let mode = |path: &Path| -> anyhow::Result<u32> {
        let metadata =
            fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(metadata.permissions().mode())
    };
    let shown = file.display();
    if mode(file)? & 0o002 != 0 {
        bail!("any user can change {shown}; run: chmod o-w {shown}");
    }
    // Where the file is, and where a link to it leads. A sticky folder keeps the files of others.
    let real = fs::canonicalize(file).with_context(|| format!("{shown} cannot be read"))?;
    let given = std::path::absolute(file).with_context(|| format!("{shown} cannot be read"))?;
    let folders = given.ancestors().skip(1).chain(real.ancestors().skip(1));
    for folder in folders {
        if mode(folder)? & 0o1002 == 0o002 {
            let folder = folder.display();
            bail!("any user can replace {shown}; run: chmod o-w {folder}");
        }
    }
    Ok(())
}

/// What tells one state of a file from another: the file itself, its size, and the time of the last change
/// of its content, mode or owner, in nanoseconds.
pub(crate) type Identity = (u64, u64, u64, i128);

/// The state of a file. `None`: there is none.
#[cfg(unix)]
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;

    let file = fs::metadata(path).ok()?;
    let changed = i128::from(file.ctime()).saturating_mul(1_000_000_000);
    Some((file.dev(), file.ino(), file.len(), changed.saturating_add(file.ctime_nsec().into())))
}

#[cfg(not(unix))]
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    let file = fs::metadata(path).ok()?;
    let changed = file.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some((0, 0, file.len(), i128::try_from(changed.as_nanos()).ok()?))
}

/// Refuses a folder of configuration files in which every user may create one.
#[cfg(unix)]
pub(crate) fn refuse_if_others_may_add(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let shown = folder.display();
    let metadata = fs::metadata(folder).with_context(|| format!("{shown} cannot be read"))?;
    if metadata.permissions().mode() & 0o002 != 0 {
        bail!("any user can add a file to {shown}; run: chmod o-w {shown}");
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn refuse_if_others_may_add(_: &Path) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn refuse_if_others_may_write(_: &Path) -> anyhow::Result<()> {
    Ok(())
}

/// Refuses a file of secrets on which other users have any permission. `what` says what it is.
#[cfg(unix)]
pub(crate) fn refuse_if_others_may_read(file: &Path, what: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let shown = file.display();
    let metadata = fs::metadata(file).with_context(|| format!("{what} {shown} cannot be read"))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        bail!("other users can read {what} {shown}; run: chmod 600 {shown}");
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn refuse_if_others_may_read(_: &Path, _: &str) -> anyhow::Result<()> {
    Ok(())
}

/// Paths that must not become public: data directory, configuration, master key file and TLS key.
pub(crate) fn private(config: &Config, file: &Path) -> Vec<PathBuf> {
    let tls_key = match &config.tls {
        TlsConfig::Certificate { key, .. } => Some(key.as_path()),
        TlsConfig::Plain => None,
    };
    let master_key = config.master_key_file.as_deref();
    let own = [Some(config.data_dir.as_path()), Some(file), master_key, tls_key];
    own.into_iter().flatten().map(Path::to_owned).collect()
}

/// Refuses a target directory that contains a private path or is inside one. Compares only the text
/// of the paths, since access to a target may hang. Links are resolved when the target is opened.
pub(crate) fn refuse_public(config: &Config, file: &Path) -> anyhow::Result<()> {
    for target in &config.targets {
        let TargetConfig::Directory { path } = target else { continue };
        let public = plain(path)?;
        for own in private(config, file) {
            let private = plain(&own)?;
            if private.starts_with(&public) || public.starts_with(&private) {
                let (path, own) = (path.display(), own.display());
                bail!("[[target]] {path} would make {own} public; name a directory of its own");
            }
        }
    }
    Ok(())
}

/// Makes a path absolute and resolves `.` and `..` in its text. Does not access the file system, so
/// links are not followed.
fn plain(path: &Path) -> anyhow::Result<PathBuf> {
    let whole = std::path::absolute(path).with_context(|| path.display().to_string())?;
    let mut plain = PathBuf::new();
    for part in whole.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    Ok(plain)
}

/// Makes the names of the files in a file's folder durable.
pub(crate) fn sync_folder_of(file: &Path) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// The path with this ending of its name.
pub(crate) fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Disables core dumps, since the memory of this process contains keys. On Linux, also keeps other
/// processes of the user from reading this memory.
#[cfg(unix)]
pub fn forbid_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};

    // Best effort: a failure is no reason not to run.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

#[cfg(not(unix))]
pub fn forbid_core_dumps() {}
