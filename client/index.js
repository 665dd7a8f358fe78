/**
 * The browser's side of Sealed Blob.
 *
 * @module
 */

export { BayeuxClient } from "./bayeux.js";
export { BayeuxError } from "./exchange.js";
export { SealedExtension } from "./extension.js";
export { sealedFaye } from "./faye.js";
export { SealedHTTP } from "./http.js";
export { SessionKey } from "./key.js";
export { SealedProtocol } from "./protocol.js";
export { BlobStore } from "./store.js";
export { compareVersions, isVersion } from "./version.js";
