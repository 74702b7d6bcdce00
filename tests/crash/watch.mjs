// Reads the documents of all processes while faults happen, and compares them.

import { setTimeout as sleep } from 'node:timers/promises';
import { revokedIn } from './check.mjs';
import { Broken } from './ledger.mjs';
import { ask, revoke } from './server.mjs';

/** Time in milliseconds between two reads of one process. */
const PAUSE = 100;
/** `publish_delay`: a process that has not seen the database for so long serves no documents. */
const PUBLISH_DELAY = 500;
/** Time in milliseconds after which every process serves an edition that another one has served, or none. */
const EDITION_DELAY = 1_000;
/** Time in milliseconds for one request. A process that is stopped does not answer. */
const PATIENCE = 8_000;

/** Readers of every process, and a client that measures how long a revocation takes. */
export class Watch {
  /** The number of documents that were compared. */
  documents = 0;
  /** The longest time from the first request of a revocation to its acknowledgement, in milliseconds. */
  longest = 0;
  /** The longest time from the first request for a token to the token, in milliseconds. */
  longestIssue = 0;
  #stopped = false;
  /** The text of each edition by `uri#number`. */
  #editions = new Map();
  /** By URI: `[time, number]` of the first time that each higher number was served by any process. */
  #first = new Map();
  /** `[time, count]`: so many revocations were acknowledged by then. */
  #acknowledged = [];
  #revoked = new Map();

  constructor(cluster) {
    this.cluster = cluster;
    const works = cluster.nodes.map((node) => this.#repeat(() => this.#read(node)));
    this.all = Promise.all([...works, this.#repeat(() => this.#probe())]);
    this.all.catch(() => {});
  }

  /** Ends the watch. Throws what was found. */
  async stop() {
    this.#stopped = true;
    await this.all;
    return this;
  }

  async #repeat(work) {
    while (!this.#stopped) {
      await work();
      await sleep(PAUSE);
    }
  }

  /** Requests a token and revokes it, each again and again until it is acknowledged. */
  async #probe() {
    const { cluster, cluster: { ledger } } = this;
    const from = Date.now();
    const { jti } = await this.#until(() => ask(cluster, ledger));
    this.longestIssue = Math.max(this.longestIssue, Date.now() - from);
    if (!jti) return;
    const since = Date.now();
    await this.#until(() => revoke(cluster, ledger, jti));
    this.longest = Math.max(this.longest, Date.now() - since);
  }

  async #until(work) {
    for (; ; await sleep(20)) {
      const outcome = await work();
      if (outcome.status === 200 || this.#stopped) return outcome;
    }
  }

  async #read(node) {
    const { ledger } = this.cluster;
    this.#acknowledged.push([Date.now(), ledger.revoked.size]);
    const uris = new Set([...ledger.tokens.values()].slice(-200).map(({ uri }) => uri));
    for (const uri of uris) await this.#readList(node, uri);
    const from = Date.now();
    const keys = await this.#get(node, '/.well-known/jwks.json');
    if (keys) this.#named(node, from, () => node.view.addKeySet(JSON.parse(keys)));
  }

  async #readList(node, uri) {
    const from = Date.now();
    const { revoked, tokens } = this.cluster.ledger;
    const [, count] = this.#acknowledged.findLast(([time]) => time < from - PUBLISH_DELAY) ?? [0, 0];
    const due = [...revoked].slice(0, count);
    const [, least] = (this.#first.get(uri) ?? []).findLast(([time]) => time < from - EDITION_DELAY) ?? [0, 0];
    const text = await this.#get(node, new URL(uri).pathname, least > 0);
    if (!text) return;
    this.documents += 1;
    this.#named(node, from, () => {
      node.view.addEdition(uri, text);
      const { number } = node.view.lists.get(uri);
      const place = `${uri}#${number}`;
      const known = this.#editions.get(place);
      if (known && known !== text) throw new Broken(`${uri} has two editions with number ${number}`);
      this.#editions.set(place, text);
      const first = this.#first.get(uri) ?? [[0, 0]];
      this.#first.set(uri, first);
      if (number > first.at(-1)[1]) first.push([Date.now(), number]);
      if (number < least) {
        throw new Broken(`number ${number} of ${uri} is served ${EDITION_DELAY} ms after number ${least}`);
      }
      if (!this.#revoked.has(place)) this.#revoked.set(place, revokedIn(text));
      for (const jti of due) {
        const token = tokens.get(jti);
        if (token.uri === uri && !this.#revoked.get(place).has(token.index)) {
          throw new Broken(`number ${number} of ${uri} is served ${PUBLISH_DELAY} ms after the revocation of ${jti} `
            + 'was acknowledged, and lacks it');
        }
      }
    });
  }

  /** Adds to an error which process it is about, and when the request began and was answered. */
  #named(node, from, work) {
    try {
      work();
    } catch (error) {
      if (error instanceof Broken) {
        const at = this.cluster.nodes.indexOf(node) + 1;
        const [began, now] = [from, Date.now()].map((time) => new Date(time).toISOString());
        error.message = `process ${at} (${node.process.pid}), asked ${began}, answered ${now}: ${error.message}`;
      }
      throw error;
    }
  }

  /** The document, or `undefined` if the process has none to serve. `isKnown`: another one has served it. */
  async #get(node, path, isKnown = false) {
    let response;
    let text;
    try {
      response = await fetch(node.own + path, { signal: AbortSignal.timeout(PATIENCE) });
      text = await response.text();
    } catch {
      return undefined;
    }
    if (response.status === 200) return text;
    if (response.status === 503) {
      if (!response.headers.get('retry-after')) throw new Broken(`${path}: 503 without Retry-After`);
    } else if (response.status !== 404 || isKnown) throw new Broken(`${path} is answered with ${response.status}`);
    return undefined;
  }
}
