import { DurableObject } from 'cloudflare:workers';

/** While a key is in use, what is too old goes this often, in milliseconds. */
const SWEEP = 60_000;

/** The DPoP proofs that one client key has made, until they are too old to be accepted. */
export class UsedProofs extends DurableObject {
  /** Remember a proof until a time, in milliseconds since the epoch; says whether this is its first use. */
  async firstUse(id, until) {
    const { storage } = this.ctx;
    // One statement: two requests at once cannot both be the first.
    const insert = 'INSERT INTO used (id, until) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING id';
    if (this.#table().exec(insert, id, until).toArray().length === 0) return false;
    if (await storage.getAlarm() === null) await storage.setAlarm(until);
    return true;
  }

  /** Forget what is too old; with nothing left, the object costs nothing. */
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
