/**
 * Owns getting from a fresh clone to a working tool chain: the packages of package-lock.json in node_modules, and a Node
 * that runs TypeScript as it is. Plain JavaScript, because what starts it may be an old Node (Debian ships 18, many have 20).
 * Does not own what is run with it (test.mjs, run.mjs).
 */
import { spawn, spawnSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { constants } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

export const root = dirname(dirname(fileURLToPath(import.meta.url)))
const modules = join(root, "node_modules")

/** Below it, Node can't run our .ts files, and Effect's platform and vitest refuse. */
const NODE_MAJOR = 24
/** Registries fail now and then; a second try is cheap, a third never helped anyone. */
const INSTALL_ATTEMPTS = 2
/** A process that was asked to end gets this long before it is killed. */
const KILL_AFTER_MILLIS = 10_000

const readJson = (path) => JSON.parse(readFileSync(path, "utf8"))

/** npm writes `cpu` and `os` as a string or a list, whose entries may be negated. */
const admits = (list, value) => {
  if (list === undefined) return true
  const entries = Array.isArray(list) ? list : [list]
  if (entries.includes(`!${value}`)) return false
  const positive = entries.filter((entry) => !entry.startsWith("!"))
  return positive.length === 0 || positive.includes(value)
}

/**
 * Names the first package that the lock wants on this platform and node_modules lacks (or has in another version).
 * `installed` is npm's own record of what it put there, so a tree made by `npm install` counts as well as one by `npm ci`.
 */
export const firstMissing = (lock, installed, platform) => {
  for (const [path, wanted] of Object.entries(lock.packages)) {
    if (path === "") continue
    const found = installed.packages[path]
    if (found !== undefined && found.version === wanted.version) continue
    // Optional packages are rightly absent on another platform or C library. The one whose absence must be noticed is Node.
    const absentForGood = found === undefined && wanted.optional === true
    const ourNode =
      path.startsWith("node_modules/node-linux-") && admits(wanted.os, platform.os) && admits(wanted.cpu, platform.cpu)
    if (absentForGood && !ourNode) continue
    return path
  }
  return undefined
}

const whyInstall = () => {
  const record = join(modules, ".package-lock.json")
  if (!existsSync(record)) return "node_modules is not there"
  const missing = firstMissing(readJson(join(root, "package-lock.json")), readJson(record), {
    os: process.platform,
    cpu: process.arch
  })
  if (missing !== undefined) return `${missing} is not as package-lock.json wants it`
  return undefined
}

const install = () => {
  // Under `npm test` this is the npm that started us; a bare `node scripts/test.mjs` takes the one on PATH.
  const npm = process.env.npm_execpath
  // Without npm's warnings: that a dependency wants a newer Node is why one is among them.
  const args = ["ci", "--include=dev", "--include=optional", "--no-fund", "--no-audit", "--loglevel=error"]
  const [command, all] = npm?.endsWith("npm-cli.js") ? [process.execPath, [npm, ...args]] : ["npm", args]
  return spawnSync(command, all, { cwd: root, stdio: ["ignore", "inherit", "inherit"] }).status === 0
}

const majorOf = (node) => {
  const result = spawnSync(node, ["--version"], { encoding: "utf8" })
  return result.status === 0 ? Number(/^v(\d+)\./.exec(result.stdout)?.[1] ?? 0) : 0
}

/** Path of a Node that is new enough: the pinned one, else the one that runs this file. */
const findNode = () => {
  const pinned = join(modules, ".bin", "node")
  if (existsSync(pinned) && majorOf(pinned) >= NODE_MAJOR) return pinned
  return majorOf(process.execPath) >= NODE_MAJOR ? process.execPath : undefined
}

/** Makes node_modules fit the lock; returns the Node to use and an environment that finds it first. Throws with a remedy. */
export const prepare = () => {
  const why = whyInstall()
  if (why !== undefined) {
    console.error(`machinist: npm ci, because ${why}`)
    let done = false
    for (let attempt = 1; attempt <= INSTALL_ATTEMPTS && !done; attempt++) done = install()
    if (!done) throw new Error("npm ci failed (its messages are above): is the npm registry reachable from here?")
  }
  const node = findNode()
  if (node === undefined) {
    throw new Error(
      `Node ${NODE_MAJOR} or newer is needed. The lock brings it for Linux on x64 and arm64 (this is ${process.platform} ` +
        `on ${process.arch}); elsewhere, install Node ${NODE_MAJOR} and start this with it.`
    )
  }
  const path = [join(modules, ".bin"), dirname(node), process.env.PATH ?? ""].join(":")
  return { node, env: { ...process.env, PATH: path } }
}

/**
 * Runs a command to its end and returns its exit code (signals count as 128 + n, as in a shell). Past `limitMillis` it is
 * ended, and that is `timedOut`; `interrupted` says that someone wants all of this to stop. With a limit the command gets a
 * process group, so that what it started ends with it; without, it stays in the terminal's, which an interactive one needs.
 */
export const run = (command, args, { env, limitMillis, stdio = "inherit" }) =>
  new Promise((resolve) => {
    const ownGroup = limitMillis !== undefined
    const child = spawn(command, args, { env, stdio, detached: ownGroup })
    const timers = []
    let timedOut = false
    let interrupted = false
    const signal = (name) => {
      if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
      if (ownGroup) process.kill(-child.pid, name)
      else child.kill(name)
    }
    const end = (name) => {
      signal(name)
      timers.push(setTimeout(() => signal("SIGKILL"), KILL_AFTER_MILLIS))
    }
    if (ownGroup) {
      timers.push(
        setTimeout(() => {
          timedOut = true
          end("SIGTERM")
        }, limitMillis)
      )
    }
    const onInterrupt = () => {
      interrupted = true
      // Without a group of its own, the command had it from the terminal already.
      if (ownGroup) end("SIGINT")
    }
    const onTerminate = () => {
      interrupted = true
      end("SIGTERM")
    }
    process.on("SIGINT", onInterrupt)
    process.on("SIGTERM", onTerminate)
    const finish = (code) => {
      timers.forEach(clearTimeout)
      process.off("SIGINT", onInterrupt)
      process.off("SIGTERM", onTerminate)
      resolve({ code, timedOut, interrupted })
    }
    child.on("error", (error) => {
      console.error(`machinist: ${command}: ${error.message}`)
      finish(127)
    })
    child.on("exit", (code, name) => finish(code ?? 128 + (constants.signals[name] ?? 0)))
  })
