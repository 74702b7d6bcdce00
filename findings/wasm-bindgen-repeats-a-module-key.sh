#!/usr/bin/env bash
# Two Rust functions that stand for functions of one local JavaScript module, and that take and return only
# `JsValue`, make `wasm-bindgen` import the module twice, and write its name twice as a key of the same object.
# A bundler warns of the duplicate key in every build. A third function makes a third key. Functions that need
# a conversion, such as of a string, make no key: they are imported from the generated module.
#
# Observed with wasm-bindgen 0.2.129, rustc 1.95.0 and esbuild 0.28.2:
#
#   only JsValue: 2 imports of the module, 2 equal keys, 1 warnings of duplicate-object-key
#   with a string: 1 imports of the module, 0 equal keys, 0 warnings of duplicate-object-key
#
# Needs rustup, Node.js with npm, and the registries. It compiles wasm-bindgen-cli, which takes minutes. Fails if
# one of these lines changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export RUSTUP_TOOLCHAIN=1.95.0
rustup --quiet target add wasm32-unknown-unknown
cargo install --quiet --locked --debug wasm-bindgen-cli --version 0.2.129 --bin wasm-bindgen --root tools
echo '{ "private": true, "type": "module" }' > package.json
npm install --silent --no-audit --no-fund esbuild@0.28.2

mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "example"
version = "0.1.0"
edition = "2024"
[lib]
crate-type = ["cdylib"]
[dependencies]
wasm-bindgen = "=0.2.129"
TOML
cat > src/near.js <<'JS'
export const first = (value) => value;
export const second = (value) => value;
JS

# Prints what is made of two functions with this type of argument.
look() {
  cat > src/lib.rs <<RUST
use wasm_bindgen::prelude::*;
#[wasm_bindgen(module = "/src/near.js")]
extern "C" {
    fn first(value: &$2) -> JsValue;
    fn second(value: &$2) -> JsValue;
}
#[wasm_bindgen]
pub fn one(value: &$2) -> JsValue {
    first(value)
}
#[wasm_bindgen]
pub fn two(value: &$2) -> JsValue {
    second(value)
}
RUST
  cargo build --quiet --release --target wasm32-unknown-unknown
  tools/bin/wasm-bindgen --target web --out-dir made target/wasm32-unknown-unknown/release/example.wasm
  npx esbuild made/example.js --bundle --format=esm --outfile=made/bundle.js 2> warnings
  echo "$1: $(grep -c '^import .*near.js' made/example.js) imports of the module," \
    "$(grep -c 'near.js": import' made/example.js || true) equal keys," \
    "$(grep -c 'duplicate-object-key' warnings || true) warnings of duplicate-object-key"
  rm -r made
}
look 'only JsValue' JsValue | tee seen
look 'with a string' str | tee -a seen
diff seen - <<'SEEN'
only JsValue: 2 imports of the module, 2 equal keys, 1 warnings of duplicate-object-key
with a string: 1 imports of the module, 0 equal keys, 0 warnings of duplicate-object-key
SEEN
