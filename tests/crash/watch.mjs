// Reads the documents of all processes while faults happen, and compares them.

import { setTimeout as sleep } from 'node:timers/promises';
import { revokedIn } from './check.mjs';
import { Broken, Ledger } from './ledger.mjs';
import { ask, revoke } from './server.mjs';

/** Time in milliseconds between two reads of one process. */
const PAUSE = 100;
/** `publish_delay`: a process that has not seen the database for so long serves no documents. */
const PUBLISH_DELAY = 500;
/** Time in milliseconds after which every process serves an edition that another one has served, or none. */
const EDITION_DELAY = 1_000;
/** Time in milliseconds for one request. A process that is stopped is asked again and again. */
const PATIENCE = 1_000;

/**
 * Readers of every process, and clients that measure how long a token and a revocation take. What is wrong
 * goes to `found` of the cluster, and the watch goes on.
 */
export class Watch {
  /** The number of lists that were compared. */
  documents = 0;
  /** The longest time from the first request of a revocation to its acknowledgement, in milliseconds. */
  longest = 0;
  /** The longest time from the first request for a token to the token, in milliseconds. */
  longestIssue = 0;
  #stopped = false;
  /** Each edition by `uri#number`: `{ text, revoked, since }`. `since`: from when a process served it, by its id. */
  #editions = new Map();
  /** By URI: `[time, number]` of the first time that each higher number was served by any process. */
  #first = new Map();
  /** `[time, count]`: so many revocations were acknowledged by then. */
  #acknowledged = [];
  /** The cases that were found. One that lasts is found once. */
  #cases = new Set();

  constructor(cluster) {
    this.cluster = cluster;
    const works = cluster.nodes.map((node) => this.#repeat(() => this.#read(node)));
    const clients = [this.#repeat(() => this.#token()), this.#repeat(() => this.#revocation())];
    this.all = Promise.all([...works, ...clients]);
    // The error is thrown by `stop`.
    this.all.catch(() => {});
  }

  /** Ends the watch. */
  async stop() {
    this.#stopped = true;
    await this.all;
  }

  /** Notes where the newest served edition of a list is not reached again by what processes serve now. */
  finish() {
    for (const [uri, first] of this.#first) {
      const [, most] = first.at(-1);
      for (const [at, { view }] of this.cluster.nodes.entries()) {
        const { number } = view.lists.get(uri) ?? {};
        if (number < most) this.#found(`end ${uri}`, `process ${at + 1} serves ${number} of ${uri} after ${most}`);
      }
    }
  }

  #found(key, text) {
    if (!this.#cases.has(key)) this.cluster.found.push(text);
    this.#cases.add(key);
  }

  async #repeat(work) {
    while (!this.#stopped) {
      await work();
      await sleep(PAUSE);
    }
  }

  /** Requests a token until it comes. */
  async #token() {
    const from = Date.now();
    const { jti } = await this.#until(() => ask(this.cluster, this.cluster.ledger));
    this.longestIssue = Math.max(this.longestIssue, Date.now() - from);
    return jti;
  }

  /** Requests a token and its revocation until each is acknowledged. */
  async #revocation() {
    const jti = await this.#token();
    if (!jti) return;
    const from = Date.now();
    await this.#until(() => revoke(this.cluster, this.cluster.ledger, jti));
    this.longest = Math.max(this.longest, Date.now() - from);
  }

  async #until(work) {
    for (; ; await sleep(20)) {
      const outcome = await work();
      if (outcome.status === 200 || this.#stopped) return outcome;
    }
  }

  async #read(node) {
    const { tokens, revoked } = this.cluster.ledger;
    this.#acknowledged.push([Date.now(), revoked.size]);
    const uris = new Set([...tokens.values()].slice(-200).map(({ uri }) => uri));
    for (const uri of uris) await this.#readList(node, uri);
    const asked = Date.now();
    const keys = await this.#get(node, '/.well-known/jwks.json');
    if (keys) this.#noting(node, asked, () => node.view.addKeySet(JSON.parse(keys)));
  }

  async #readList(node, uri) {
    const asked = Date.now();
    const { pid } = node.process;
    const [, due] = this.#acknowledged.findLast(([time]) => time < asked - PUBLISH_DELAY) ?? [0, 0];
    const [, least] = (this.#first.get(uri) ?? []).findLast(([time]) => time < asked - EDITION_DELAY) ?? [0, 0];
    const text = await this.#get(node, new URL(uri).pathname, least > 0);
    if (!text) return;
    this.documents += 1;
    this.#noting(node, asked, () => {
      const alone = new Ledger();
      alone.addEdition(uri, text);
      const { number } = alone.lists.get(uri);
      const place = `${uri}#${number}`;
      const edition = this.#editions.get(place) ?? { text, revoked: revokedIn(text), since: new Map() };
      this.#editions.set(place, edition);
      if (!edition.since.has(pid)) edition.since.set(pid, Date.now());
      if (edition.text !== text) throw new Broken(`${uri} has two editions with number ${number}`);
      const first = this.#first.get(uri) ?? [[0, 0]];
      this.#first.set(uri, first);
      if (number > first.at(-1)[1]) first.push([Date.now(), number]);
      if (number < least) {
        const since = [...this.#editions.get(`${uri}#${least}`).since.values()];
        const many = since.filter((time) => time < asked - EDITION_DELAY).length > 1;
        const by = `${many ? 'several processes' : 'one process only'} served number ${least}`;
        throw new Broken(`number ${number} of ${uri} is served ${EDITION_DELAY} ms after ${by}`);
      }
      for (const jti of [...this.cluster.ledger.revoked].slice(0, due)) this.#mustRevoke(uri, number, jti);
    });
  }

  #mustRevoke(uri, number, jti) {
    const { uri: own, index } = this.cluster.ledger.tokens.get(jti);
    if (own !== uri || this.#editions.get(`${uri}#${number}`).revoked.has(index)) return;
    throw new Broken(
      `number ${number} of ${uri} lacks the revocation of ${jti}, acknowledged ${PUBLISH_DELAY} ms before`,
    );
  }

  /** Notes what is broken: by which process, and when it was asked and had answered. */
  #noting(node, asked, work) {
    try {
      work();
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      const at = this.cluster.nodes.indexOf(node) + 1;
      const [from, to] = [asked, Date.now()].map((time) => new Date(time).toISOString());
      const where = `process ${at}, id ${node.process.pid}, asked ${from}, answered ${to}`;
      this.#found(error.message, `${error.message} (${where})`);
    }
  }

  /** The document, or `undefined` if the process has none to serve. `isKnown`: another one has served it. */
  async #get(node, path, isKnown = false) {
    const asked = Date.now();
    let response;
    let text;
    try {
      response = await fetch(node.own + path, { signal: AbortSignal.timeout(PATIENCE) });
      text = await response.text();
    } catch {
      return undefined;
    }
    if (response.status === 200) return text;
    this.#noting(node, asked, () => {
      if (response.status === 503) {
        if (!response.headers.get('retry-after')) throw new Broken(`${path}: 503 without Retry-After`);
      } else if (response.status !== 404 || isKnown) throw new Broken(`${path} is answered with ${response.status}`);
    });
    return undefined;
  }
}
