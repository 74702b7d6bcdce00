//! The files of a witness: its private key and its state.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use edgepass_jose::base64url;
use zeroize::Zeroizing;

use crate::WitnessError;

/// The largest file that is read, in octets.
const MAX: u64 = 256 << 10;

/// The text of a file. `None`: there is no such file.
pub(crate) fn text(path: &Path) -> Result<Option<String>, WitnessError> {
    let cannot = |error| WitnessError::usage(&path.display().to_string(), &error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot(error)),
    };
    let mut text = String::new();
    file.take(MAX).read_to_string(&mut text).map_err(cannot)?;
    Ok(Some(text))
}

/// A file beside another, whose name it continues.
pub(crate) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// Locks the state for one witness, by a file beside it.
pub(crate) fn lock(state: &Path) -> Result<File, WitnessError> {
    let path = beside(state, ".lock");
    let shown = path.display().to_string();
    let options = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = options.map_err(|error| WitnessError::usage(&shown, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(WitnessError::Usage(format!("another witness works with {}", state.display())))
        }
        Err(TryLockError::Error(error)) => Err(WitnessError::usage(&shown, &error)),
    }
}

/// Makes a new name in a folder durable.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

/// Replaces a file as a whole, durably.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), WitnessError> {
    let new = beside(path, ".new");
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_folder(path)
    };
    write().map_err(|error| WitnessError::usage(&path.display().to_string(), &error))
}

/// Reads the seed of the witness's key, or makes one.
pub(crate) fn seed(path: &Path) -> Result<Zeroizing<[u8; 32]>, WitnessError> {
    let shown = path.display().to_string();
    if let Some(text) = text(path)?.map(Zeroizing::new) {
        refuse_if_others_may_read(path)?;
        let seed = base64url::decode_array(text.trim()).map(Zeroizing::new);
        return seed.ok_or_else(|| {
            WitnessError::Usage(format!("{shown} holds no key that this program made"))
        });
    }
    let mut seed = Zeroizing::new([0; 32]);
    draw(seed.as_mut_slice())?;
    let text = Zeroizing::new(base64url::encode(seed.as_slice()));
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = || {
        let mut file = options.open(path)?;
        writeln!(file, "{}", *text)?;
        file.sync_all()?;
        sync_folder(path)
    };
    write().map_err(|error| WitnessError::usage(&shown, &error))?;
    Ok(seed)
}

#[expect(clippy::disallowed_methods, reason = "a witness is a host: randomness is drawn here")]
fn draw(octets: &mut [u8]) -> Result<(), WitnessError> {
    getrandom::fill(octets).map_err(|error| WitnessError::usage("no randomness", &error))
}

#[cfg(unix)]
fn refuse_if_others_may_read(path: &Path) -> Result<(), WitnessError> {
    use std::os::unix::fs::PermissionsExt;

    let shown = path.display();
    let metadata =
        fs::metadata(path).map_err(|error| WitnessError::usage(&shown.to_string(), &error))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(WitnessError::Usage(format!(
            "other users can read the witness's key {shown}; run: chmod 600 {shown}"
        )));
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_if_others_may_read(_: &Path) -> Result<(), WitnessError> {
    Ok(())
}
