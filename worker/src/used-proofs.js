import { DurableObject } from 'cloudflare:workers';

/** Interval at which old proofs of a key are deleted while any remain, in milliseconds. */
const SWEEP = 60_000;

/** Used DPoP proofs of one client key, until they are too old to be accepted. */
export class UsedProofs extends DurableObject {
  /**
   * Stores a proof, at least until `until`, in milliseconds since the epoch. Returns whether the
   * proof was not stored yet.
   */
  async firstUse(id, until) {
    const { storage } = this.ctx;
    // A single statement, so that of two concurrent requests only one is the first.
    const insert = 'INSERT INTO used (id, until) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING id';
    if (this.#table().exec(insert, id, until).toArray().length === 0) return false;
    if (await storage.getAlarm() === null) await storage.setAlarm(until);
    return true;
  }

  /** Deletes old proofs. If none is left, deletes the storage, so that the object costs nothing. */
  async alarm() {
    const { storage } = this.ctx;
    const table = this.#table();
    table.exec('DELETE FROM used WHERE until <= ?', Date.now());
    if (table.exec('SELECT 1 FROM used LIMIT 1').toArray().length === 0) await storage.deleteAll();
    else await storage.setAlarm(Date.now() + SWEEP);
  }

  #table() {
    const { sql } = this.ctx.storage;
    sql.exec('CREATE TABLE IF NOT EXISTS used (id TEXT PRIMARY KEY, until REAL NOT NULL)');
    sql.exec('CREATE INDEX IF NOT EXISTS used_until ON used (until)');
    return sql;
  }
}
