//! The way to a token: the library of its device, and sessions.
//!
//! After a loss of the device many libraries find it again only when they are initialized anew. That ends
//! all sessions of the process, so nothing else calls the library meanwhile.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use edgepass_issuer::vault::DeviceError;

use crate::failed;

/// Least time between two initializations of a library.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// The loaded libraries. Environments of one process share them, since a library has one state in it.
static MODULES: Mutex<Vec<(PathBuf, Arc<Module>)>> = Mutex::new(Vec::new());

/// The library of a device.
struct Module {
    context: Pkcs11,
    started: RwLock<Started>,
    /// Labels of the tokens that have refused a PIN. A login waits for the one before it, so that a wrong
    /// PIN is tried once.
    refused: Mutex<HashSet<String>>,
}

/// The last initialization of a library.
struct Started {
    /// How many there were before. Sessions of an earlier one are over.
    number: u64,
    at: Instant,
}

/// How to reach a token.
pub(crate) struct Access {
    module: Arc<Module>,
    label: String,
    pin: AuthPin,
}

impl Module {
    fn of(path: &Path) -> Result<Arc<Self>, DeviceError> {
        // A library under two names has one state all the same.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, module)) = modules.iter().find(|(own, _)| *own == path) {
            return Ok(Arc::clone(module));
        }
        let context = Pkcs11::new(&path).map_err(failed)?;
        initialize(&context)?;
        let started = RwLock::new(Started { number: 0, at: now() });
        let module = Arc::new(Self { context, started, refused: Mutex::default() });
        modules.push((path, Arc::clone(&module)));
        Ok(module)
    }

    fn started(&self) -> RwLockReadGuard<'_, Started> {
        self.started.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Initializes the library anew, unless that was done since the initialization `seen`, or just now.
    /// Returns whether it is another one than `seen`.
    fn restart(&self, seen: u64) -> bool {
        let mut started = self.started.write().unwrap_or_else(PoisonError::into_inner);
        if started.number == seen && started.at.elapsed() >= LEAST_PAUSE {
            started.at = now();
            // Fails if the last attempt to initialize it did.
            let _ = self.context.clone().finalize();
            if let Err(error) = initialize(&self.context) {
                tracing::error!(%error, "PKCS #11 module not initialized");
            }
            started.number = started.number.saturating_add(1);
        }
        started.number != seen
    }
}

fn initialize(context: &Pkcs11) -> Result<(), DeviceError> {
    context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).map_err(failed)
}

impl Access {
    /// Loads the library, if this process has not. The token may be away.
    pub(crate) fn new(module: &Path, label: &str, pin: &str) -> Result<Self, DeviceError> {
        Ok(Self {
            module: Module::of(module)?,
            label: label.to_owned(),
            pin: AuthPin::from(pin.to_owned()),
        })
    }

    /// Does `work` with the library. If the device is away, does it again with the library initialized
    /// anew. The argument of `work` is the number of the initialization.
    pub(crate) fn run<T>(
        &self,
        work: impl Fn(u64) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let (seen, outcome) = {
            let started = self.module.started();
            (started.number, work(started.number))
        };
        let may_help = matches!(outcome, Err(DeviceError::Away(_)));
        if !may_help || !self.module.restart(seen) {
            return outcome;
        }
        work(self.module.started().number)
    }

    /// Does `work` unless the library was initialized anew since the initialization `number`.
    pub(crate) fn if_still(&self, number: u64, work: impl FnOnce()) {
        let started = self.module.started();
        if started.number == number {
            work();
        }
    }

    /// Opens a session and logs in, within [`Access::run`]. The session closes itself, and must do so before
    /// that ends.
    pub(crate) fn session(&self, may_write: bool) -> Result<Session, DeviceError> {
        let open = if may_write { Pkcs11::open_rw_session } else { Pkcs11::open_ro_session };
        self.opened(open)
    }

    /// As [`Access::session`], for a session that stays open.
    pub(crate) fn lasting_session(&self) -> Result<Session, DeviceError> {
        self.opened(Pkcs11::open_ro_session_no_drop)
    }

    fn opened(
        &self,
        open: fn(&Pkcs11, Slot) -> Result<Session, Error>,
    ) -> Result<Session, DeviceError> {
        let mut refused = self.module.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let (slot, is_nearly_locked) = self.slot()?;
        if is_nearly_locked || refused.contains(&self.label) {
            return Err(DeviceError::PinRefused);
        }
        let session = open(&self.module.context, slot).map_err(failed)?;
        match session.login(UserType::User, Some(&self.pin)) {
            // A login counts for all sessions of the process.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(error) => {
                // One that stays open does not close itself.
                let _ = session.close();
                if !is_refusal(&error) {
                    return Err(failed(error));
                }
                refused.insert(self.label.clone());
                Err(DeviceError::PinRefused)
            }
        }
    }

    /// The slot with the token, and whether one more wrong PIN would lock it. Slots change when a device is
    /// plugged in again.
    fn slot(&self) -> Result<(Slot, bool), DeviceError> {
        let context = &self.module.context;
        let mut found = Vec::new();
        for slot in context.get_slots_with_initialized_token().map_err(failed)? {
            let info = context.get_token_info(slot).map_err(failed)?;
            if info.label() == self.label {
                found.push((slot, info.user_pin_final_try() || info.user_pin_locked()));
            }
        }
        match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(DeviceError::Away(format!("no token is labelled {:?}", self.label))),
            _ => Err(DeviceError::Failed(format!("several are labelled {:?}", self.label))),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the host: a time is measured here")]
fn now() -> Instant {
    Instant::now()
}

/// Whether the PIN is wrong, or locked by too many wrong ones.
fn is_refusal(error: &Error) -> bool {
    use RvError::{PinIncorrect, PinInvalid, PinLenRange, PinLocked};

    let Error::Pkcs11(value, _) = error else { return false };
    matches!(value, PinIncorrect | PinInvalid | PinLenRange | PinLocked)
}
