/**
 * Owns the house rules as pure functions from sources to violations: direction of imports, headers, forbidden calls, length
 * of files, names that don't belong here. Each says file, line, and what to do. Which files they are applied to is
 * tidy.test.ts's; types and lint have tools of their own.
 */
import { codeOf, importsOf, lineAt, resolveImport, type Source } from "./Source.ts"

/** One line, `path:line: what; remedy`. */
export type Violation = string

/** DESIGN, "Layout and direction of imports": a directory of src may import these (and itself, unless it says otherwise). */
export const LAYERS: Readonly<Record<string, ReadonlyArray<string>>> = {
  api: ["api"],
  domain: ["api", "domain"],
  kube: ["api", "kube"],
  ssh: ["ssh"],
  runtime: ["runtime"],
  hosts: ["api", "domain", "ssh", "hosts"],
  actors: ["api", "domain", "kube", "ssh", "runtime", "hosts", "actors"],
  provider: ["api", "domain", "kube", "ssh", "runtime", "hosts", "actors", "provider"],
  simulation: ["api", "domain", "kube", "ssh", "runtime", "hosts", "actors", "provider", "simulation"],
  cli: ["api", "domain", "kube", "ssh", "runtime", "hosts", "actors", "provider", "cli"]
}

/** The files at src's top: wiring and entries. */
const ROOTS: Readonly<Record<string, ReadonlyArray<string>>> = {
  "src/main.ts": ["cli", "provider", "api"],
  "src/index.ts": ["api", "domain", "kube", "ssh", "runtime", "hosts", "actors", "provider"],
  "src/testing.ts": ["api", "domain", "kube", "ssh", "runtime", "hosts", "actors", "provider", "simulation"]
}

/** The subcommands that are the simulation: alone in cli/ to import it. A directory of that name counts too. */
const SIMULATING = /^src\/cli\/(?:demo|simulate)(?:\.ts$|\/)/

/** `src/api/Kind.ts` -> `api`; `src/main.ts` -> itself. */
const layerOf = (path: string): string => {
  const parts = path.split("/")
  return parts.length === 2 ? path : (parts[1] ?? path)
}

const allowedFor = (path: string): ReadonlyArray<string> => {
  const layer = layerOf(path)
  const allowed = ROOTS[path] ?? LAYERS[layer] ?? []
  return SIMULATING.test(path) ? [...allowed, "simulation"] : allowed
}

export const directions = (sources: ReadonlyArray<Source>): ReadonlyArray<Violation> =>
  sources.flatMap((source) =>
    importsOf(source.text).flatMap(({ specifier, line }) => {
      const target = resolveImport(source.path, specifier)
      if (target === undefined) return []
      const where = `${source.path}:${line}`
      if (target === "package.json") return []
      if (!target.startsWith("src/")) return [`${where}: imports ${target}; src imports nothing outside src`]
      const layer = layerOf(target)
      if (allowedFor(source.path).includes(layer)) return []
      return [`${where}: imports ${target}; ${layerOf(source.path)} must not know ${layer}`]
    })
  )

/** No two files know each other, not even by a type: what both need has a place of its own. One violation a loop found. */
export const loops = (sources: ReadonlyArray<Source>): ReadonlyArray<Violation> => {
  const targets = new Map(
    sources.map(({ path, text }) => [
      path,
      importsOf(text).flatMap(({ specifier }) => resolveImport(path, specifier) ?? [])
    ])
  )
  const found: Array<Violation> = []
  const done = new Set<string>()
  const follow = (path: string, way: ReadonlyArray<string>): void => {
    const from = way.indexOf(path)
    if (from >= 0) found.push(`${path}:1: ${[...way.slice(from), path].join(" -> ")}; give what they share a file`)
    if (from >= 0 || done.has(path)) return
    for (const target of targets.get(path) ?? []) follow(target, [...way, path])
    done.add(path)
  }
  for (const path of targets.keys()) follow(path, [])
  return found
}

/** A directory below src/actors is one actor; a file right in it is one by itself. */
const actorOf = (path: string): string => {
  const parts = path.split("/")
  return parts.length > 3 ? parts.slice(0, 3).join("/") : path
}

/** A file that runs the loop implements an actor; the others are services and pieces that actors may share. */
const runsLoop = (source: Source): boolean =>
  importsOf(source.text).some(({ specifier }) => {
    const target = resolveImport(source.path, specifier)
    // Coalesced work by key, and queues, are what services have, too.
    return target?.startsWith("src/runtime/") === true && !/\/(?:Coalesced|Backlog)\.ts$/.test(target)
  })

/** Actors meet through service interfaces: no actor reaches another's implementation, not even through a third file. */
export const actorsApart = (sources: ReadonlyArray<Source>): ReadonlyArray<Violation> => {
  const actors = new Map(sources.filter((s) => s.path.startsWith("src/actors/")).map((s) => [s.path, s] as const))
  const implementations = new Set([...actors.values()].filter(runsLoop).map((s) => s.path))
  const reached = (from: string): ReadonlySet<string> => {
    const seen = new Set<string>()
    const follow = (path: string): void => {
      const source = actors.get(path)
      if (source === undefined || seen.has(path)) return
      seen.add(path)
      for (const { specifier } of importsOf(source.text)) {
        const target = resolveImport(path, specifier)
        if (target !== undefined) follow(target)
      }
    }
    follow(from)
    return seen
  }
  return [...implementations].flatMap((path) =>
    [...reached(path)]
      .filter((other) => implementations.has(other) && actorOf(other) !== actorOf(path))
      .map((other) => `${path}:1: reaches the actor ${other}; let both import a service interface instead`)
  )
}

export const header = (source: Source): ReadonlyArray<Violation> => {
  const text = source.text.replace(/^#!.*\n/, "")
  const opens = source.path.endsWith(".sh") ? text.startsWith("# ") : text.startsWith("/**")
  return opens ? [] : [`${source.path}:1: no header; say in a paragraph what the file owns, and what it does not`]
}

interface Forbidden {
  readonly pattern: RegExp
  readonly instead: string
}

/** Time, randomness and output come from services, or a simulated run can't be replayed. */
export const FORBIDDEN: ReadonlyArray<Forbidden> = [
  { pattern: /\bDate\.now\b/g, instead: "Clock.currentTimeMillis" },
  {
    pattern: /\bnew\s+Date(?:\(\s*\)|(?!\s*\())/g,
    instead: "effect's DateTime from the Clock; of a given instant it is pure"
  },
  { pattern: /(?<!\bnew\s+)(?<![.\w])Date\(/g, instead: "effect's DateTime from the Clock" },
  { pattern: /\bperformance\.now\b/g, instead: "Clock.currentTimeNanos" },
  { pattern: /\bprocess\.hrtime\b/g, instead: "Clock.currentTimeNanos" },
  { pattern: /\bMath\.random\b/g, instead: "Random" },
  { pattern: /\brandomUUID\b/g, instead: "Random" },
  { pattern: /\b(?:setTimeout|setInterval|setImmediate)\b/g, instead: "Effect.sleep or Schedule" },
  { pattern: /\bconsole\.\w+/g, instead: "Effect.log, or Console in a subcommand" }
]

/** Files at an edge where a Node API forces a forbidden call, each with the calls it may use and why. */
export type EdgeList = Readonly<Record<string, { readonly calls: ReadonlyArray<string>; readonly why: string }>>

const callName = (match: string): string => match.replace(/[()]/g, "").replace(/\s+/g, " ").trim()

/** An entry of the edge list that no longer hits anything is a violation too: the list only shrinks by itself. */
export const forbiddenCalls = (sources: ReadonlyArray<Source>, edges: EdgeList): ReadonlyArray<Violation> => {
  const used = new Set<string>()
  const violations = sources.flatMap((source) => {
    const code = codeOf(source.text)
    return FORBIDDEN.flatMap(({ pattern, instead }) =>
      [...code.matchAll(pattern)].flatMap((match) => {
        const call = callName(match[0])
        if (edges[source.path]?.calls.includes(call) === true) {
          used.add(`${source.path} ${call}`)
          return []
        }
        return [`${source.path}:${lineAt(code, match.index)}: ${call}; use ${instead}`]
      })
    )
  })
  const stale = Object.entries(edges).flatMap(([path, { calls }]) =>
    calls
      .filter((call) => !used.has(`${path} ${call}`))
      .map((call) => `${path}:1: does not use ${call} (any more); take it off the edge list`)
  )
  return [...violations, ...stale]
}

/** Whatever waits is bounded by a named constant; how many fibers wait for a bounded queue, seeded runs judge. */
export const unboundedQueues = (source: Source): ReadonlyArray<Violation> =>
  source.path.startsWith("src/simulation/")
    ? []
    : [...codeOf(source.text).matchAll(/\b(?:Queue|PubSub)\.unbounded\b/g)].map(
        (match) =>
          `${source.path}:${lineAt(codeOf(source.text), match.index)}: ${match[0]}; bound it, by a named constant`
      )

/** STYLE 12: past that, look for the missing room. */
export const MAX_LINES = 400

export const tooLong = (source: Source, grace: ReadonlyArray<string>): ReadonlyArray<Violation> => {
  const lines = source.text.split("\n").length - (source.text.endsWith("\n") ? 1 : 0)
  return lines <= MAX_LINES || grace.includes(source.path)
    ? []
    : [`${source.path}:${MAX_LINES + 1}: ${lines} lines; split it (at most ${MAX_LINES})`]
}

/** In the header, below a line `Unlike …:`; several that one test shows may share a line. */
const differencesIn = ({ text }: Source): ReadonlyArray<string> => {
  const header = text.slice(0, text.indexOf("*/"))
  const at = header.search(/^ \* Unlike .*:$/m)
  if (at < 0) return []
  return [...header.slice(at).matchAll(/^ \* - ([a-z0-9-]+(?:, [a-z0-9-]+)*): /gm)].flatMap(([, names = ""]) =>
    names.split(", ")
  )
}

/** What is simulated says in what it differs; each difference has a test whose title ends with its name, and no other. */
export const differences = (sources: ReadonlyArray<Source>, tests: ReadonlyArray<Source>): ReadonlyArray<Violation> => {
  const listed = sources.flatMap((source) => differencesIn(source).map((name) => ({ name, path: source.path })))
  const tested = tests.flatMap(({ path, text }) =>
    [...text.matchAll(/\(unlike: ([a-z0-9, -]+)\)["`]/g)].flatMap(([, names = ""]) =>
      names.split(", ").map((name) => ({ name, path }))
    )
  )
  const missing = (
    all: ReadonlyArray<{ readonly name: string; readonly path: string }>,
    others: ReadonlyArray<{ readonly name: string }>,
    what: string
  ) => all.flatMap(({ name, path }) => (others.some((one) => one.name === name) ? [] : [`${path}:1: ${name}: ${what}`]))
  const twice = listed.filter(({ name }, index) => listed.findIndex((one) => one.name === name) !== index)
  return [
    ...missing(listed, tested, "no test's title says (unlike: …) of it"),
    ...missing(tested, listed, "no header lists it"),
    ...twice.map(({ name, path }) => `${path}:1: ${name}: another header has this name, too`)
  ]
}

/** Effect 4.1 has no effect/unstable, and its barrel makes every start slower than deep imports do. */
export const effectImports = (source: Source): ReadonlyArray<Violation> =>
  importsOf(source.text).flatMap(({ specifier, line }) => {
    if (specifier.startsWith("effect/unstable")) {
      return [`${source.path}:${line}: ${specifier}; effect 4.1 has it at effect/<area>`]
    }
    if (specifier === "effect" || specifier === "@effect/platform-node") {
      return [`${source.path}:${line}: the barrel ${specifier}; import ${specifier}/<Module>`]
    }
    return []
  })

/** Packages that belong to one edge: elsewhere their port is used instead. */
export const PACKAGES: Readonly<Record<string, ReadonlyArray<string>>> = {
  ssh2: ["ssh", "simulation"],
  "@kubernetes/client-node": ["kube", "simulation"],
  "@effect/platform-node": ["kube", "ssh", "provider", "simulation", "cli", "src/main.ts"]
}

export const packagesAtTheirEdge = (source: Source): ReadonlyArray<Violation> =>
  importsOf(source.text).flatMap(({ specifier, line }) =>
    Object.entries(PACKAGES)
      .filter(([name]) => specifier === name || specifier.startsWith(`${name}/`))
      .filter(([, layers]) => !layers.includes(layerOf(source.path)))
      .map(([name, layers]) => `${source.path}:${line}: imports ${name}, which only ${layers.join(", ")} may`)
  )

/** Paths of the desk that files were written at. */
const DESK = /[/]work[/](?:main|shared)|[/]tmp[/]brief/

export const deskPaths = (source: Source): ReadonlyArray<Violation> =>
  source.text
    .split("\n")
    .flatMap((line, index) =>
      DESK.test(line)
        ? [`${source.path}:${index + 1}: a path of someone's desk; say it relative to the repository`]
        : []
    )

/**
 * What a project was made with is no part of it. The words are kept as digests so that the list doesn't break its own rule:
 * the first 12 hex digits of the SHA-256 of each word in lower case.
 */
export const words = (text: string): ReadonlySet<string> => new Set(text.toLowerCase().match(/[a-z]{4,}/g) ?? [])

export const foreignWords = (source: Source, isForeign: (word: string) => boolean): ReadonlyArray<Violation> =>
  [...words(source.text)]
    .filter(isForeign)
    .map((word) => `${source.path}:1: says "${word}"; it is no part of this project`)
