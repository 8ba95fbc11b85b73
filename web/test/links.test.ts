// A link is the very picture: what is written is read again, and what is damaged is told.
import assert from "node:assert/strict";
import { test } from "node:test";
import { readView, startView, writeView } from "../src/explore/address.ts";
import { between, mainSeed, MixtureError, readPicture, written, type Picture } from "../src/mixture.ts";

const seed = (value: number): Picture => ({ seed: BigInt(value) });

test("pictures are written and read again", () => {
  const texts = ["0", "18446744073709551615", "7~12@0.15", "7~12@0.15~9@0.5", "7~(12~9@0.25)@0.5"];
  for (const text of texts) assert.equal(written(readPicture(text)), text);
  assert.equal(written(readPicture("(7~12@0.15)~9@0.5")), "7~12@0.15~9@0.5");
});

test("pictures between pictures lean to the left", () => {
  const near = between(seed(7), seed(12), 0.15);
  assert.equal(written(between(near, seed(9), 0.5)), "7~12@0.15~9@0.5");
  assert.equal(written(between(seed(9), near, 0.5)), "9~(7~12@0.15)@0.5");
  assert.deepEqual(readPicture("9~(7~12@0.15)@0.5"), between(seed(9), near, 0.5));
  assert.equal(mainSeed(readPicture("9~(7~12@0.15)@0.9")), 9n);
});

test("a share of nothing or all is one of the two", () => {
  assert.deepEqual(between(seed(7), seed(12), 0), seed(7));
  assert.deepEqual(between(seed(7), seed(12), 1), seed(12));
  assert.deepEqual(between(seed(7), seed(12), 0.00004), seed(7));
  assert.deepEqual(readPicture("7~12@1"), seed(12));
});

test("what is no picture is refused", () => {
  const wrong = ["", "x", "-1", "18446744073709551616", "7~", "7~12", "7~12@", "7~12@1.5", "7~12@2", "(7", "7)", "7 ", "7~12@0.5x"];
  wrong.push("(".repeat(60) + "7" + ")".repeat(60), "7" + "~8@0.5".repeat(60), "1".repeat(5000));
  for (const text of wrong) assert.throws(() => readPicture(text), MixtureError, text.slice(0, 30));
});

test("a view comes back from its link", () => {
  const view = {
    ...startView(),
    seed: 123n,
    truncation: 0.75,
    label: "T-shirt/top (new) & 50 %",
    picture: readPicture("7~12@0.15"),
  };
  const text = writeView(view);
  assert.deepEqual(readView(text), { view, problems: [] });
  assert.ok(!/[ ()'#]/.test(text), text);
  assert.deepEqual(readView(writeView(startView())).view, startView());
  assert.equal(writeView(startView()), "");
});

test("a walk comes back from its link", () => {
  const keys = ["7", "12~9@0.5", "3"].map(readPicture);
  const { view, problems } = readView(writeView({ ...startView(), walk: { keys, at: 1.25 } }));
  assert.deepEqual([view.walk?.keys, view.walk?.at, problems], [keys, 1.25, []]);
});

test("links that messengers have escaped are read", () => {
  assert.deepEqual(readView("picture=7%7E12%400.15").view.picture, readPicture("7~12@0.15"));
});

test("what is wrong in a link is told, and the rest holds", () => {
  const { view, problems } = readView("picture=7~x&truncation=0.5&seed=-3&class=%zz&walk=1&later=1");
  assert.equal(view.truncation, 0.5);
  assert.deepEqual([view.picture, view.walk, view.seed, view.label], [null, null, 0n, null]);
  assert.equal(problems.length, 4);
  assert.match(problems[0], /picture is not understood: .*letter 3/);
});

test("truncation stays within its bounds", () => {
  for (const text of ["truncation=1.6", "truncation=-1", "truncation=1e9", "truncation=NaN", "truncation="]) {
    assert.equal(readView(text).view.truncation, 1);
    assert.equal(readView(text).problems.length, 1);
  }
});
