// Peers that bring no types along; the tests use them loosely.
declare module "faye";
declare module "cometd7";
declare module "cometd/ReloadExtension.js";
