import assert from "node:assert/strict";
import { test } from "node:test";
import { compareVersions, isVersion } from "../index.js";

test("one spelling for each version", () => {
  for (const good of ["0.0", "1.0", "10.25", "18446744073709551615.18446744073709551615"]) assert.ok(isVersion(good), good);
  for (const bad of ["", "1", "1.", ".1", "01.1", "1.01", "1.2.3", "-1.0", "1e3.0", " 1.0", "1.0\n", "18446744073709551616.0", "0.99999999999999999999", 1.5, null, {}]) {
    assert.ok(!isVersion(bad), String(bad));
  }
});

test("fence first, then generation, as numbers of 64 bits", () => {
  const ascending = [null, "0.0", "0.2", "0.10", "0.18446744073709551615", "1.0", "9.9", "10.0", "9007199254740993.0", "9007199254740993.1", "18446744073709551615.0"];
  ascending.forEach((a, i) => {
    ascending.forEach((b, j) => assert.equal(Math.sign(compareVersions(a, b)), Math.sign(i - j), `${a} and ${b}`));
  });
});
