/** The in-memory host keeps every promise that the shell driver keeps. */
import { hostConformance } from "../../conformance/hosts.ts"
import { makeMemoryHost, memoryAbilities } from "./MemoryHost.ts"

hostConformance("in memory", makeMemoryHost, { abilities: memoryAbilities })
