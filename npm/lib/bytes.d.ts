/** The Wasm module in base64. The build writes bytes.js. */
declare const bytes: string;
export default bytes;
