// A file on its way to the server, in parts: what has arrived stays there, and a part that fails is sent again.

import { call } from "./api.js";
import { sha256 } from "./vendor/noble-hashes/sha2.js";

const PIECE = 4 * 1024 * 1024;
const AT_ONCE = 3;
const TRIES = 6;

/**
 * Upload `file`; its upload as the API tells of it.
 *
 * `told(stage, share)` hears how far it is: "hashing", then "sending". Announced again, as after a reload, a file goes on
 * from what is missing. `signal` ends it. Throws `Problem`.
 */
export async function upload(file, { told, signal }) {
  const digest = await hash(file, told, signal);
  const found = await post({ name: file.name, size: file.size, sha256: digest }, signal);
  const { id, part_bytes: size, parts } = found;
  const missing = [...found.missing];
  let arrived = parts - missing.length;
  told("sending", arrived / parts);
  const send = async () => {
    for (let number; (number = missing.shift()) !== undefined; ) {
      await put(`/v1/uploads/${id}/parts/${number}`, file.slice((number - 1) * size, number * size), signal);
      arrived += 1;
      told("sending", arrived / parts);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, send));
  return found;
}

function post(body, signal) {
  return call("/v1/uploads", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });
}

async function put(path, body, signal) {
  for (let tried = 1; ; tried += 1) {
    try {
      return await call(path, { method: "PUT", headers: { "Content-Type": "application/octet-stream" }, body, signal });
    } catch (error) {
      const isPassing = [0, 429, 503].includes(error.status);
      if (error.name === "AbortError" || !isPassing || tried === TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, 250 * 2 ** tried));
    }
  }
}

/** The browser's own hash would hold the whole file, and is not there on plain HTTP. */
async function hash(file, told, signal) {
  const digest = sha256.create();
  for (let start = 0; start < file.size; start += PIECE) {
    signal.throwIfAborted();
    told("hashing", start / file.size);
    digest.update(new Uint8Array(await file.slice(start, start + PIECE).arrayBuffer()));
  }
  return Array.from(digest.digest(), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
