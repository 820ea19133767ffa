#!/usr/bin/env node
// Owns how the command is found: the sources where they are (a clone), else what was built from them (the package).
import { existsSync } from "node:fs"

const source = new URL("../src/main.ts", import.meta.url)
await import(existsSync(source) ? source.href : new URL("../dist/src/main.js", import.meta.url).href)
