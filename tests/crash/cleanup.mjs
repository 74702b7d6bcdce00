// Undoes what a fault set up (processes, mounts, folders), also after a failure or Ctrl-C.

import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

export const run = promisify(execFile);

const open = [];

/** Registers work that undoes something. Returns a function that does it earlier. */
export function later(undo) {
  open.push(undo);
  return () => {
    const at = open.indexOf(undo);
    return at < 0 ? undefined : open.splice(at, 1)[0]();
  };
}

/** Undoes everything, the newest first. */
export async function cleanUp() {
  while (open.length > 0) {
    try {
      await open.pop()();
    } catch (error) {
      console.error(`cleaning up failed: ${error.message}`);
    }
  }
}

/** Creates a folder that is removed at the end. */
export async function folder(name) {
  const path = await mkdtemp(join(tmpdir(), `edgepass-crash-${name}-`));
  later(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** Mounts a file system until the end. `source` and `options` are those of mount(8). */
export async function mount(at, ...argv) {
  await run('mount', [...argv, at]);
  return later(() => run('umount', [at]).catch(() => run('umount', ['--lazy', at])));
}

/** Whether mount(8) works here: it needs root, and in a container more than that. */
export async function canMount() {
  const at = await folder('mount');
  try {
    await (await mount(at, '-t', 'tmpfs', '-o', 'size=64k', 'none'))();
    return true;
  } catch {
    return false;
  }
}
