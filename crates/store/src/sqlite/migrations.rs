//! The migrations of the database.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// The migrations in order, each with its description and its SQL. A database records a checksum of
/// each migration that it has run, and opens only if these are unchanged: add a migration, edit
/// none.
const MIGRATIONS: [(&str, &str); 17] = [
    ("initial", include_str!("../../migrations/sqlite/0001_initial.sql")),
    ("acts on statuses", include_str!("../../migrations/sqlite/0002_acts_on_statuses.sql")),
    ("key changes", include_str!("../../migrations/sqlite/0003_key_changes.sql")),
    ("due changes", include_str!("../../migrations/sqlite/0004_due_changes.sql")),
    ("undue lists", include_str!("../../migrations/sqlite/0005_undue_lists.sql")),
    ("key algorithms", include_str!("../../migrations/sqlite/0006_key_algorithms.sql")),
    ("policies", include_str!("../../migrations/sqlite/0007_policies.sql")),
    ("exchange", include_str!("../../migrations/sqlite/0008_exchange.sql")),
    ("replacements", include_str!("../../migrations/sqlite/0009_replacements.sql")),
    ("local writes", include_str!("../../migrations/sqlite/0010_local_writes.sql")),
    ("audit log", include_str!("../../migrations/sqlite/0011_audit_log.sql")),
    ("restores", include_str!("../../migrations/sqlite/0012_restores.sql")),
    ("tokens of a key", include_str!("../../migrations/sqlite/0013_tokens_of_a_key.sql")),
    ("usage", include_str!("../../migrations/sqlite/0014_usage.sql")),
    ("misuse", include_str!("../../migrations/sqlite/0015_misuse.sql")),
    ("access", include_str!("../../migrations/sqlite/0016_access.sql")),
    ("incidents", include_str!("../../migrations/sqlite/0017_incidents.sql")),
];

/// The first `count` migrations. Only tests ask for fewer than all, to make an old database.
pub(super) fn first(count: usize) -> Migrator {
    let migration = |(version, (description, sql)): (i64, (&'static str, &'static str))| {
        let kind = MigrationType::Simple;
        Migration::new(version, description.into(), kind, sql.into_sql_str(), false)
    };
    Migrator::with_migrations((1..).zip(MIGRATIONS).take(count).map(migration).collect())
}

pub(super) fn all() -> Migrator {
    first(MIGRATIONS.len())
}
