/**
 * What a thief with access to this browser would have kept: older copies of the sealed set. Kept for this tab only, over reloads too.
 *
 * @module
 */

/** @typedef {{gen: string, manifest: string, blobs: Readonly<Record<string, string>>}} SealedSet */
/** @typedef {{older: SealedSet[], withTicket: SealedSet | null, spent: {set: SealedSet, at: number} | null}} Loot */

const KEY = "second-act/attackers-copy";
const MAX_OLDER = 6;

/** Until the node has told the store what we hold, an old set would still be taken (without its ticket). */
export const FLUSH = 1500;

export class Attacker {
  /** @type {Loot} */
  #loot;

  constructor() {
    this.#loot = load();
  }

  /**
   * Copies a set that the browser holds.
   *
   * @param {SealedSet} set
   */
  copy({ gen, manifest, blobs }) {
    const loot = this.#loot;
    if (loot.older[0]?.manifest === manifest) return;
    loot.older = [{ gen, manifest, blobs }, ...loot.older].slice(0, MAX_OLDER);
    this.#save();
  }

  /**
   * Learns whether the ticket is in a set.
   *
   * @param {SealedSet} set
   * @param {boolean} hasTicket
   */
  learn({ gen, manifest, blobs }, hasTicket) {
    this.#loot.withTicket = hasTicket ? { gen, manifest, blobs } : null;
    this.#save();
  }

  /** Notes that the ticket in the last set learnt of was spent. */
  spent() {
    if (!this.#loot.withTicket) return;
    this.#loot.spent = { set: this.#loot.withTicket, at: Date.now() };
    this.#loot.withTicket = null;
    this.#save();
  }

  /** @param {SealedSet | null} set */
  hasTicketOf(set) {
    return set !== null && this.#loot.withTicket?.manifest === set.manifest;
  }

  /** The set with the ticket that was spent since, and when. */
  get captured() {
    return this.#loot.spent;
  }

  /**
   * Returns an older set that has another envelope in one of the slots of `now`.
   *
   * @param {SealedSet} now
   */
  olderThan(now) {
    return this.#loot.older.find(({ manifest, blobs }) => manifest !== now.manifest && Object.keys(now.blobs).some((slot) => blobs[slot] !== undefined && blobs[slot] !== now.blobs[slot])) ?? null;
  }

  #save() {
    try {
      sessionStorage.setItem(KEY, JSON.stringify(this.#loot));
    } catch {
      // Then the copies last until the next reload.
    }
  }
}

/** @returns {Loot} */
function load() {
  try {
    const loot = JSON.parse(sessionStorage.getItem(KEY) ?? "");
    if (Array.isArray(loot.older)) return loot;
  } catch {
    // Nothing is kept, or what is kept is of no use.
  }
  return { older: [], withTicket: null, spent: null };
}
