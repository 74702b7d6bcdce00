//! Tables for keys with which many signatures are verified.
//!
//! A key starts on the reference path: the host's crypto, or the crate `ed25519-dalek`. After
//! [`EARNED_AFTER`] accepted signatures the verifier computes a table for it, if there is room, in
//! short slices between requests. From then on it verifies the key's signatures with the table.
//!
//! Tests establish that tables are correct. To detect faults in use, the reference path also checks
//! at most one in [`RECHECK_EVERY`] signatures that a table accepted, and at most one per key and
//! second that a table refused. After a disagreement, the key stays on the reference path.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edgepass_jose::PublicKey;

use crate::{ed25519, es256};

/// The number of accepted signatures after which a key gets a table. Refused signatures do not
/// count.
///
/// Computing a table pays off after 27 to 201 signatures (docs/benchmarks.md). An isolate that has
/// seen 64 signatures of a key is likely to see that many.
pub const EARNED_AFTER: u64 = 64;

/// Of this many accepted signatures of a key, the reference path checks at most one again.
pub const RECHECK_EVERY: u64 = 1024;

/// The memory limit for all tables, in bytes: a generator and 13 keys of P-256 or 8 of Ed25519.
pub const MAX_TABLE_BYTES: usize = 4 << 20;

/// The maximum number of keys that are counted. Beyond it the least recently used key is forgotten,
/// except [`Path::Distrusted`] ones.
const MAX_KEYS: usize = 64;

/// A key unused for this long, in milliseconds, may lose its table to another key.
const IDLE_MILLIS: u64 = 60_000;

/// In this time, in milliseconds, the reference path checks at most one signature per key that
/// tables refused.
const CONFIRM_MILLIS: u64 = 1000;

/// The number of positions of a comb, of 32, that one slice computes. A slice takes below half a
/// millisecond in Wasm.
const POSITIONS_PER_SLICE: usize = 2;

/// The keys of one or several verifiers, and their tables. Clones share them.
#[derive(Clone, Default)]
pub struct PreparedKeys(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    keys: Vec<Entry>,
    ed25519_generator: Option<Arc<ed25519::Comb>>,
    p256_generator: Option<Arc<es256::Comb>>,
    building: Option<Building>,
    /// Whether a slice is being computed now.
    busy: bool,
    faults: u64,
}

struct Entry {
    key: PublicKey,
    /// The number of accepted signatures.
    uses: u64,
    /// The time of the last accepted signature, in milliseconds.
    used_at: u64,
    /// The time at which the reference path last checked a refusal, in milliseconds.
    confirmed_at: Option<u64>,
    path: Path,
}

/// How the signatures of a key are verified.
enum Path {
    /// By the reference path, until the key has earned a table and there is time and room for it.
    Reference,
    Tables(Tables),
    /// By the reference path, permanently: the key's table was found wrong, or there can be none.
    Distrusted,
}

/// A comb under construction: that of the key `of`, or for `None` that of a curve's generator.
struct Building {
    of: Option<PublicKey>,
    builder: Builder,
}

enum Builder {
    Ed25519(ed25519::CombBuilder),
    P256(es256::CombBuilder),
}

/// The table of one key: its comb and that of its curve's generator.
#[derive(Clone)]
pub struct Tables(Strategy);

#[derive(Clone)]
enum Strategy {
    Ed25519 { encoded: [u8; 32], key: Arc<ed25519::Comb>, generator: Arc<ed25519::Comb> },
    P256 { key: Arc<es256::Comb>, generator: Arc<es256::Comb> },
}

impl Tables {
    /// Verifies a signature over `message`, in the form of JWS (64 octets). Accepts the same
    /// signatures as the reference path.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Strategy::Ed25519 { encoded, key, generator } => {
                ed25519::verify_by_tables(generator, key, encoded, message, signature)
            }
            Strategy::P256 { key, generator } => {
                es256::verify_by_tables(generator, key, message, signature)
            }
        }
    }

    /// Computes the table of a key at once, in a few milliseconds: for a key that is known to sign
    /// much, and for tests and tools.
    /// Returns `None` for keys that are neither Ed25519 nor P-256, and for unsound Ed25519 keys. A
    /// P-256 key must be on the curve.
    pub fn of(key: &PublicKey) -> Option<Self> {
        let keys = PreparedKeys::default();
        for _ in 0..EARNED_AFTER {
            keys.accepted(key, 0);
        }
        while keys.has_work(0) {
            keys.work(0);
        }
        keys.tables(key)
    }

    fn bytes(&self) -> usize {
        match &self.0 {
            Strategy::Ed25519 { key, .. } => key.bytes(),
            Strategy::P256 { key, .. } => key.bytes(),
        }
    }
}

impl PreparedKeys {
    /// Returns the table of a key, or `None` if the reference path verifies its signatures.
    pub fn tables(&self, key: &PublicKey) -> Option<Tables> {
        match &self.state().entry(key)?.path {
            Path::Tables(tables) => Some(tables.clone()),
            Path::Reference | Path::Distrusted => None,
        }
    }

    /// Counts a signature that was accepted at `now`, in milliseconds. Returns true if the
    /// reference path is to check it too, after the response.
    pub fn accepted(&self, key: &PublicKey, now: u64) -> bool {
        if !matches!(key, PublicKey::Ed25519 { .. } | PublicKey::P256 { .. }) {
            return false;
        }
        let mut state = self.state();
        let Some(entry) = state.entry(key) else {
            state.remember(key, now);
            return false;
        };
        entry.uses = entry.uses.saturating_add(1);
        entry.used_at = now;
        matches!(entry.path, Path::Tables(_)) && entry.uses.is_multiple_of(RECHECK_EVERY)
    }

    /// Returns whether the reference path is to check a signature that tables refused at `now`, in
    /// milliseconds. True at most once per key and second.
    pub fn confirms_refusal(&self, key: &PublicKey, now: u64) -> bool {
        self.state().entry(key).is_some_and(|entry| {
            // `abs_diff`, because a clock that was set back must not suppress the checks.
            let due = entry.confirmed_at.is_none_or(|at| now.abs_diff(at) >= CONFIRM_MILLIS);
            if due {
                entry.confirmed_at = Some(now);
            }
            due
        })
    }

    /// Records that the reference path disagrees with the tables of this key, which gets no table
    /// again. Drops the generator's comb, the tables of the curve's other keys, and any comb under
    /// construction, since they may be wrong too. They are computed again.
    pub fn disagree(&self, key: &PublicKey) {
        let mut state = self.state();
        state.faults = state.faults.saturating_add(1);
        if state.entry(key).is_none() {
            state.remember(key, 0);
        }
        for entry in &mut state.keys {
            if entry.key == *key {
                entry.path = Path::Distrusted;
            } else if std::mem::discriminant(&entry.key) == std::mem::discriminant(key)
                && matches!(entry.path, Path::Tables(_))
            {
                entry.path = Path::Reference;
            }
        }
        match key {
            PublicKey::Ed25519 { .. } => state.ed25519_generator = None,
            _ => state.p256_generator = None,
        }
        state.building = None;
    }

    /// The number of disagreements between tables and the reference path.
    pub fn faults(&self) -> u64 {
        self.state().faults
    }

    /// The memory that all tables take, in bytes.
    pub fn bytes(&self) -> usize {
        self.state().bytes()
    }

    /// Returns whether [`PreparedKeys::work`] has a table to compute at `now`, in milliseconds.
    /// False while another call computes a slice.
    pub fn has_work(&self, now: u64) -> bool {
        let state = self.state();
        !state.busy && (state.building.is_some() || state.next(now).is_some())
    }

    /// Computes one slice of a table, or nothing if none is due. Hosts call it after a response.
    pub fn work(&self, now: u64) {
        let Some(mut building) = self.state().begin(now) else { return };
        let complete = building.builder.slice();
        let mut state = self.state();
        state.busy = false;
        if complete {
            state.install(building);
        } else {
            state.building = Some(building);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn entry(&mut self, key: &PublicKey) -> Option<&mut Entry> {
        self.keys.iter_mut().find(|entry| entry.key == *key)
    }

    fn remember(&mut self, key: &PublicKey, now: u64) {
        if self.keys.len() >= MAX_KEYS {
            let forgettable =
                |(_, entry): &(usize, &Entry)| !matches!(entry.path, Path::Distrusted);
            let keys = self.keys.iter().enumerate().filter(forgettable);
            let Some((at, _)) = keys.min_by_key(|(_, entry)| entry.used_at) else { return };
            self.keys.swap_remove(at);
        }
        self.keys.push(Entry {
            key: key.clone(),
            uses: 1,
            used_at: now,
            confirmed_at: None,
            path: Path::Reference,
        });
    }

    /// Returns a key that has earned a table, has none, and for which there is room once idle
    /// tables are dropped.
    fn next(&self, now: u64) -> Option<&PublicKey> {
        let idle: usize =
            self.idle(now).map(|(_, tables)| tables.bytes()).fold(0, usize::saturating_add);
        let kept = self.bytes().saturating_sub(idle);
        let due = self
            .keys
            .iter()
            .filter(|entry| entry.uses >= EARNED_AFTER && matches!(entry.path, Path::Reference));
        let mut keys = due.map(|entry| &entry.key);
        keys.find(|key| kept.saturating_add(self.needed(key)) <= MAX_TABLE_BYTES)
    }

    /// Iterates over the tables of keys that were not used for [`IDLE_MILLIS`], with their
    /// positions. A last use as far in the future counts too, since the clock was then set back.
    fn idle(&self, now: u64) -> impl Iterator<Item = (usize, &Tables)> {
        self.keys.iter().enumerate().filter_map(move |(at, entry)| match &entry.path {
            Path::Tables(tables) if now.abs_diff(entry.used_at) >= IDLE_MILLIS => {
                Some((at, tables))
            }
            _ => None,
        })
    }

    /// The memory that the table of a key needs, in bytes, with the generator's comb if that is
    /// missing.
    fn needed(&self, key: &PublicKey) -> usize {
        let (comb, generator) = match key {
            PublicKey::Ed25519 { .. } => (ed25519::Comb::BYTES, self.ed25519_generator.is_some()),
            _ => (es256::Comb::BYTES, self.p256_generator.is_some()),
        };
        if generator { comb } else { comb.saturating_mul(2) }
    }

    fn bytes(&self) -> usize {
        let of_keys = self.keys.iter().map(|entry| match &entry.path {
            Path::Tables(tables) => tables.bytes(),
            Path::Reference | Path::Distrusted => 0,
        });
        let ed25519 = self.ed25519_generator.as_ref().map_or(0, |comb| comb.bytes());
        let p256 = self.p256_generator.as_ref().map_or(0, |comb| comb.bytes());
        of_keys.fold(ed25519.saturating_add(p256), usize::saturating_add)
    }

    /// Takes out the comb to continue with, or begins the next. `None` if no table is due or
    /// another call computes a slice.
    fn begin(&mut self, now: u64) -> Option<Building> {
        if self.busy {
            return None;
        }
        let building = match self.building.take() {
            Some(building) => building,
            None => self.begin_next(now)?,
        };
        self.busy = true;
        Some(building)
    }

    /// Begins the comb of the next key, or first that of its curve's generator. Forgets idle keys
    /// to make room.
    fn begin_next(&mut self, now: u64) -> Option<Building> {
        let key = self.next(now)?.clone();
        while self.bytes().saturating_add(self.needed(&key)) > MAX_TABLE_BYTES {
            let (idle, _) = self.idle(now).next()?;
            self.keys.swap_remove(idle);
        }
        let (generator, builder) = match &key {
            PublicKey::Ed25519 { .. } if self.ed25519_generator.is_none() => {
                (true, ed25519::begin_generator().map(Builder::Ed25519))
            }
            PublicKey::Ed25519 { x } => (false, ed25519::begin_comb(x).map(Builder::Ed25519)),
            PublicKey::P256 { .. } if self.p256_generator.is_none() => {
                (true, Some(Builder::P256(es256::begin_generator())))
            }
            PublicKey::P256 { x, y } => (false, Some(Builder::P256(es256::begin_comb(x, y)))),
            _ => (false, None),
        };
        if builder.is_none()
            && let Some(entry) = self.entry(&key)
        {
            entry.path = Path::Distrusted;
        }
        Some(Building { of: (!generator).then_some(key), builder: builder? })
    }

    /// Puts a complete comb into use.
    fn install(&mut self, Building { of, builder }: Building) {
        let strategy = match (builder, &of) {
            (Builder::Ed25519(comb), None) => {
                self.ed25519_generator = Some(Arc::new(comb.finish()));
                return;
            }
            (Builder::P256(comb), None) => {
                self.p256_generator = Some(Arc::new(comb.finish()));
                return;
            }
            (Builder::Ed25519(comb), Some(PublicKey::Ed25519 { x })) => {
                let generator = self.ed25519_generator.clone();
                let key = Arc::new(comb.finish());
                generator.map(|generator| Strategy::Ed25519 { encoded: *x, key, generator })
            }
            (Builder::P256(comb), Some(_)) => {
                let generator = self.p256_generator.clone();
                let key = Arc::new(comb.finish());
                generator.map(|generator| Strategy::P256 { key, generator })
            }
            (Builder::Ed25519(_), Some(_)) => None,
        };
        let entry = of.and_then(|key| self.entry(&key));
        if let (Some(strategy), Some(entry)) = (strategy, entry)
            && matches!(entry.path, Path::Reference)
        {
            entry.path = Path::Tables(Tables(strategy));
        }
    }
}

impl Builder {
    /// Computes one slice. Returns true after the last one.
    fn slice(&mut self) -> bool {
        (0..POSITIONS_PER_SLICE).any(|_| match self {
            Self::Ed25519(builder) => builder.step(),
            Self::P256(builder) => builder.step(),
        })
    }
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::{EdwardsPoint, Scalar};

    use super::*;

    fn key(number: u64) -> PublicKey {
        let point = EdwardsPoint::mul_base(&Scalar::from(number));
        PublicKey::Ed25519 { x: point.compress().0 }
    }

    fn use_until(keys: &PreparedKeys, key: &PublicKey, uses: u64, now: u64) {
        for _ in 0..uses {
            keys.accepted(key, now);
        }
    }

    fn work(keys: &PreparedKeys, now: u64) -> usize {
        (0..).take_while(|_| keys.has_work(now).then(|| keys.work(now)).is_some()).count()
    }

    #[test]
    fn tables_are_computed_in_slices_after_enough_signatures() {
        let keys = PreparedKeys::default();
        use_until(&keys, &key(1), EARNED_AFTER - 1, 0);
        assert!(!keys.has_work(0));
        assert!(keys.tables(&key(1)).is_none());
        keys.accepted(&key(1), 0);
        // A generator and a key, 32 positions each, two in a slice.
        assert_eq!(work(&keys, 0), 32);
        assert!(keys.tables(&key(1)).is_some());
        assert_eq!(keys.bytes(), 2 * ed25519::Comb::BYTES);
        use_until(&keys, &key(2), EARNED_AFTER, 0);
        assert_eq!(work(&keys, 0), 16);
    }

    #[test]
    fn what_tables_take_is_capped_and_idle_ones_make_room() {
        let generator = (
            b"\x6b\x17\xd1\xf2\xe1\x2c\x42\x47\xf8\xbc\xe6\xe5\x63\xa4\x40\xf2\
              \x77\x03\x7d\x81\x2d\xeb\x33\xa0\xf4\xa1\x39\x45\xd8\x98\xc2\x96",
            b"\x4f\xe3\x42\xe2\xfe\x1a\x7f\x9b\x8e\xe7\xeb\x4a\x7c\x0f\x9e\x16\
              \x2b\xce\x33\x57\x6b\x31\x5e\xce\xcb\xb6\x40\x68\x37\xbf\x51\xf5",
        );
        let keys = PreparedKeys::default();
        for number in 1..20 {
            use_until(&keys, &key(number), EARNED_AFTER, number);
            work(&keys, number);
        }
        let most = MAX_TABLE_BYTES / ed25519::Comb::BYTES - 1;
        let with_tables = || (1..20).filter(|n| keys.tables(&key(*n)).is_some()).count();
        assert_eq!(with_tables(), most);
        assert!(!keys.has_work(20) && !keys.has_work(IDLE_MILLIS));
        // The first key of the other curve needs more room than is free.
        let other = PublicKey::P256 { x: *generator.0, y: *generator.1 };
        let later = 20 + IDLE_MILLIS;
        use_until(&keys, &other, EARNED_AFTER, later);
        assert!(keys.has_work(later));
        work(&keys, later);
        assert!(keys.bytes() <= MAX_TABLE_BYTES, "{}", keys.bytes());
        assert!(with_tables() + usize::from(keys.tables(&other).is_some()) >= most - 1);
    }

    #[test]
    fn keys_that_are_counted_are_capped() {
        let keys = PreparedKeys::default();
        keys.accepted(&key(2000), 0);
        keys.disagree(&key(2000));
        for number in 1..=1000 {
            keys.accepted(&key(number), number);
        }
        assert_eq!(keys.state().keys.len(), MAX_KEYS);
        let distrusted = |entry: &Entry| matches!(entry.path, Path::Distrusted);
        assert!(keys.state().entry(&key(2000)).is_some_and(|entry| distrusted(entry)));
    }

    #[test]
    fn a_refusal_is_confirmed_once_a_second_and_a_disagreement_ends_it() {
        let keys = PreparedKeys::default();
        let key = key(1);
        use_until(&keys, &key, EARNED_AFTER, 0);
        work(&keys, 0);
        for (now, confirms) in [
            (5000, true),
            (5000, false),
            (5999, false),
            (6000, true),
            (6001, false),
            (1 << 50, true),
            (7000, true),
        ] {
            assert_eq!(keys.confirms_refusal(&key, now), confirms, "{now}");
        }
        assert!(keys.tables(&key).is_some());
        keys.disagree(&key);
        assert!(keys.tables(&key).is_none());
        use_until(&keys, &key, EARNED_AFTER, 0);
        assert_eq!((keys.faults(), keys.has_work(1 << 40), keys.bytes()), (1, false, 0));
    }

    #[test]
    fn one_acceptance_by_tables_in_many_is_checked_again() {
        let keys = PreparedKeys::default();
        use_until(&keys, &key(1), EARNED_AFTER, 0);
        work(&keys, 0);
        let rechecked = (0..10 * RECHECK_EVERY).filter(|_| keys.accepted(&key(1), 0)).count();
        assert_eq!(rechecked, 10);
    }

    #[test]
    fn what_is_no_point_gets_no_tables() {
        let keys = PreparedKeys::default();
        let small = PublicKey::Ed25519 { x: [0; 32] };
        use_until(&keys, &small, EARNED_AFTER, 0);
        work(&keys, 0);
        assert!(keys.tables(&small).is_none() && !keys.has_work(0));
    }
}
