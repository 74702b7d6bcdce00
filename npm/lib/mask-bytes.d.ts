/** The Wasm module of the masker in base64. The build writes mask-bytes.js. */
declare const bytes: string;
export default bytes;
